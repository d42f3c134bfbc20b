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

use crate::task;

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

/// Where others worked for what was said in a conversation, on its tasks or asked by its agent, and others for them. Each stands behind the one that
/// it came from: erased from the end, what is left is found again.
pub(crate) async fn work_for(store: &dyn Store, scope: &Scope, of: ConversationId) -> Result<Vec<ConversationId>, StoreError> {
    let agents: Vec<AgentId> = store.roster(scope).await?.into_iter().map(|agent| agent.id).collect();
    let (mut found, mut looked) = (vec![of], 0);
    while let Some(from) = found.get(looked).copied() {
        looked += 1;
        let mut new = task::work_for(store, scope, from).await?;
        for agent in &agents {
            match store.conversation(scope, conversation_for(from, *agent)).await {
                Ok(asked) => new.push(asked.id),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        new.retain(|conversation| !found.contains(conversation));
        found.extend(new);
    }
    Ok(found.split_off(1))
}
