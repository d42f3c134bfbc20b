//! `sid agent`: what agents are.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::Request;
use crate::commands::erase;
use crate::error::CliError;
use crate::output::Paint;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, thousands};
use crate::session::{Paging, Session, given, is_id, named};
use crate::wire;

/// Agents.
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// All agents, oldest first
    List(Paging),
    /// Make an agent
    Create {
        /// Its name, unique in the tenant
        name: String,
        #[command(flatten)]
        spec: Box<Spec>,
    },
    /// Everything about one agent
    Show {
        /// Name or id
        agent: String,
    },
    /// Change an agent, from its next turn on; what is not named stays as it is
    Update {
        /// Name or id
        agent: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        spec: Box<Spec>,
    },
    /// How often an agent wakes by itself for one user, whatever its own heartrate is
    Heartrate {
        /// Name or id
        agent: String,
        /// From one heartbeat to the next, such as 30m
        #[arg(value_name = "TIME", value_parser = super::timers::duration)]
        every: u64,
        /// Only while something is open: tasks, letters, questions
        #[arg(long)]
        when_open: bool,
        /// Where it is told [default: the conversation with the key `autonomous`]
        #[arg(long, value_name = "ID")]
        conversation: Option<String>,
    },
    /// Erase an agent with its conversations and memory
    Delete {
        /// Name or id
        agent: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What an agent is.
#[derive(Debug, Args)]
pub struct Spec {
    /// Persona and rules, given to the model as system instructions
    #[arg(long, value_name = "TEXT", conflicts_with = "instructions_file")]
    instructions: Option<String>,
    /// The same, read from a file
    #[arg(long, value_name = "FILE")]
    instructions_file: Option<PathBuf>,
    /// The name of a configured model
    #[arg(long)]
    model: Option<String>,
    /// The window to use, in tokens; `auto` = the model's own
    #[arg(long, value_name = "TOKENS", value_parser = number_or_auto)]
    context_window: Option<Value>,
    /// Most tokens of one answer; `auto` = a share of the window
    #[arg(long, value_name = "TOKENS", value_parser = number_or_auto)]
    max_output: Option<Value>,
    /// Sampling temperature, 0 to 2; `auto` = the engine's default
    #[arg(long, value_name = "T", value_parser = number_or_auto)]
    temperature: Option<Value>,
    /// A block that each user starts with; may be repeated. Default: `persona` and `human`
    #[arg(long = "block", value_name = "LABEL[:LIMIT][=DESCRIPTION]", value_parser = template)]
    blocks: Vec<Value>,
    /// Names of the tools that are offered, with commas between them; `all` = all memory tools
    #[arg(long, value_name = "NAMES")]
    tools: Option<String>,
    /// Whether it works on tasks
    #[arg(long, value_name = "true|false")]
    tasks: Option<bool>,
    /// An agent that it may hand work to; may be repeated
    #[arg(long, value_name = "AGENT")]
    reaches: Vec<String>,
    /// An agent that it may ask and send messages to, `team:TEAM` or `tag:NAME`; may be repeated, and replaces all that there were. `none` = nobody
    #[arg(long = "colleague", value_name = "AGENT|team:TEAM|tag:NAME")]
    colleagues: Vec<String>,
    /// An agent whose words are no text from outside for it, `team:TEAM` or `tag:NAME`; may be repeated. `none` = nobody's
    #[arg(long, value_name = "AGENT|team:TEAM|tag:NAME")]
    trusts: Vec<String>,
    /// What others call it by in their colleagues; may be repeated. `none` = no tags
    #[arg(long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// A rule for a tool; may be repeated, and replaces all rules that there were. `none` = no rules
    #[arg(
        long = "rule",
        value_name = "run_first=TOOL|required_before_exit=TOOL|only_after=TOOL:OTHERS|at_most=TOOL:TIMES|ends_run=TOOL",
        value_parser = rule
    )]
    rules: Vec<Value>,
    /// A team whose memory it may read for members; may be repeated
    #[arg(long = "team", value_name = "TEAM")]
    teams: Vec<String>,
    /// The configured model for summaries, diary and consolidation; `auto` = as its model is configured
    #[arg(long, value_name = "MODEL")]
    background_model: Option<String>,
    /// How often it wakes by itself for each of its users, such as 30m; `none` = never
    #[arg(long, value_name = "TIME", value_parser = heartrate)]
    heartrate: Option<Value>,
    /// It wakes only while something is open: tasks, letters, questions
    #[arg(long, requires = "heartrate")]
    heartrate_when_open: bool,
    /// Quiet hours of users who have said nothing of theirs, such as 22:00-07:00; `none` = none
    #[arg(long, value_name = "FROM-TO")]
    quiet_hours: Option<String>,
    /// Most of what it begins by itself; may be repeated, and replaces all caps that there were. 0 = no limit, `none` = as configured
    #[arg(long = "cap", value_name = "runs_per_hour=N|runs_per_day=N|tokens_per_day=N", value_parser = cap)]
    caps: Vec<(String, Value)>,
    /// A free text pair for the application; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

