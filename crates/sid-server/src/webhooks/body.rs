//! What is said: `type`, `timestamp` and `data`, as Standard Webhooks proposes. Ids and states; words only where a webhook asks for them.

use serde_json::{Map, Value, json};
use sid_store::{Order, Store, StoreError};
use sid_types::{ApprovalId, ConversationId, Delivery, ItemId, MessageId, Role, RunId, Scope, TaskId, TimerId, WebhookEvent};

/// Messages at the end of a conversation among which the answer is looked for.
const TAIL: usize = 100;

/// The body of a delivery.
///
/// Errors: the store cannot be asked for the words. What is gone by now has none.
pub(super) async fn of(store: &dyn Store, scope: &Scope, delivery: &Delivery, with_content: bool) -> Result<String, StoreError> {
    let mut data = Map::new();
    data.insert(delivery.event.noun().into(), delivery.subject_id().into());
    let ids = [
        ("conversation", delivery.conversation.map(|id| id.to_string())),
        ("agent", delivery.agent.map(|id| id.to_string())),
        ("user", delivery.user.map(|id| id.to_string())),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            data.insert(name.into(), id.into());
        }
    }
    data.extend(delivery.facts.clone());
    if with_content {
        data.insert("content".into(), content(store, scope, delivery).await?);
    }
    Ok(json!({ "type": delivery.event.as_str(), "timestamp": delivery.at.to_string(), "data": data }).to_string())
}

/// What is gone is `null`.
fn there<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn content(store: &dyn Store, scope: &Scope, delivery: &Delivery) -> Result<Value, StoreError> {
    let id = delivery.subject;
    let content = match delivery.event {
        WebhookEvent::MessageAnswered | WebhookEvent::RunCompleted | WebhookEvent::RunFailed | WebhookEvent::RunCancelled => {
            let run = RunId::from_uuid(id);
            let Some(ended) = there(store.run(scope, run).await)? else { return Ok(Value::Null) };
            let answer = match delivery.conversation {
                Some(conversation) => answer_of(store, scope, conversation, run).await?,
                None => None,
            };
            Some(
                json!({ "message": answer.as_ref().map(|(id, _)| id), "text": answer.as_ref().map(|(_, text)| text), "error": ended.error }),
            )
        }
        WebhookEvent::ApprovalRequested | WebhookEvent::ApprovalDecided | WebhookEvent::ApprovalExpired => {
            let approval = there(store.approval(scope, ApprovalId::from_uuid(id)).await)?;
            approval.map(|a| json!({ "tool": a.call.name, "arguments": a.call.arguments, "reason": a.reason, "note": a.note }))
        }
        WebhookEvent::TaskAsked
        | WebhookEvent::TaskDone
        | WebhookEvent::TaskFailed
        | WebhookEvent::TaskOverBudget
        | WebhookEvent::TaskCancelled => {
            let task = there(store.task(scope, TaskId::from_uuid(id)).await)?;
            task.map(|t| {
                let result = t.result.map(|result| result.text);
                json!({ "title": t.title, "question": t.question, "result": result, "failure": t.failure })
            })
        }
        WebhookEvent::TimerFired => {
            let timer = there(store.timer(scope, TimerId::from_uuid(id)).await)?;
            timer.map(|t| json!({ "name": t.spec.name, "stimulus": t.spec.stimulus }))
        }
        WebhookEvent::ProposalMade => {
            let item = there(store.item(scope, ItemId::from_uuid(id)).await)?;
            item.map(|seen| json!({ "title": seen.item.title }))
        }
        WebhookEvent::UserErased | WebhookEvent::WebhookTest => None,
    };
    Ok(content.unwrap_or(Value::Null))
}

/// The last words of the agent in a run.
async fn answer_of(
    store: &dyn Store,
    scope: &Scope,
    conversation: ConversationId,
    run: RunId,
) -> Result<Option<(MessageId, String)>, StoreError> {
    let tail = there(store.page(scope, conversation, None, Order::Descending, TAIL).await)?.unwrap_or_default();
    let said = |m: &sid_types::Message| m.run == Some(run) && m.body.role() == Role::Assistant && !m.body.text().is_empty();
    Ok(tail.into_iter().find(said).map(|m| (m.id, m.body.text().to_owned())))
}
