//! Timers: stimuli that come by themselves, once or again and again.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AgentId, ConversationId, Held, Priority, RunId, Source, TimerId, Timestamp, UserId};

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
    /// What a timer is for.
    #[derive(Default)]
    TimerKind {
        /// Somebody wants the agent told something.
        #[default]
        Reminder = "reminder",
        /// The agent wakes by itself, again and again: see [`Heartrate`](crate::Heartrate).
        Heartbeat = "heartbeat",
        /// The agent has gone to sleep, and is woken; earlier if its user writes.
        Sleep = "sleep",
    }
}

impl TimerKind {
    /// That of its runs.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Reminder | Self::Sleep => Priority::Timer,
            Self::Heartbeat => Priority::Heartbeat,
        }
    }
}

named! {
    /// What a timer does that is due in the user's quiet hours.
    #[derive(Default)]
    InQuietHours {
        /// It fires: a person set it, and means that time.
        #[default]
        Fire = "fire",
        /// It waits until they are over; what came due meanwhile is late then.
        Wait = "wait",
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
    /// What it is for.
    #[serde(default)]
    pub kind: TimerKind,
    /// What it does in the user's quiet hours.
    #[serde(default)]
    pub in_quiet_hours: InQuietHours,
    /// Whether an occurrence is left out when nothing is open.
    #[serde(default)]
    pub only_when_open: bool,
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
    /// Occurrences that were left out.
    pub skipped: u64,
    /// The last run that it has made.
    pub last_run: Option<RunId>,
    /// Why the last occurrence that did not begin at its moment did not; `None` after one that did.
    #[serde(default)]
    pub held: Option<Held>,
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
    /// When it is to be looked at: when it is due next, or when what holds it back is over.
    #[must_use]
    pub fn looked_at(&self) -> Option<Timestamp> {
        self.next_due.map(|due| self.held.and_then(|held| held.until).map_or(due, |until| until.max(due)))
    }

    /// The heartbeat of an agent with a user, or of the agent alone: there is one.
    #[must_use]
    pub fn heartbeat_of(agent: AgentId, user: Option<UserId>) -> TimerId {
        let whose = user.map_or_else(Uuid::nil, |user| user.uuid());
        TimerId::from_uuid(Uuid::new_v5(&agent.uuid(), &[b"heartbeat".as_slice(), whose.as_bytes()].concat()))
    }

    /// The run that answers the occurrence of a moment: the same on every attempt, so that it is there once.
    #[must_use]
    pub fn run_for(timer: TimerId, due: Timestamp) -> RunId {
        RunId::from_uuid(Uuid::new_v5(&timer.uuid(), due.as_microsecond().to_string().as_bytes()))
    }
}
