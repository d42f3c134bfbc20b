//! `sid timers`: what wakes agents by itself.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::Paint;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable};
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// Timers.
#[derive(Debug, Subcommand)]
pub enum Timers {
    /// Timers, newest first; of one user with --user
    List {
        /// Only of this agent
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Make a timer; for one user with --user
    Set(Set),
    /// One timer
    Show {
        /// Its id (`sid timers list` shows it)
        id: String,
    },
    /// Let a timer wait; what would be due meanwhile is left out
    Pause {
        /// Its id
        id: String,
    },
    /// Let it go on
    Resume {
        /// Its id
        id: String,
    },
    /// Forget a timer; runs that it has made stay
    Remove {
        /// Its id
        id: String,
    },
}

/// What becomes of occurrences that nobody could answer in time.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Late {
    /// They are left out
    Skip,
    /// One run answers all of them
    RunOnce,
    /// Each gets its run
    RunAll,
}

/// A timer to be made.
#[derive(Debug, Args)]
pub struct Set {
    /// What people call it
    name: String,
    /// What the agent is told when it is due
    stimulus: String,
    /// The agent that it wakes, in a conversation of its own
    #[arg(long, required_unless_present = "conversation", conflicts_with = "conversation")]
    agent: Option<String>,
    /// The conversation that it wakes the agent in
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Once, at this time, such as 2026-03-02T07:30:00+01:00
    #[arg(long, value_name = "TIME", required_unless_present_any = ["every", "cron"], conflicts_with = "cron")]
    at: Option<jiff::Timestamp>,
    /// Again each time that so long has passed, such as 90m; the first time at --at, or so long from now
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "cron")]
    every: Option<u64>,
    /// By the clock on the wall: minute, hour, day, month, weekday, such as "30 7 * * MON-FRI"
    #[arg(long, value_name = "FIELDS")]
    cron: Option<String>,
    /// IANA zone of --cron [default: the user's, or UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,
    /// What becomes of occurrences that nobody could answer in time
    #[arg(long, default_value = "run-once")]
    late: Late,
    /// In the user's quiet hours it waits until they are over, and does not fire
    #[arg(long)]
    waits_in_quiet_hours: bool,
    /// Nothing is due after this
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// Most runs
    #[arg(long, value_name = "N")]
    most: Option<u64>,
}

/// Milliseconds of a time such as `90m`.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|e| format!("{e}"))?;
    u64::try_from(span.as_millis()).map_err(|_| "must not be negative".into())
}

impl Set {
    fn body(self, user: Option<String>) -> Value {
        let when = match (self.at, self.every, self.cron) {
            (from, Some(every), _) => json!({"type": "every", "every_ms": every, "from": from}),
            (_, None, Some(cron)) => json!({"type": "cron", "expression": cron, "timezone": self.timezone}),
            (at, None, None) => json!({"type": "at", "at": at}),
        };
        let late = match self.late {
            Late::Skip => "skip",
            Late::RunOnce => "run_once",
            Late::RunAll => "run_all",
        };
        // A conversation has its user.
        let user = user.filter(|_| self.conversation.is_none());
        let mut body = given([
            ("agent", self.agent.map(|a| named("agent", &a).into())),
            ("conversation", self.conversation.map(Into::into)),
            ("user", user.map(Into::into)),
            ("until", self.until.map(|at| at.to_string().into())),
            ("most", self.most.map(Into::into)),
        ]);
        body["name"] = self.name.into();
        body["stimulus"] = self.stimulus.into();
        body["when"] = when;
        body["late"] = late.into();
        body["in_quiet_hours"] = if self.waits_in_quiet_hours { "wait".into() } else { "fire".into() };
        body
    }
}

/// When it is due, in words.
fn when(when: &Value) -> String {
    let text = |field: &str| when[field].as_str().unwrap_or_default().to_owned();
    match when["type"].as_str() {
        Some("at") => "once".into(),
        Some("every") => {
            let every = jiff::SignedDuration::from_millis(when["every_ms"].as_i64().unwrap_or_default());
            format!("every {every:#}")
        }
        _ => format!("{} ({})", text("expression"), text("timezone")),
    }
}

fn next(t: &wire::Timer) -> String {
    t.next_due.as_deref().map_or_else(|| t.state.clone(), moment)
}

/// Why it did not begin at its moment, in words.
fn held(held: &wire::Held) -> String {
    let why = held.by.replace('_', " ");
    match &held.until {
        Some(until) => format!("{why}, waits until {}", moment(until)),
        None => format!("{why}, left out at {}", moment(&held.at)),
    }
}

pub(super) fn render(t: &wire::Timer, paint: Paint) -> String {
    let mut lines = vec![
        ("id", t.id.clone()),
        ("name", printable(&t.name)),
        ("kind", t.kind.clone()),
        ("when", when(&t.when)),
        ("next", next(t)),
        ("late", t.late.clone()),
        ("quiet hours", if t.in_quiet_hours == "wait" { "it waits".into() } else { "it fires".into() }),
        ("held", t.held.as_ref().map(held).unwrap_or_default()),
        ("agent", t.agent.clone()),
        ("user", t.user.clone().unwrap_or_default()),
        ("conversation", t.conversation.clone().unwrap_or_default()),
        ("fired", t.fired.to_string()),
        ("skipped", t.skipped.to_string()),
        ("last run", t.last_run.clone().unwrap_or_default()),
        ("tells", printable(&t.stimulus)),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    facts(&lines, paint)
}

pub(crate) async fn run(command: Timers, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |t: wire::Timer| render(&t, paint);
    match command {
        Timers::List { agent, paging } => {
            let agent = agent.map(|a| named("agent", &a));
            let request = Request::get(&["timers"]).query_if("agent", agent).query_if("user", session.user());
            let table = Table::new().name("id").text("name").name("when").name("next").number("fired");
            let row = move |t: wire::Timer| {
                let next = next(&t);
                vec![t.id, printable(&t.name), when(&t.when), next, t.fired.to_string()]
            };
            session.list(request, &paging, table, row, "no timers yet; make one: sid timers set").await
        }
        Timers::Set(set) => {
            let body = set.body(session.user());
            session.ask(Request::post(&["timers"]).json(body), "the timer", show).await
        }
        Timers::Show { id } => session.ask(Request::get(&["timers", &id]), "the timer", show).await,
        Timers::Pause { id } => session.ask(Request::patch(&["timers", &id]).json(json!({"paused": true})), "the timer", show).await,
        Timers::Resume { id } => session.ask(Request::patch(&["timers", &id]).json(json!({"paused": false})), "the timer", show).await,
        Timers::Remove { id } => {
            session.client().await?.send(Request::delete(&["timers", &id])).await?;
            if session.out.json {
                return session.out.value(&json!({"id": id, "removed": true}));
            }
            session.out.line(&format!("{id} is gone"))
        }
    }
}
