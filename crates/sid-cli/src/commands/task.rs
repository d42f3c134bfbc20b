//! `sid task`: work that agents do over many runs.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::Paint;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable, thousands};
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// Tasks.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Tasks, newest first; of one user with --user
    List {
        /// Those that are over, too
        #[arg(long)]
        all_states: bool,
        /// Only of this agent
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Give an agent a task; of the user of --user, else the tenant's own
    Add(Box<Add>),
    /// One task with its plan and what came of it
    Show {
        /// Its id
        task: String,
    },
    /// Answer a task's question
    Answer {
        /// Its id
        task: String,
        /// The answer
        answer: String,
    },
    /// Call a task off
    Cancel {
        /// Its id
        task: String,
        /// Why; told where it reports
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// A task to be made.
#[derive(Debug, Args)]
pub struct Add {
    /// Who is to work on it
    agent: String,
    /// One line
    title: String,
    /// What is to be reached
    #[arg(long, value_name = "TEXT")]
    objective: Option<String>,
    /// What must hold in the end
    #[arg(long, value_name = "TEXT")]
    acceptance: Option<String>,
    /// What the result is checked for; may be repeated
    #[arg(long = "check", value_name = "TEXT")]
    checks: Vec<String>,
    /// A step of its plan; may be repeated
    #[arg(long = "step", value_name = "TEXT")]
    steps: Vec<String>,
    /// Most model calls
    #[arg(long, value_name = "N")]
    max_steps: Option<u32>,
    /// Most tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// It fails if it is not done by then, such as 2026-05-20T18:00:00Z
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// The conversation that its questions and reports go to
    #[arg(long, value_name = "ID")]
    report_to: Option<String>,
}

pub(crate) async fn run(command: Task, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |task: wire::Task| render(task, paint);
    match command {
        Task::List { all_states, agent, paging } => {
            let open = (!all_states).then(|| "true".to_owned());
            let agent = agent.map(|a| named("agent", &a));
            let request = Request::get(&["tasks"]).query_if("open", open).query_if("agent", agent).query_if("user", session.user());
            let table = Table::new().name("id").name("state").number("steps").name("changed").text("title");
            let row = |t: wire::Task| {
                let title = t.question.map_or_else(|| t.title.clone(), |q| format!("{}: {q}", t.title));
                vec![t.id, t.state, thousands(t.used.steps), moment(&t.updated_at), printable(&title)]
            };
            session.list(request, &paging, table, row, "no tasks; give one: sid task add AGENT TITLE").await
        }
        Task::Add(add) => {
            let some = |list: Vec<String>| (!list.is_empty()).then(|| json!(list));
            let budget = given([("max_steps", add.max_steps.map(|n| json!(n))), ("max_tokens", add.max_tokens.map(|n| json!(n)))]);
            let body = given([
                ("agent", Some(json!(named("agent", &add.agent)))),
                ("user", session.user().map(|u| json!(u))),
                ("title", Some(json!(add.title))),
                ("objective", add.objective.map(|t| json!(t))),
                ("acceptance", add.acceptance.map(|t| json!(t))),
                ("checks", some(add.checks)),
                ("plan", some(add.steps)),
                ("budget", budget.as_object().is_some_and(|b| !b.is_empty()).then_some(budget)),
                ("deadline", add.deadline.map(|t| json!(t))),
                ("report_to", add.report_to.map(|t| json!(t))),
            ]);
            session.ask(Request::post(&["tasks"]).json(body), "the task", show).await
        }
        Task::Show { task } => session.ask(Request::get(&["tasks", &task]), "the task", show).await,
        Task::Answer { task, answer } => {
            let request = Request::post(&["tasks", &task, "answer"]).json(json!({"answer": answer}));
            session.ask(request, "the task", show).await
        }
        Task::Cancel { task, reason } => {
            let request = Request::post(&["tasks", &task, "cancel"]).json(json!({"reason": reason}));
            session.ask(request, "the task", show).await
        }
    }
}

fn render(task: wire::Task, paint: Paint) -> String {
    let used = format!("{} runs, {} steps, {} tokens", task.used.runs, thousands(task.used.steps), thousands(task.used.tokens));
    let mut lines = vec![
        ("id", task.id),
        ("title", printable(&task.title)),
        ("state", task.state),
        ("used", used),
        ("conversation", task.conversation),
        ("changed", moment(&task.updated_at)),
    ];
    let more = [
        ("deadline", task.deadline),
        ("question", task.question),
        ("wakes", task.wake_at),
        ("why", task.failure),
        ("progress", Some(task.progress).filter(|p| !p.is_empty())),
        ("objective", Some(task.objective).filter(|o| !o.is_empty())),
        ("acceptance", Some(task.acceptance).filter(|a| !a.is_empty())),
    ];
    lines.extend(more.into_iter().filter_map(|(name, value)| Some((name, printable(&value?)))));
    let mut out = facts(&lines, paint);
    for (i, step) in task.plan.iter().enumerate() {
        let note = if step.note.is_empty() { String::new() } else { format!(" ({})", step.note) };
        out.push_str(&printable(&format!("  {}. [{}] {}{note}", i + 1, step.state, step.text)));
        out.push('\n');
    }
    if let Some(result) = task.result {
        out.push_str(&format!("\n{}\n", printable(&result.text)));
        for check in result.checks {
            out.push_str(&printable(&format!("  {}: {}", check.check, check.how)));
            out.push('\n');
        }
    }
    out
}
