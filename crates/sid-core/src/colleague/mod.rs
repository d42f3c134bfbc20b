//! Agents that speak with each other. A message of one is a stimulus for another, which works in a conversation of its own for the same user;
//! so memory stays the user's, and what an agent was asked is read where conversations are.

mod answer;
mod chain;
mod reach;
mod send;
mod tools;
mod words;

use sid_store::{Store, StoreError};
use sid_types::{AgentId, ConversationId, Scope};
use uuid::Uuid;

pub(crate) use reach::{Reach, ego_of};
pub(crate) use tools::registry;

/// Where an agent works for what is said in another conversation.
fn conversation_for(asking: ConversationId, agent: AgentId) -> ConversationId {
    ConversationId::from_uuid(Uuid::new_v5(&asking.uuid(), agent.uuid().as_bytes()))
}

/// The key of such a conversation.
fn key_for(asking: ConversationId) -> String {
    format!("from:{asking}")
}

/// Where other agents worked for what was said in these conversations, and others for them.
pub(crate) async fn work_for(store: &dyn Store, scope: &Scope, of: &[ConversationId]) -> Result<Vec<ConversationId>, StoreError> {
    let agents: Vec<AgentId> = store.roster(scope).await?.into_iter().map(|agent| agent.id).collect();
    let (mut found, mut look) = (Vec::new(), of.to_vec());
    while let Some(asking) = look.pop() {
        for agent in &agents {
            let id = conversation_for(asking, *agent);
            match store.conversation(scope, id).await {
                Ok(_) if !found.contains(&id) => {
                    found.push(id);
                    look.push(id);
                }
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}
