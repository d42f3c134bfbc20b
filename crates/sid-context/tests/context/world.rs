//! Two people of one application, each with two assistants; a team that both are in.

use std::sync::Arc;

use jiff::SignedDuration;
use sid_context::{ContextError, ContextService, Draft, Outcome, Policy};
use sid_store::{Directory, InProcess, StoreError};
use sid_types::{
    AgentId, AgentSpec, Item, ItemKind, KeyId, ManualClock, OperatorScope, Principal, Scope, Team, TeamId, TeamRole, Timestamp, User,
    UserId,
};

pub(crate) struct World {
    pub(crate) store: Arc<InProcess>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) context: ContextService,
    /// The application.
    pub(crate) house: Scope,
    pub(crate) ann: UserId,
    pub(crate) bob: UserId,
    pub(crate) team: TeamId,
    pub(crate) editor: AgentId,
    pub(crate) phone: AgentId,
    /// Ann herself.
    pub(crate) as_ann: Scope,
    pub(crate) as_bob: Scope,
    /// Ann's assistant in the editor.
    pub(crate) in_editor: Scope,
    /// Ann's assistant on the phone.
    pub(crate) on_phone: Scope,
    /// Bob's assistant in the editor.
    pub(crate) bobs_editor: Scope,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Policy::default()).await
    }

    pub(crate) async fn with(policy: Policy) -> Self {
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().expect("a timestamp");
        let clock = Arc::new(ManualClock::new(now));
        let store = Arc::new(InProcess::new(clock.clone()));
        let operator = OperatorScope::grant();
        let tenant = store.create_tenant(&operator, "acme").await.expect("a tenant").id;
        let house = operator.enter(tenant, KeyId::new());
        let user = async |handle: &str| {
            let user = User {
                id: UserId::new(),
                handle: handle.into(),
                display_name: handle.into(),
                timezone: Some("Europe/Berlin".into()),
                quiet_hours: None,
                created_at: now,
            };
            store.create_user(&house, user).await.expect("a user").id
        };
        let (ann, bob) = (user("ann").await, user("bob").await);
        let team = Team { id: TeamId::new(), name: "crew".into(), parent: None, created_at: now };
        let team = store.create_team(&house, team).await.expect("a team").id;
        for member in [ann, bob] {
            store.set_team_member(&house, team, member, Some(TeamRole::Member)).await.expect("a member");
        }
        let agent = async |name: &str| {
            store.create_agent(&house, AgentId::new(), AgentSpec::new(name, "none"), vec![team]).await.expect("an agent").id
        };
        let (editor, phone) = (agent("editor").await, agent("phone").await);
        let person = |user| Scope::grant(tenant, Principal::User { user });
        Self {
            context: ContextService::new(store.clone(), store.clone(), clock.clone(), policy),
            store,
            clock,
            house,
            ann,
            bob,
            team,
            editor,
            phone,
            as_ann: person(ann),
            as_bob: person(bob),
            in_editor: house.turn(editor, Some(ann)),
            on_phone: house.turn(phone, Some(ann)),
            bobs_editor: house.turn(editor, Some(bob)),
        }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    pub(crate) async fn make(&self, scope: &Scope, kind: ItemKind, title: &str) -> Item {
        self.context.make(scope, kind, titled(title)).await.expect(title)
    }
}

pub(crate) fn titled(title: &str) -> Draft {
    Draft { title: title.into(), ..Draft::default() }
}

pub(crate) fn done(outcome: Outcome) -> Option<Item> {
    match outcome {
        Outcome::Done(item) => item.map(|item| *item),
        Outcome::Proposed(item) => panic!("it was only proposed: {}", item.title),
    }
}

pub(crate) fn proposed(outcome: Outcome) -> Item {
    match outcome {
        Outcome::Proposed(item) => *item,
        Outcome::Done(item) => panic!("it was done: {item:?}"),
    }
}

/// Nobody is told that there is something.
#[track_caller]
pub(crate) fn is_hidden<T: std::fmt::Debug>(result: Result<T, ContextError>) {
    assert!(matches!(result, Err(ContextError::Store(StoreError::NotFound { .. }))), "{result:?}");
}

#[track_caller]
pub(crate) fn is_forbidden<T: std::fmt::Debug>(result: Result<T, ContextError>) {
    assert!(matches!(result, Err(ContextError::Store(StoreError::Forbidden { .. }))), "{result:?}");
}