fn number_or_auto(text: &str) -> Result<Value, String> {
    if text == "auto" {
        return Ok(Value::Null);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(number @ Value::Number(_)) => Ok(number),
        _ => Err("expected a number, or auto".into()),
    }
}

pub(super) fn template(text: &str) -> Result<Value, String> {
    let (head, description) = text.split_once('=').unwrap_or((text, ""));
    let (label, limit) = match head.split_once(':') {
        Some((label, limit)) => {
            (label, Some(limit.parse::<u32>().map_err(|_| format!("expected a number of characters after `{label}:`"))?))
        }
        None => (head, None),
    };
    if label.is_empty() {
        return Err("a block needs a label".into());
    }
    Ok(given([("label", Some(json!(label))), ("description", Some(json!(description))), ("limit_chars", limit.map(|l| json!(l)))]))
}

fn rule(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let (kind, of) = text.split_once('=').ok_or("expected RULE=TOOL")?;
    let (tool, more) = of.split_once(':').map_or((of, None), |(tool, more)| (tool, Some(more)));
    match (kind, more) {
        ("run_first" | "required_before_exit" | "ends_run", None) => Ok(json!({"rule": kind, "tool": tool})),
        ("only_after", Some(others)) => {
            let after: Vec<&str> = others.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
            Ok(json!({"rule": kind, "tool": tool, "after": after}))
        }
        ("at_most", Some(times)) => {
            let times: u32 = times.parse().map_err(|_| format!("expected a number of times after `{tool}:`"))?;
            Ok(json!({"rule": kind, "tool": tool, "times": times}))
        }
        ("only_after", None) => Err(format!("expected only_after={tool}:OTHER,OTHER")),
        ("at_most", None) => Err(format!("expected at_most={tool}:TIMES")),
        _ => Err("expected run_first, required_before_exit, only_after, at_most or ends_run".into()),
    }
}

