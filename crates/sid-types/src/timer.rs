//! Timers: stimuli that come by themselves, once or again and again.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AgentId, ConversationId, RunId, Source, TimerId, Timestamp, UserId};

/// When a timer is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum When {
    /// Once.
    At {
        /// The moment.
        at: Timestamp,
    },
    /// At `from`, and again each time that so long has passed; never mind the zone.
    Every {
        /// Milliseconds from one to the next.
        every_ms: u64,
        /// The first moment.
        from: Timestamp,
    },
    /// Whenever the clock on the wall shows a time that the expression names.
    ///
    /// A time that the clock skips (it is put forward) is due when the skipping is over; one that it shows twice (it is put back) is due the
    /// first time.
    Cron {
        /// Five fields: minute, hour, day of the month, month, day of the week.
        expression: String,
        /// IANA name of the zone that the clock is in.
        timezone: String,
    },
}

named! {
    /// What becomes of occurrences that nobody could answer in time, because no server ran or the queue was full.
    Late {
        /// They are left out.
        Skip = "skip",
        /// One run answers all of them; it stands for the last one.
        RunOnce = "run_once",
        /// Each gets its run, the newest hundred at most.
        RunAll = "run_all",
    }
}

named! {
    /// Which of the stimuli that wait in one conversation is to go first. It is kept; no store orders by it yet: runs come up in commit order.
    Priority {
        /// After all others.
        Low = "low",
        /// As those of people.
        Normal = "normal",
    }
}

named! {
    /// Where a timer stands.
    TimerState {
        /// It is due at some moment.
        Active = "active",
        /// It waits for somebody to let it go on.
        Paused = "paused",
        /// Nothing is due any more.
        Done = "done",
    }
}

named! {
    /// Who made a timer.
    TimerMaker {
        /// The application, with a key of the tenant.
        Api = "api",
        /// The person whose it is.
        User = "user",
        /// The agent, with a tool.
        Agent = "agent",
    }
}

/// What a timer's maker sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerSpec {
    /// What people call it. 1 to 200 characters; need not be unique.
    pub name: String,
    /// What the agent is told when it is due. 1 to 8,000 characters.
    pub stimulus: String,
    /// When it is due.
    pub when: When,
    /// What becomes of late occurrences.
    pub late: Late,
    /// Its runs among others that wait.
    pub priority: Priority,
    /// Nothing is due after this.
    pub until: Option<Timestamp>,
    /// Most runs.
    pub most: Option<u64>,
}

/// A timer of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its id.
    pub id: TimerId,
    /// The agent that it wakes.
    pub agent: AgentId,
    /// The human whose conversation it is; `None` for work of the agent's own.
    pub user: Option<UserId>,
    /// Where the agent is told. `None` = in the conversation that the agent has for what nobody asked in: made when it is needed.
    pub conversation: Option<ConversationId>,
    /// What was set.
    #[serde(flatten)]
    pub spec: TimerSpec,
    /// Where it stands.
    pub state: TimerState,
    /// When it is due next; `None` unless it is active. Microseconds are kept.
    pub next_due: Option<Timestamp>,
    /// Runs that it has made.
    pub fired: u64,
    /// Occurrences that were left out because they were late.
    pub skipped: u64,
    /// The last run that it has made.
    pub last_run: Option<RunId>,
    /// Who made it.
    pub made_by: TimerMaker,
    /// Sources that are not trusted, of which its words tell: those that its maker had read. What it wakes is under their influence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// Counts its changes, from 1. A firing is one.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Timer {
    /// The run that answers the occurrence of a moment: the same on every attempt, so that it is there once.
    #[must_use]
    pub fn run_for(timer: TimerId, due: Timestamp) -> RunId {
        RunId::from_uuid(Uuid::new_v5(&timer.uuid(), due.as_microsecond().to_string().as_bytes()))
    }
}
