//! Tasks: work that an agent does over many runs, in a conversation of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AgentId, ConversationId, Held, Run, RunId, Source, TaskId, UserId};

named! {
    /// Where a task stands. A closed set; [`TaskState::may_become`] says which change there is.
    TaskState {
        /// Made, not begun.
        Planned = "planned",
        /// Its agent works on it, or is about to.
        Working = "working",
        /// It waits for an answer to its question.
        WaitingUser = "waiting_user",
        /// It waits for a time, or for a task that it handed on.
        WaitingTime = "waiting_time",
        /// Its acceptance is met.
        Done = "done",
        /// It ended without.
        Failed = "failed",
        /// Somebody called it off.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether a task in this state may be in `next` afterwards: the one place that knows. No change is a change, too.
    ///
    /// ```
    /// use sid_types::TaskState;
    /// assert!(TaskState::Working.may_become(TaskState::Done));
    /// assert!(!TaskState::Done.may_become(TaskState::Working));
    /// ```
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Planned => matches!(next, Self::Planned | Self::Working | Self::Failed | Self::Cancelled),
            Self::Working => !matches!(next, Self::Planned),
            Self::WaitingUser => matches!(next, Self::WaitingUser | Self::Working | Self::Failed | Self::Cancelled),
            Self::WaitingTime => matches!(next, Self::WaitingTime | Self::Working | Self::Failed | Self::Cancelled),
            Self::Done => matches!(next, Self::Done),
            Self::Failed => matches!(next, Self::Failed),
            Self::Cancelled => matches!(next, Self::Cancelled),
        }
    }

    /// Whether it will never change again.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

named! {
    /// Where a step of a plan stands.
    PlanStepState {
        /// Not begun.
        Open = "open",
        /// Under way.
        Doing = "doing",
        /// Done.
        Done = "done",
        /// Not needed any more.
        Dropped = "dropped",
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// What is to be done.
    pub text: String,
    /// How far it is.
    pub state: PlanStepState,
    /// What the agent noted about it; may be empty.
    #[serde(default)]
    pub note: String,
}

/// What must hold when a task is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// In words; may be empty.
    #[serde(default)]
    pub text: String,
    /// What the result is checked for, point by point; may be empty.
    #[serde(default)]
    pub checks: Vec<String>,
}

/// What a task may use up, in all its runs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBudget {
    /// Most model calls. Default 200.
    pub max_steps: u32,
    /// Most tokens, prompts and answers together. Default 2,000,000.
    pub max_tokens: u64,
    /// Most money, in millionths of the currency that the models' prices are in; `None` = no limit. Models without a price cost nothing.
    #[serde(default)]
    pub max_cost_micros: Option<u64>,
    /// Most time that its runs take, in milliseconds; waiting is free. Default 86,400,000 (a day).
    pub max_time_ms: u64,
}

impl Default for TaskBudget {
    fn default() -> Self {
        Self { max_steps: 200, max_tokens: 2_000_000, max_cost_micros: None, max_time_ms: 86_400_000 }
    }
}

/// What a task has used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskUsage {
    /// Runs that have ended.
    pub runs: u32,
    /// Model calls.
    pub steps: u32,
    /// Tokens.
    pub tokens: u64,
    /// Money, in millionths.
    pub cost_micros: u64,
    /// Milliseconds that its runs took.
    pub time_ms: u64,
}

impl TaskUsage {
    /// Adds a run that has ended, and what it cost.
    pub fn add(&mut self, run: &Run, cost_micros: u64) {
        self.runs += 1;
        self.steps += run.steps;
        self.tokens += run.usage.prompt_tokens + run.usage.completion_tokens;
        self.cost_micros += cost_micros;
        let took = run.started_at.zip(run.ended_at).map_or(0, |(from, to)| to.duration_since(from).as_millis());
        self.time_ms += u64::try_from(took).unwrap_or(0);
    }
}

/// Who made a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskCreator {
    /// The person whose it is.
    User,
    /// An agent, in a conversation.
    Agent {
        /// Which.
        agent: AgentId,
    },
    /// The tenant's application.
    Api,
}

impl TaskCreator {
    /// The agent, if it was one.
    #[must_use]
    pub const fn agent(&self) -> Option<AgentId> {
        match self {
            Self::Agent { agent } => Some(*agent),
            Self::User | Self::Api => None,
        }
    }
}

/// How one check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The check, as the task has it.
    pub check: String,
    /// How the result meets it.
    pub how: String,
}

/// What came of a task that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The result.
    pub text: String,
    /// How the acceptance is met, in words.
    #[serde(default)]
    pub how: String,
    /// One answer per check, in order.
    #[serde(default)]
    pub checks: Vec<CheckAnswer>,
}

/// Words on their way to the conversation that a task reports into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Counts the task's letters, from 1: the run that it starts has an id made of it.
    pub number: u32,
    /// The words.
    pub text: String,
}

