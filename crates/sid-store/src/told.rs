//! What webhooks are told of a change, for implementers: once per change, to be written with it.

use serde_json::{Map, Value, json};
use sid_types::{
    AgentId, Approval, ApprovalState, ConversationId, Delivery, Item, ItemKind, Run, RunId, RunStatus, StopReason, Task, TaskState, Timer,
    Timestamp, UserId, WebhookEvent, WebhookId,
};
use uuid::Uuid;

/// Something that has happened, as every webhook that hears of it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What.
    pub event: WebhookEvent,
    /// To what.
    pub subject: Uuid,
    /// With which agent.
    pub agent: Option<AgentId>,
    /// Whose it is: forgotten with the user.
    pub user: Option<UserId>,
    /// Where.
    pub conversation: Option<ConversationId>,
    /// What else there is to say without words of anybody.
    pub facts: Map<String, Value>,
}

impl Told {
    fn new(event: WebhookEvent, subject: Uuid, facts: Value) -> Self {
        let facts = if let Value::Object(facts) = facts { facts } else { Map::new() };
        Self { event, subject, agent: None, user: None, conversation: None, facts }
    }

    /// Of a run that has just ended. `is_answer`: it began with words of a user.
    #[must_use]
    pub fn of_run(run: &Run, user: Option<UserId>, is_answer: bool) -> Vec<Self> {
        let events = match run.status {
            RunStatus::Completed if is_answer && run.stop_reason != Some(StopReason::ClientCalls) => {
                vec![WebhookEvent::MessageAnswered, WebhookEvent::RunCompleted]
            }
            RunStatus::Completed => vec![WebhookEvent::RunCompleted],
            RunStatus::Failed => vec![WebhookEvent::RunFailed],
            RunStatus::Cancelled => vec![WebhookEvent::RunCancelled],
            RunStatus::Queued | RunStatus::Running => vec![],
        };
        let facts = json!({ "stop_reason": run.stop_reason });
        let of = |event| Self {
            agent: Some(run.agent),
            user,
            conversation: Some(run.conversation),
            ..Self::new(event, run.id.uuid(), facts.clone())
        };
        events.into_iter().map(of).collect()
    }

    /// Of an approval that was asked, decided, or found to have expired.
    #[must_use]
    pub fn of_approval(approval: &Approval) -> Self {
        let event = match approval.state {
            ApprovalState::Pending => WebhookEvent::ApprovalRequested,
            ApprovalState::Approved | ApprovalState::Denied => WebhookEvent::ApprovalDecided,
            ApprovalState::Expired => WebhookEvent::ApprovalExpired,
        };
        let facts = json!({ "state": approval.state, "run": approval.run });
        Self {
            agent: Some(approval.agent),
            user: approval.user,
            conversation: Some(approval.conversation),
            ..Self::new(event, approval.id.uuid(), facts)
        }
    }

    /// Of a task that was in another state before.
    #[must_use]
    pub fn of_task(task: &Task, before: TaskState) -> Option<Self> {
        let is_over_budget = task.failure.as_deref().is_some_and(|failure| failure.starts_with("budget:"));
        let event = match task.state {
            state if state == before => return None,
            TaskState::WaitingUser => WebhookEvent::TaskAsked,
            TaskState::Done => WebhookEvent::TaskDone,
            TaskState::Failed if is_over_budget => WebhookEvent::TaskOverBudget,
            TaskState::Failed => WebhookEvent::TaskFailed,
            TaskState::Cancelled => WebhookEvent::TaskCancelled,
            TaskState::Planned | TaskState::Working | TaskState::WaitingTime => return None,
        };
        Some(Self {
            agent: Some(task.agent),
            user: task.user,
            conversation: Some(task.conversation),
            ..Self::new(event, task.id.uuid(), json!({ "state": task.state }))
        })
    }

    /// Of a timer whose last run was another one before.
    #[must_use]
    pub fn of_timer(timer: &Timer, before: Option<RunId>) -> Option<Self> {
        let run = timer.last_run.filter(|run| Some(*run) != before)?;
        Some(Self {
            agent: Some(timer.agent),
            user: timer.user,
            conversation: timer.conversation,
            ..Self::new(WebhookEvent::TimerFired, timer.id.uuid(), json!({ "run": run }))
        })
    }

    /// Of an item that was just made, if it is a proposal.
    #[must_use]
    pub fn of_item(item: &Item) -> Option<Self> {
        let is_proposal = item.kind == ItemKind::Proposal;
        is_proposal.then(|| Self {
            agent: item.written_by,
            user: item.owner.user(),
            ..Self::new(WebhookEvent::ProposalMade, item.id.uuid(), Value::Null)
        })
    }

    /// Of a user who was erased: it outlives what is forgotten with her.
    #[must_use]
    pub fn of_erased(user: UserId) -> Self {
        Self::new(WebhookEvent::UserErased, user.uuid(), Value::Null)
    }

    /// As one webhook is told.
    #[must_use]
    pub fn to(&self, webhook: WebhookId, now: Timestamp) -> Delivery {
        Delivery {
            agent: self.agent,
            user: self.user,
            conversation: self.conversation,
            facts: self.facts.clone(),
            ..Delivery::new(webhook, self.event, self.subject, now)
        }
    }
}
