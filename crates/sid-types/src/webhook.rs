//! Webhooks: where a tenant's application hears of what happens, and what is on its way there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{AgentId, ApprovalId, ConversationId, DeliveryId, ItemId, RunId, TaskId, TimerId, Timestamp, UserId, WebhookId};

named! {
    /// What a webhook may be told. A name is a noun and what became of it.
    WebhookEvent {
        /// A run that began with words of a user has ended with an answer.
        MessageAnswered = "message.answered",
        /// A run ended with an answer, or at a limit that its stop reason names.
        RunCompleted = "run.completed",
        /// A run ended because something failed.
        RunFailed = "run.failed",
        /// A run ended because somebody asked for it.
        RunCancelled = "run.cancelled",
        /// A call waits for somebody's word.
        ApprovalRequested = "approval.requested",
        /// Somebody said yes or no.
        ApprovalDecided = "approval.decided",
        /// Nobody said anything in time.
        ApprovalExpired = "approval.expired",
        /// A task waits for an answer to its question.
        TaskAsked = "task.asked",
        /// A task's acceptance is met.
        TaskDone = "task.done",
        /// A task ended without.
        TaskFailed = "task.failed",
        /// A task ended because its budget is used up.
        TaskOverBudget = "task.over_budget",
        /// Somebody called a task off.
        TaskCancelled = "task.cancelled",
        /// A timer was due, and its run was accepted.
        TimerFired = "timer.fired",
        /// An assistant proposes a change that a person decides on.
        ProposalMade = "proposal.made",
        /// A user and all that was known of her were erased.
        UserErased = "user.erased",
        /// Somebody asked for a test.
        WebhookTest = "webhook.test",
    }
}

impl WebhookEvent {
    /// The event of this name.
    ///
    /// ```
    /// use sid_types::WebhookEvent;
    /// assert_eq!(WebhookEvent::of("run.failed"), Some(WebhookEvent::RunFailed));
    /// assert_eq!(WebhookEvent::of("run.*"), None);
    /// ```
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }

    /// The noun: what its subject is.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            // What is answered is known by its run.
            Self::MessageAnswered => "run",
            other => other.as_str().split('.').next().unwrap_or_default(),
        }
    }
}

named! {
    /// Whether a webhook is told anything.
    WebhookState {
        /// It is.
        Enabled = "enabled",
        /// It is not, and hears nothing of what happens meanwhile.
        Disabled = "disabled",
    }
}

named! {
    /// How far a delivery has come.
    DeliveryState {
        /// It was not taken yet.
        Pending = "pending",
        /// The endpoint took it.
        Delivered = "delivered",
        /// It was tried often enough, or there was no use in it.
        Failed = "failed",
    }
}

/// A secret that deliveries are signed with, sealed: a store keeps it and cannot read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// What opens it is whoever sealed it.
    pub sealed: Map<String, Value>,
    /// Nothing is signed with it from then on; `None` for the newest.
    pub until: Option<Timestamp>,
}

/// An endpoint of a tenant's application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where it is.
    pub url: String,
    /// For people. May be empty.
    pub description: String,
    /// What it is told; none = everything.
    pub events: Vec<WebhookEvent>,
    /// Whether it is told the words as well, and not ids and states alone.
    pub include_content: bool,
    /// Newest first.
    pub secrets: Vec<SealedSecret>,
    /// Whether it is told anything.
    pub state: WebhookState,
    /// Why it was disabled, unless it is enabled.
    pub disabled_because: Option<String>,
    /// Since when every attempt has failed; `None` = the last one did not.
    pub failing_since: Option<Timestamp>,
    /// Nothing is sent before then, because the endpoint asked for it.
    pub not_before: Option<Timestamp>,
    /// Counts what its tenant changes, and that it was disabled; from 1.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its version last grew.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Whether it is told of such an event.
    #[must_use]
    pub fn hears(&self, event: WebhookEvent) -> bool {
        self.state == WebhookState::Enabled && (self.events.is_empty() || self.events.contains(&event))
    }
}

