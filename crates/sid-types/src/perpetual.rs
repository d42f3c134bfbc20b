//! What lets an agent go on by itself, and what holds it back.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How often an agent wakes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartrate {
    /// Milliseconds from one heartbeat to the next.
    pub every_ms: u64,
    /// Whether it wakes only while something is open: a task, a letter that was not delivered, a question that waits for an answer.
    #[serde(default)]
    pub only_when_open: bool,
}

/// Most of what is begun without anybody asking at that moment. `None`: as configured; 0: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Runs that begin in an hour (UTC).
    #[serde(default)]
    pub runs_per_hour: Option<u64>,
    /// Runs that begin in a day (UTC).
    #[serde(default)]
    pub runs_per_day: Option<u64>,
    /// Tokens that such runs use in a day (UTC), prompts and answers together.
    #[serde(default)]
    pub tokens_per_day: Option<u64>,
}

impl Caps {
    /// These, and `others` where there is none.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            runs_per_hour: self.runs_per_hour.or(others.runs_per_hour),
            runs_per_day: self.runs_per_day.or(others.runs_per_day),
            tokens_per_day: self.tokens_per_day.or(others.tokens_per_day),
        }
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

named! {
    /// Why something did not begin at its moment.
    HeldBy {
        /// Nobody could answer it in time: no server ran, or the queue was full.
        Late = "late",
        /// The user's quiet hours.
        QuietHours = "quiet_hours",
        /// The agent has begun as many runs by itself in this hour as it may.
        AgentRunsPerHour = "agent_runs_per_hour",
        /// ... in this day.
        AgentRunsPerDay = "agent_runs_per_day",
        /// The agent's runs of that kind have used as many tokens in this day as they may.
        AgentTokensPerDay = "agent_tokens_per_day",
        /// The agents of the tenant have begun as many runs by themselves in this hour as they may.
        TenantRunsPerHour = "tenant_runs_per_hour",
        /// ... in this day.
        TenantRunsPerDay = "tenant_runs_per_day",
        /// Those runs have used as many tokens in this day as they may.
        TenantTokensPerDay = "tenant_tokens_per_day",
        /// A heartbeat that is for open things only, and nothing was open.
        NothingOpen = "nothing_open",
        /// The agent sleeps.
        Asleep = "asleep",
        /// The heartbeat before it was not over.
        StillAwake = "still_awake",
    }
}

/// Something that was to begin and was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Why.
    pub by: HeldBy,
    /// When it was held back.
    pub at: Timestamp,
    /// It waits until then; `None` = it was left out.
    pub until: Option<Timestamp>,
}
