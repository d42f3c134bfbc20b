//! Who is who: made at the first start, found again at the next.

use sid_store::{Directory as _, NewConversation, StoreError};
use sid_store_sqlite::SqliteStore;
use sid_types::{AgentId, AgentSpec, BlockTemplate, Conversation, ConversationId, KeyId, OperatorScope, Scope, Timestamp, User, UserId};

const INSTRUCTIONS: &str = "You stand behind the counter of a bakery. Be brief and kind. Note what guests like with core_memory_append.";

/// A program without a server has no keys: it is its own operator, and grants itself access to the one tenant that it has.
pub(crate) async fn enter(store: &SqliteStore) -> anyhow::Result<Scope> {
    let operator = OperatorScope::grant();
    let tenant = match store.tenants(&operator).await?.into_iter().next() {
        Some(tenant) => tenant,
        None => store.create_tenant(&operator, "bakery").await?,
    };
    Ok(operator.enter(tenant.id, KeyId::new()))
}

/// The conversation of this guest, today's or the one of this name.
pub(crate) async fn conversation(store: &SqliteStore, scope: &Scope, guest: &str, name: &str) -> anyhow::Result<Conversation> {
    let agent = match store.agent_by_name(scope, "baker").await {
        Ok(agent) => agent.id,
        Err(StoreError::NotFound { .. }) => {
            let mut spec = AgentSpec::new("baker", "default");
            spec.instructions = INSTRUCTIONS.into();
            let description = "What is known of the guest.".into();
            spec.blocks = vec![BlockTemplate { label: "guest".into(), description, value: String::new(), limit_chars: 2_000 }];
            store.create_agent(scope, AgentId::new(), spec, Vec::new()).await?.id
        }
        Err(error) => return Err(error.into()),
    };
    let user = match store.user_by_handle(scope, guest).await {
        Ok(user) => user.id,
        Err(StoreError::NotFound { .. }) => {
            let display_name = guest.to_owned();
            let user = User {
                id: UserId::new(),
                handle: guest.into(),
                display_name,
                timezone: None,
                quiet_hours: None,
                created_at: Timestamp::now(),
            };
            store.create_user(scope, user).await?.id
        }
        Err(error) => return Err(error.into()),
    };
    let new = NewConversation { agent, user: Some(user), key: Some(name.into()) };
    Ok(store.open_conversation(scope, ConversationId::new(), new).await?.0)
}