/// One try to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts the delivery's attempts, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// What the endpoint answered, if it did.
    pub status: Option<u16>,
    /// Why it failed, for people; never what the endpoint said.
    pub error: Option<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// What a webhook is to be told of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id: the same in every attempt, so that who has it already knows.
    pub id: DeliveryId,
    /// To whom it goes.
    pub webhook: WebhookId,
    /// What happened.
    pub event: WebhookEvent,
    /// To what: the id of an [`WebhookEvent::noun`].
    pub subject: Uuid,
    /// With which agent, if it was one's.
    pub agent: Option<AgentId>,
    /// Whose it is, if it is a user's. It is forgotten with the user.
    pub user: Option<UserId>,
    /// Where it happened, if it did in a conversation. Deliveries of one are told in order.
    pub conversation: Option<ConversationId>,
    /// What else there is to say without words of anybody: states, ids.
    pub facts: Map<String, Value>,
    /// When it happened.
    pub at: Timestamp,
    /// How far it has come.
    pub state: DeliveryState,
    /// Attempts that have begun.
    pub attempts: u32,
    /// Attempts before somebody asked for it again: the schedule begins anew after them.
    pub attempts_before: u32,
    /// When it is tried next; `None` = never, or not until its webhook is enabled.
    pub next_attempt: Option<Timestamp>,
    /// The last of its attempts, oldest first.
    pub history: Vec<Attempt>,
    /// What was sent, byte for byte, once it was.
    pub body: Option<String>,
}

impl Delivery {
    /// Attempts that are kept.
    pub const HISTORY: usize = 20;

    /// Of something that has happened: to be delivered at once.
    #[must_use]
    pub fn new(webhook: WebhookId, event: WebhookEvent, subject: Uuid, at: Timestamp) -> Self {
        Self {
            id: DeliveryId::new(),
            webhook,
            event,
            subject,
            agent: None,
            user: None,
            conversation: None,
            facts: Map::new(),
            at,
            state: DeliveryState::Pending,
            attempts: 0,
            attempts_before: 0,
            next_attempt: Some(at),
            history: Vec::new(),
            body: None,
        }
    }

    /// The id of what it happened to, as the API writes it.
    #[must_use]
    pub fn subject_id(&self) -> String {
        match self.event {
            WebhookEvent::MessageAnswered | WebhookEvent::RunCompleted | WebhookEvent::RunFailed | WebhookEvent::RunCancelled => {
                RunId::from_uuid(self.subject).to_string()
            }
            WebhookEvent::ApprovalRequested | WebhookEvent::ApprovalDecided | WebhookEvent::ApprovalExpired => {
                ApprovalId::from_uuid(self.subject).to_string()
            }
            WebhookEvent::TaskAsked
            | WebhookEvent::TaskDone
            | WebhookEvent::TaskFailed
            | WebhookEvent::TaskOverBudget
            | WebhookEvent::TaskCancelled => TaskId::from_uuid(self.subject).to_string(),
            WebhookEvent::TimerFired => TimerId::from_uuid(self.subject).to_string(),
            WebhookEvent::ProposalMade => ItemId::from_uuid(self.subject).to_string(),
            WebhookEvent::UserErased => UserId::from_uuid(self.subject).to_string(),
            WebhookEvent::WebhookTest => WebhookId::from_uuid(self.subject).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_noun_and_a_verb_and_say_what_the_subject_is() {
        for event in WebhookEvent::ALL {
            assert_eq!(WebhookEvent::of(event.as_str()), Some(event));
            assert_eq!(event.as_str().split('.').count(), 2);
            let subject = Delivery::new(WebhookId::new(), event, Uuid::nil(), Timestamp::UNIX_EPOCH).subject_id();
            let prefix = match event.noun() {
                "run" => "run_",
                "approval" => "appr_",
                "task" => "task_",
                "timer" => "tmr_",
                "proposal" => "item_",
                "user" => "user_",
                "webhook" => "whk_",
                other => panic!("{other} is the noun of {event:?}"),
            };
            assert!(subject.starts_with(prefix), "{event:?}: {subject}");
        }
    }
}