/// A rule as it is given.
fn rule_in_words(rule: &Value) -> String {
    let text = |field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default();
    let more = match (rule.get("after").and_then(Value::as_array), rule.get("times")) {
        (Some(after), _) => format!(":{}", after.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        (None, Some(times)) => format!(":{times}"),
        (None, None) => String::new(),
    };
    format!("{}={}{more}", text("rule"), text("tool"))
}

/// Milliseconds of a heartrate; null = none.
fn heartrate(text: &str) -> Result<Value, String> {
    if text == "none" { Ok(Value::Null) } else { super::timers::duration(text).map(Into::into) }
}

fn cap(text: &str) -> Result<(String, Value), String> {
    const CAPS: [&str; 3] = ["runs_per_hour", "runs_per_day", "tokens_per_day"];
    if text == "none" {
        return Ok((String::new(), Value::Null));
    }
    let (cap, most) = text
        .split_once('=')
        .filter(|(cap, _)| CAPS.contains(cap))
        .ok_or_else(|| format!("expected one of {}", CAPS.join("=N, ") + "=N"))?;
    let most: u64 = most.parse().map_err(|_| format!("expected a number after `{cap}=`"))?;
    Ok((cap.into(), most.into()))
}

/// Agents as the API names them.
fn meant(text: &str) -> String {
    match text.strip_prefix("team:") {
        Some(team) => format!("team:{}", named("team", team)),
        None if text.starts_with("tag:") || is_id("team", text) => text.to_owned(),
        None => named("agent", text),
    }
}

/// A list that replaces the one that there was; `none` = an empty one.
fn some_or_none(given: &[String], told: impl Fn(&str) -> String) -> Option<Value> {
    let list = || given.iter().filter(|text| *text != "none").map(|text| Value::String(told(text))).collect();
    (!given.is_empty()).then(|| Value::Array(list()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).ok_or_else(|| "expected KEY=VALUE".into())
}

impl Spec {
    fn body(self, name: Option<String>) -> Result<Value, CliError> {
        let instructions = match (self.instructions, &self.instructions_file) {
            (Some(text), _) => Some(text),
            (None, Some(path)) => Some(std::fs::read_to_string(path).map_err(|e| CliError::file("read", path, &e))?),
            (None, None) => None,
        };
        let tools = self.tools.map(|names| match names.as_str() {
            "all" => Value::Null,
            names => json!(names.split(',').map(str::trim).filter(|n| !n.is_empty()).collect::<Vec<_>>()),
        });
        let some = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
        let metadata: Map<String, Value> = self.metadata.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
        let only_when_open = self.heartrate_when_open;
        let heartrate = self.heartrate.map(|every_ms| match every_ms {
            Value::Null => Value::Null,
            every_ms => json!({"every_ms": every_ms, "only_when_open": only_when_open}),
        });
        let caps = (!self.caps.is_empty()).then(|| Value::Object(self.caps.into_iter().filter(|(cap, _)| !cap.is_empty()).collect()));
        Ok(given([
            ("name", name.map(Value::String)),
            ("instructions", instructions.map(Value::String)),
            ("model", self.model.map(Value::String)),
            ("context_window", self.context_window),
            ("max_output", self.max_output),
            ("temperature", self.temperature),
            ("blocks", some(self.blocks)),
            ("tools", tools),
            ("tasks", self.tasks.map(Value::Bool)),
            ("reaches", some(self.reaches.iter().map(|a| Value::String(named("agent", a))).collect())),
            ("colleagues", some_or_none(&self.colleagues, meant)),
            ("trusts", some_or_none(&self.trusts, meant)),
            ("tags", some_or_none(&self.tags, str::to_owned)),
            (
                "tool_rules",
                some(self.rules)
                    .map(|rules| Value::Array(rules.as_array().into_iter().flatten().filter(|r| !r.is_null()).cloned().collect())),
            ),
            ("teams", some(self.teams.iter().map(|t| Value::String(named("team", t))).collect())),
            ("background_model", self.background_model.map(|name| if name == "auto" { Value::Null } else { Value::String(name) })),
            ("heartrate", heartrate),
            ("quiet_hours", self.quiet_hours.map(|hours| if hours == "none" { Value::Null } else { Value::String(hours) })),
            ("caps", caps),
            ("metadata", (!metadata.is_empty()).then_some(Value::Object(metadata))),
        ]))
    }
}

pub(crate) async fn run(command: Agent, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |agent: wire::Agent| render(&agent, paint);
    match command {
        Agent::List(paging) => {
            let table = Table::new().name("name").name("model").number("window").name("id").name("made").text("instructions");
            let row = |a: wire::Agent| {
                let window = a.context_window.map_or_else(|| "auto".into(), thousands);
                vec![a.name, a.model, window, a.id, moment(&a.created_at), a.instructions]
            };
            session.list(Request::get(&["agents"]), &paging, table, row, "no agents yet; make one: sid agent create NAME").await
        }
        Agent::Create { name, spec } => session.ask(Request::post(&["agents"]).json(spec.body(Some(name))?), "the agent", show).await,
        Agent::Show { agent } => session.ask(Request::get(&["agents", &named("agent", &agent)]), "the agent", show).await,
        Agent::Update { agent, name, spec } => {
            let body = spec.body(name)?;
            if body.as_object().is_some_and(Map::is_empty) {
                return Err(CliError::Usage("name at least one thing to change".into()));
            }
            session.ask(Request::patch(&["agents", &named("agent", &agent)]).json(body), "the agent", show).await
        }
        Agent::Heartrate { agent, every, when_open, conversation } => {
            let body = given([
                ("every_ms", Some(every.into())),
                ("only_when_open", Some(when_open.into())),
                ("user", session.user().map(Into::into)),
                ("conversation", conversation.map(Into::into)),
            ]);
            let request = Request::put(&["agents", &named("agent", &agent), "heartrate"]).json(body);
            session.ask(request, "the heartbeat", move |timer| super::timers::render(&timer, paint)).await
        }
        Agent::Delete { agent, yes } => {
            let question = format!("Erase the agent {agent} with all its conversations and what it remembers of anybody?");
            erase::erase(session, &["agents", &named("agent", &agent)], &question, yes).await
        }
    }
}

fn heartrate_in_words(rate: &wire::Heartrate) -> String {
    let every = jiff::SignedDuration::from_millis(i64::try_from(rate.every_ms).unwrap_or(i64::MAX));
    format!("every {every:#}{}", if rate.only_when_open { ", while something is open" } else { "" })
}

fn caps_in_words(caps: &wire::Caps) -> String {
    let words = [("runs an hour", caps.runs_per_hour), ("runs a day", caps.runs_per_day), ("tokens a day", caps.tokens_per_day)];
    let told = words
        .iter()
        .filter_map(|(what, most)| most.map(|n| if n == 0 { format!("any {what}") } else { format!("{} {what}", thousands(n)) }));
    told.collect::<Vec<_>>().join(", ")
}

fn render(agent: &wire::Agent, paint: Paint) -> String {
    let auto = |n: Option<u64>| n.map_or_else(|| "auto".into(), thousands);
    let blocks = agent.blocks.iter().map(|b| format!("{} (to {} characters) {}", b.label, thousands(b.limit_chars), b.description));
    let metadata = agent.metadata.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
    let mut lines = vec![
        ("name", agent.name.clone()),
        ("id", agent.id.clone()),
        ("model", agent.model.clone()),
        ("window", auto(agent.context_window)),
        ("max output", auto(agent.max_output)),
        ("temperature", agent.temperature.map_or_else(|| "auto".into(), |t| format!("{t:.2}"))),
        ("blocks", blocks.collect::<Vec<_>>().join("\n")),
        ("tools", agent.tools.as_ref().map_or_else(|| "all memory tools".into(), |t| t.join(", "))),
        ("colleagues", agent.colleagues.join(", ")),
        ("trusts", agent.trusts.join(", ")),
        ("tags", agent.tags.join(", ")),
        ("rules", agent.tool_rules.iter().map(rule_in_words).collect::<Vec<_>>().join("\n")),
        ("teams", agent.teams.join(", ")),
        ("background", agent.background_model.clone().unwrap_or_default()),
        ("heartrate", agent.heartrate.as_ref().map(heartrate_in_words).unwrap_or_default()),
        ("quiet hours", agent.quiet_hours.clone().unwrap_or_default()),
        ("caps", caps_in_words(&agent.caps)),
        ("metadata", metadata.collect::<Vec<_>>().join("\n")),
        ("made", moment(&agent.created_at)),
        ("changed", moment(&agent.updated_at)),
        ("instructions", crate::output::text::printable(&agent.instructions)),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    facts(&lines, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_it_is_given() {
        for given in ["run_first=a", "required_before_exit=a", "only_after=a:b,c", "at_most=a:3", "ends_run=a"] {
            assert_eq!(rule_in_words(&rule(given).expect("a rule")), given);
        }
        for wrong in ["a", "run_first=a:b", "only_after=a", "at_most=a:often", "sometimes=a"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_are_given_in_short_form() {
        assert_eq!(template("human").expect("template"), json!({"label": "human", "description": ""}));
        let full = json!({"label": "plan", "description": "a=b", "limit_chars": 500});
        assert_eq!(template("plan:500=a=b").expect("template"), full);
        assert!(template("plan:x").is_err() && template(":5").is_err());
    }

    #[test]
    fn caps_and_heartrates_are_given_in_words() {
        assert_eq!(cap("runs_per_day=5"), Ok(("runs_per_day".into(), json!(5))));
        assert_eq!(cap("none"), Ok((String::new(), Value::Null)));
        assert!(cap("runs=5").is_err() && cap("runs_per_day=many").is_err());
        assert_eq!(heartrate("30m"), Ok(json!(1_800_000)));
        assert_eq!(heartrate("none"), Ok(Value::Null));
        let rate = wire::Heartrate { every_ms: 1_800_000, only_when_open: true };
        assert_eq!(heartrate_in_words(&rate), "every 30m, while something is open");
        let caps = wire::Caps { runs_per_hour: Some(0), tokens_per_day: Some(9_000), ..wire::Caps::default() };
        assert_eq!(caps_in_words(&caps), "any runs an hour, 9,000 tokens a day");
    }

    #[test]
    fn auto_takes_a_value_back() {
        assert_eq!(number_or_auto("auto"), Ok(Value::Null));
        assert_eq!(number_or_auto("0.5"), Ok(json!(0.5)));
        assert!(number_or_auto("many").is_err());
    }
}
