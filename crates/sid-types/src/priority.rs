//! Which of the runs that wait goes first.

use std::time::Duration;

named! {
    /// What woke the agent: it says how soon a run that waits gets its turn.
    ///
    /// A run's turn is the time at which it was accepted, put off by the [`patience`](Self::patience) of its priority; of runs that wait, the one
    /// with the earliest turn goes first. So a user goes before what agents begin by themselves, and nothing waits for ever: a run is
    /// overtaken only by what was accepted less than its patience later.
    Priority {
        /// A person has written, or an application on behalf of one.
        User = "user",
        /// A task goes on, or reports.
        Task = "task",
        /// A timer is due.
        Timer = "timer",
        /// The agent wakes by itself.
        Heartbeat = "heartbeat",
    }
}

impl Priority {
    /// So much later a run counts as accepted.
    #[must_use]
    pub const fn patience(self) -> Duration {
        match self {
            Self::User => Duration::ZERO,
            Self::Task => Duration::from_secs(30),
            Self::Timer => Duration::from_secs(60),
            Self::Heartbeat => Duration::from_secs(300),
        }
    }

    /// Whether nobody asked for the run at this moment: caps are for such runs.
    #[must_use]
    pub const fn is_self_begun(self) -> bool {
        !matches!(self, Self::User)
    }

    /// Its place in [`ALL`](Self::ALL): what stores keep.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }
}

/// Runs of before there were priorities are people's.
impl Default for Priority {
    fn default() -> Self {
        Self::User
    }
}
