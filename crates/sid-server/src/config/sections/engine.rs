//! The agent loop, and what a tenant may use up of it.

use crate::config::setting::section;

section! {
    /// The agent loop.
    Engine {
        /// Most model calls of one run.
        max_steps: u32 = 50;
        /// Most tokens of one run, prompts and answers together.
        max_tokens: u64 = 1_000_000;
        /// Longest run, in milliseconds.
        max_time_ms: u64 = 600_000;
        /// The same call with the same arguments this many times in a row ends a run.
        max_repeats: u32 = 3;
        /// How long a claim on a conversation holds unless renewed, in milliseconds: how long a crashed process delays its runs.
        lease_ttl_ms: u64 = 15_000;
        /// How often claims are renewed and orphaned runs are looked for, in milliseconds.
        poll_ms: u64 = 1_000;
        /// Longest delay of streamed text, in milliseconds.
        delta_flush_ms: u64 = 50;
        /// Summaries and diary pages are asked of a model only after this long without a run, in milliseconds.
        idle_ms: u64 = 5_000;
        /// How long a turn waits for the vector of its message before it searches by words only, in milliseconds.
        embed_wait_ms: u64 = 2_000;
        /// How long a question whether a call may be made waits for an answer, in milliseconds; an agent may have its own. 24 h.
        approval_ttl_ms: u64 = 86_400_000;
        /// Most timers that are not done, of an agent with one user.
        timers_per_user: u64 = 100;
        /// Shortest time between two occurrences of a timer, in milliseconds.
        shortest_timer_ms: u64 = 60_000;
        /// How long an agent that asks another one waits for the answer, in milliseconds.
        ask_timeout_ms: u64 = 120_000;
        /// What is due for longer than this is late, and its timer's policy says what becomes of it, in milliseconds.
        timer_patience_ms: u64 = 60_000;
        /// Most runs that one agent begins by itself (heartbeats, timers, tasks) in an hour (UTC), unless it says otherwise. 0 = no limit.
        agent_runs_per_hour: u64 = 10_000;
        /// The same in a day (UTC). 0 = no limit.
        agent_runs_per_day: u64 = 100_000;
        /// Most tokens that such runs of one agent use in a day (UTC), unless it says otherwise. 0 = no limit.
        agent_tokens_per_day: u64 = 0;
        /// Whether diary pages are written in the background.
        diary: bool = true;
        /// Whether, with a day's diary page, facts are drawn from what users said (by the model that summarises) and full blocks give lines to
        /// archival memory.
        consolidate: bool = true;
    }
}

section! {
    /// What one tenant may use up. An operator may set other limits for single tenants.
    Limits {
        /// Most runs of one tenant at once in this process; others wait, and nobody is refused. 0 = no limit of its own.
        runs_at_once: usize = 32;
        /// Most runs of one tenant's tasks at once, over all processes; the others wait. 0 = tasks are not worked on.
        task_runs_at_once: usize = 8;
        /// Most agents that wake each other in a row, by messages and questions. 0 = agents do not speak with each other.
        agents_in_a_row: u32 = 4;
        /// Most messages that agents send each other about one stimulus.
        agent_messages: u32 = 32;
        /// Most tokens that the agents use up whom one stimulus wakes through others.
        agent_tokens: u64 = 1_000_000;
        /// Requests per second of one tenant, over all processes, with bursts of twice as many; more is answered 429. 0 = no limit.
        requests_per_second: u32 = 0;
        /// Tokens of one tenant per day (UTC), prompts and answers together; then its runs end with `budget`. 0 = no limit.
        tokens_per_day: u64 = 0;
        /// Tokens of one tenant per month (UTC). 0 = no limit.
        tokens_per_month: u64 = 0;
        /// Most runs that the agents of one tenant begin by themselves (heartbeats, timers, tasks) in an hour (UTC); then they wait. 0 = no limit.
        self_begun_runs_per_hour: u64 = 100_000;
        /// The same in a day (UTC). 0 = no limit.
        self_begun_runs_per_day: u64 = 1_000_000;
        /// Most tokens that such runs of one tenant use in a day (UTC). 0 = no limit.
        self_begun_tokens_per_day: u64 = 0;
    }
}