/// What the engine keeps of the work on a task. Not for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWork {
    /// Runs that were planned, from 1; the run's id is made of it.
    pub turn: u32,
    /// The run of this turn, while it is not accounted for.
    pub run: Option<RunId>,
    /// What that run is told.
    #[serde(default)]
    pub brief: String,
    /// What the next run is told besides.
    #[serde(default)]
    pub inbox: Vec<String>,
    /// Letters that were not delivered yet.
    #[serde(default)]
    pub outbox: Vec<Letter>,
    /// Letters ever written.
    #[serde(default)]
    pub letters: u32,
    /// Nothing is done before this moment.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Letters that wait until then: the user's quiet hours, or a cap. Work goes on meanwhile.
    #[serde(default)]
    pub kept_back: Vec<Letter>,
    /// When they are delivered.
    #[serde(default)]
    pub kept_until: Option<Timestamp>,
    /// Why something of it waited last, and until when; `None` after a run that began at its time.
    #[serde(default)]
    pub held: Option<Held>,
    /// Whose conversation it reports into.
    #[serde(default)]
    pub report_agent: Option<AgentId>,
    /// Runs in a row in which its agent called nothing.
    #[serde(default)]
    pub idle: u32,
    /// Runs that failed in a row.
    #[serde(default)]
    pub failures: u32,
    /// Tokens of the last tool calls that changed it: a call made again changes nothing.
    #[serde(default)]
    pub applied: Vec<Uuid>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Who works on it.
    pub agent: AgentId,
    /// Whose it is; `None` = the tenant's.
    pub user: Option<UserId>,
    /// One line.
    pub title: String,
    /// What is to be reached.
    pub objective: String,
    /// What must hold in the end.
    pub acceptance: Acceptance,
    /// What it may use up.
    pub budget: TaskBudget,
    /// It fails if it is not done by then.
    pub deadline: Option<Timestamp>,
    /// In order; may be empty.
    pub plan: Vec<PlanStep>,
    /// Where it stands.
    pub state: TaskState,
    /// What its agent said last of its progress; may be empty.
    pub progress: String,
    /// What came of it, once it is done.
    pub result: Option<TaskResult>,
    /// Why it failed or was cancelled, once it has.
    pub failure: Option<String>,
    /// What it asks, while it waits for an answer.
    pub question: Option<String>,
    /// When it goes on, while it waits for a time.
    pub wake_at: Option<Timestamp>,
    /// The task that handed it on.
    pub parent: Option<TaskId>,
    /// Where it is worked on.
    pub conversation: ConversationId,
    /// Where its questions and reports go; `None` = nowhere, they stand in the task alone.
    pub report_to: Option<ConversationId>,
    /// What it has used up.
    pub used: TaskUsage,
    /// Who made it.
    pub created_by: TaskCreator,
    /// Sources that are not trusted, of which its words tell: those that whoever wrote in it had read. None is ever taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// The engine's own.
    pub work: TaskWork,
    /// Counts changes, from 1; writes are compare-and-set on it.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Task {
    /// Most characters of a title.
    pub const TITLE_CHARS: usize = 300;
    /// Most bytes of a task, as JSON.
    pub const BYTES: usize = 262_144;
    /// Most steps of a plan, and most checks.
    pub const LIST: usize = 64;

    /// A task that was not begun: version 1, made now.
    #[must_use]
    pub fn new(id: TaskId, agent: AgentId, user: Option<UserId>, conversation: ConversationId, title: impl Into<String>) -> Self {
        Self {
            id,
            agent,
            user,
            title: title.into(),
            objective: String::new(),
            acceptance: Acceptance::default(),
            budget: TaskBudget::default(),
            deadline: None,
            plan: Vec::new(),
            state: TaskState::Planned,
            progress: String::new(),
            result: None,
            failure: None,
            question: None,
            wake_at: None,
            parent: None,
            conversation,
            report_to: None,
            used: TaskUsage::default(),
            created_by: TaskCreator::Api,
            untrusted: Vec::new(),
            work: TaskWork::default(),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// The run of a turn: the same id whoever starts it, so that it is started once.
    #[must_use]
    pub fn run_of_turn(&self, turn: u32) -> RunId {
        RunId::from_uuid(Uuid::new_v5(&self.id.uuid(), format!("turn/{turn}").as_bytes()))
    }

    /// The run that a letter starts where it arrives.
    #[must_use]
    pub fn run_of_letter(&self, number: u32) -> RunId {
        RunId::from_uuid(Uuid::new_v5(&self.id.uuid(), format!("letter/{number}").as_bytes()))
    }

    /// Puts words on their way to where it reports; nowhere to report means that they are dropped.
    pub fn write_letter(&mut self, text: String) {
        if self.report_to.is_some() {
            self.work.letters += 1;
            self.work.outbox.push(Letter { number: self.work.letters, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_goes_from_state_to_state_as_written_here_and_in_no_other_way() {
        use TaskState::{Cancelled, Done, Failed, Planned, WaitingTime, WaitingUser, Working};
        let allowed = [
            (Planned, vec![Working, Failed, Cancelled]),
            (Working, vec![WaitingUser, WaitingTime, Done, Failed, Cancelled]),
            (WaitingUser, vec![Working, Failed, Cancelled]),
            (WaitingTime, vec![Working, Failed, Cancelled]),
            (Done, vec![]),
            (Failed, vec![]),
            (Cancelled, vec![]),
        ];
        assert_eq!(allowed.len(), TaskState::ALL.len());
        for (from, next) in allowed {
            for to in TaskState::ALL {
                assert_eq!(from.may_become(to), from == to || next.contains(&to), "{from:?} to {to:?}");
            }
            assert_eq!(from.is_over(), next.is_empty(), "{from:?}");
        }
    }

    #[test]
    fn runs_of_turns_and_letters_are_named_by_what_they_are_for() {
        let task = Task::new(TaskId::new(), AgentId::new(), None, ConversationId::new(), "t");
        assert_eq!(task.run_of_turn(1), task.clone().run_of_turn(1));
        let other = Task::new(TaskId::new(), task.agent, None, task.conversation, "t");
        let ids = [task.run_of_turn(1), task.run_of_turn(2), task.run_of_letter(1), task.run_of_letter(2), other.run_of_turn(1)];
        assert!(ids.iter().enumerate().all(|(i, id)| ids[..i].iter().all(|before| before != id)));
    }
}
