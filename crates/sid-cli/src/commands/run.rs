//! `sid run`: what agents did, and stopping it.

use clap::Subcommand;

use super::conversation::find;
use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::Paint;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable, thousands};
use crate::session::Session;
use crate::wire;

/// Runs.
#[derive(Debug, Subcommand)]
pub enum Run {
    /// Runs of a conversation, newest first
    List {
        /// The conversation's id [default: the latest, of --agent and --user if they are named]
        id: Option<String>,
        /// The agent
        #[arg(long, env = "SID_AGENT")]
        agent: Option<String>,
        /// The conversation's key
        #[arg(long, value_name = "KEY")]
        conversation: Option<String>,
        /// Most runs
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One run with its steps
    Show {
        /// Its id
        id: String,
    },
    /// Ask a run to stop: at its next step, or while its model answers
    Cancel {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(command: Run, session: &Session) -> Result<(), CliError> {
    let client = session.client().await?;
    match command {
        Run::List { id, agent, conversation, limit } => {
            let conversation = find(session, id.as_deref(), agent.as_deref(), conversation.as_deref()).await?;
            let list = client.whole(Request::get(&["conversations", &conversation.id, "runs"]).query("limit", limit)).await?;
            let table = Table::new()
                .name("id")
                .name("status")
                .name("why")
                .number("steps")
                .number("prompt")
                .number("answer")
                .name("begun")
                .name("took")
                .text("error");
            let row = |r: wire::Run| {
                let took = duration(r.started_at.as_deref(), r.ended_at.as_deref());
                let (prompt, answer) = (thousands(r.usage.prompt_tokens), thousands(r.usage.completion_tokens));
                let why = r.stop_reason.unwrap_or_else(|| "-".into());
                vec![r.id, r.status, why, r.steps.to_string(), prompt, answer, moment(&r.created_at), took, r.error.unwrap_or_default()]
            };
            session.show_list(list, table, row, "no runs yet")
        }
        Run::Show { id } => {
            let run = client.value(Request::get(&["runs", &id])).await?;
            let steps = client.whole(Request::get(&["runs", &id, "steps"])).await?.items;
            if session.out.json {
                return session.out.value(&serde_json::json!({"run": run, "steps": steps}));
            }
            session.out.text(&render(&read(run, "the run")?, session.out.paint))?;
            let mut table = Table::new()
                .number("step")
                .number("prompt")
                .number("cached")
                .number("answer")
                .name("tools")
                .number("first ms")
                .number("total ms")
                .name("at");
            for step in steps {
                let s: wire::Step = read(step, "a step")?;
                let usage = [s.usage.prompt_tokens, s.usage.cached_tokens, s.usage.completion_tokens].map(thousands);
                let times = [s.rung, thousands(s.first_token_ms), thousands(s.total_ms), moment(&s.at)];
                table.row([s.number.to_string()].into_iter().chain(usage).chain(times));
            }
            session.out.line("")?;
            session.out.table(&table, "no steps yet")
        }
        Run::Cancel { id } => {
            let paint = session.out.paint;
            session.ask(Request::post(&["runs", &id, "cancel"]), "the run", move |r: wire::Run| render(&r, paint)).await
        }
    }
}

fn render(run: &wire::Run, paint: Paint) -> String {
    let status = match run.status.as_str() {
        "completed" => paint.green("completed"),
        "failed" => paint.red("failed"),
        other if run.cancel_requested && other != "cancelled" => paint.yellow(&format!("{other}, asked to stop")),
        other => paint.yellow(other),
    };
    let usage = format!(
        "{} of prompts ({} from the cache), {} of answers",
        thousands(run.usage.prompt_tokens),
        thousands(run.usage.cached_tokens),
        thousands(run.usage.completion_tokens)
    );
    let mut lines = vec![
        ("run", run.id.clone()),
        ("status", status),
        ("why", run.stop_reason.clone().unwrap_or_default()),
        ("error", printable(run.error.as_deref().unwrap_or_default())),
        ("conversation", run.conversation.clone()),
        ("agent", run.agent.clone()),
        ("steps", run.steps.to_string()),
        ("tokens", usage),
        ("begun", moment(&run.created_at)),
        ("took", duration(run.started_at.as_deref(), run.ended_at.as_deref())),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    facts(&lines, paint)
}

/// `1.2 s`; `-` while it goes on.
fn duration(from: Option<&str>, to: Option<&str>) -> String {
    let parse = |text: Option<&str>| text.and_then(|t| t.parse::<jiff::Timestamp>().ok());
    match (parse(from), parse(to)) {
        (Some(from), Some(to)) => format!("{:.1} s", to.duration_since(from).as_secs_f64()),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_seconds() {
        assert_eq!(duration(Some("2026-01-01T00:00:00Z"), Some("2026-01-01T00:01:00.25Z")), "60.2 s");
        assert_eq!(duration(Some("2026-01-01T00:00:00Z"), None), "-");
    }
}
