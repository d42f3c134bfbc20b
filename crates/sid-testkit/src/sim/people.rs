//! Who lives in a simulation: two tenants with the same names, each with an agent, people and conversations.

use sid_store::{Directory as _, InProcess, NewConversation};
use sid_types::{AgentId, AgentSpec, ConversationId, KeyId, OperatorScope, Principal, Scope, Timestamp, Tokens, User, UserId};

use super::dice::Dice;
use super::plan::Plan;
use crate::checker::Canary;

/// Everybody.
pub(super) struct People {
    pub(super) tenants: Vec<Tenant>,
}

/// A tenant and its conversations.
pub(super) struct Tenant {
    /// Its name, which its agent's instructions hold too.
    pub(super) name: &'static str,
    /// Of its application.
    pub(super) scope: Scope,
    pub(super) conversations: Vec<Talk>,
}

/// One person with the agent.
#[derive(Clone)]
pub(super) struct Talk {
    pub(super) tenant: &'static str,
    /// Of the person.
    pub(super) scope: Scope,
    pub(super) id: ConversationId,
    /// Unique in the simulation.
    pub(super) name: String,
}

/// What each message of a tenant's people says, so that it is known when another tenant reads it.
pub(super) fn canary(tenant: &str) -> String {
    format!("canary-of-{tenant}")
}

/// The tenant that a prompt was made for: a turn's says so, a summary's is made of its words alone.
pub(super) fn tenant_of_prompt(text: &str) -> &'static str {
    let of_a_turn = NAMES.into_iter().find(|name| text.contains(&instructions(name)));
    of_a_turn.or_else(|| NAMES.into_iter().find(|name| text.contains(&canary(name)))).unwrap_or("nobody")
}

const NAMES: [&str; 2] = ["acme", "umbrella"];

fn instructions(tenant: &str) -> String {
    format!("You keep the pickle books of {tenant}.")
}

impl People {
    /// Moves everybody in.
    pub(super) async fn settle(store: &InProcess, plan: &Plan, dice: &Dice) -> Self {
        let operator = OperatorScope::grant();
        let mut tenants = Vec::new();
        for name in NAMES {
            let id = store.create_tenant(&operator, name).await.expect("a new name").id;
            let scope = operator.enter(id, KeyId::new());
            let spec = AgentSpec {
                instructions: instructions(name),
                context_window: Some(Tokens(plan.window)),
                ..AgentSpec::new("helper", "simulated")
            };
            let agent = store.create_agent(&scope, AgentId::new(), spec, vec![]).await.expect("a new agent").id;
            let mut conversations = Vec::new();
            for handle in ["ann", "bob"].iter().take(usize::try_from(dice.number(1..3)).expect("one or two")) {
                let user = User {
                    id: UserId::new(),
                    handle: (*handle).into(),
                    display_name: (*handle).into(),
                    timezone: None,
                    quiet_hours: None,
                    created_at: Timestamp::UNIX_EPOCH,
                };
                let user = store.create_user(&scope, user).await.expect("a new handle").id;
                #[allow(clippy::disallowed_methods, reason = "the simulation plays the part of authentication")]
                let own = Scope::grant(id, Principal::User { user });
                for number in 0..dice.number(1..3) {
                    let new = NewConversation { agent, user: Some(user), key: Some(format!("talk {number}")) };
                    let (talk, _) = store.open_conversation(&own, ConversationId::new(), new).await.expect("a new conversation");
                    let name = format!("{name}/{handle}/{number}");
                    conversations.push(Talk { tenant: NAMES[tenants.len()], scope: own, id: talk.id, name });
                }
            }
            tenants.push(Tenant { name, scope, conversations });
        }
        Self { tenants }
    }

    /// All conversations.
    pub(super) fn talks(&self) -> impl Iterator<Item = &Talk> {
        self.tenants.iter().flat_map(|t| &t.conversations)
    }

    pub(super) fn canaries(&self) -> Vec<Canary> {
        self.tenants.iter().map(|t| Canary { tenant: t.name.into(), text: canary(t.name) }).collect()
    }
}
