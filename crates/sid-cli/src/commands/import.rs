//! `sid import`: a chat log from elsewhere into a conversation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::chat::opening;
use crate::client::Request;
use crate::error::CliError;
use crate::output::progress;
use crate::output::text::thousands;
use crate::session::{Session, given, is_id};

/// Messages that go in one request.
const BATCH: usize = 200;

/// Making vectors of a long log takes as long as it takes; leaving it with Ctrl-C loses nothing.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Read a chat log into a conversation; runs no agent. Repeating it adds nothing twice.
///
/// The file is NDJSON (one message a line), a JSON array of messages, or `{"messages": […]}`. A message has `role` (user or assistant),
/// `text` (or `content`), and may have `at` (or `timestamp`, or `created_at`), `speaker` (or `name`) and `id`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file to read; `-` = standard input
    file: PathBuf,
    /// The agent
    #[arg(long, env = "SID_AGENT", default_value = "sid")]
    agent: String,
    /// The conversation's id or key [default: `import`]
    #[arg(long, value_name = "ID or KEY", default_value = "import")]
    conversation: String,
    /// Look at the file and stop
    #[arg(long)]
    dry_run: bool,
}

/// A chat log as the API takes it.
#[derive(Debug, PartialEq)]
#[doc(hidden)]
pub struct Log {
    pub messages: Vec<Value>,
    /// Messages of other roles (system, tool), or without text.
    pub skipped: usize,
}

pub(crate) async fn run(args: Import, session: &Session) -> Result<(), CliError> {
    let text = read_file(&args.file)?;
    let log = read_log(&text).map_err(|why| {
        let hint = "expected one message a line, such as {\"role\": \"user\", \"text\": \"hello\", \"at\": \"2026-05-01T12:00:00Z\"}";
        CliError::failed("SID-CLI-BAD-LOG", format!("cannot understand {}: {why}", args.file.display()), hint)
    })?;
    if log.skipped > 0 {
        session
            .out
            .warn(&format!("{} messages are left out: they have no text, or are neither the user's nor the assistant's", log.skipped))?;
    }
    if args.dry_run {
        let count = log.messages.len();
        let said = json!({"messages": count, "skipped": log.skipped, "first": log.messages.first(), "last": log.messages.last()});
        return if session.out.json {
            session.out.value(&said)
        } else {
            session.out.line(&format!("{} messages could be imported", thousands(count as u64)))
        };
    }
    if log.messages.is_empty() {
        return session.out.note("there is nothing to import");
    }
    let conversation = match &args.conversation {
        id if is_id("conv", id) => id.clone(),
        key => opening::open(session, &args.agent, key).await?.id,
    };
    let bar = progress::items(&session.out, "importing", log.messages.len() as u64);
    let mut first = None;
    let mut last = 0;
    for batch in log.messages.chunks(BATCH) {
        let request = Request::post(&["conversations", &conversation, "import"]).json(json!({"messages": batch}));
        let answer = session.client().await?.value(request).await?;
        let places: Vec<u64> = answer["messages"].as_array().into_iter().flatten().filter_map(|m| m["seq"].as_u64()).collect();
        first = first.or(places.first().copied());
        last = places.last().copied().unwrap_or(last);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    session.settle(A_DAY).await?;
    let count = log.messages.len();
    if session.out.json {
        return session.out.value(
            &json!({"conversation": conversation, "messages": count, "skipped": log.skipped, "first_seq": first, "last_seq": last}),
        );
    }
    let from = first.unwrap_or_default();
    session.out.line(&format!("{} messages are in {conversation}, from #{from} to #{last}", thousands(count as u64)))
}

fn read_file(path: &Path) -> Result<String, CliError> {
    let bytes =
        if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()).map(String::into_bytes) } else { std::fs::read(path) };
    let bytes = bytes.map_err(|e| CliError::file("read", path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let place = e.utf8_error().valid_up_to();
        CliError::failed(
            "SID-CLI-BAD-LOG",
            format!("{} is not UTF-8: byte {place} cannot be read", path.display()),
            "save it as UTF-8 and try again",
        )
    })
}

/// Reads a file; public for the fuzz target alone.
#[doc(hidden)]
pub fn read_log(text: &str) -> Result<Log, String> {
    let text = text.trim_start_matches('\u{feff}');
    let items = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) => items,
        Ok(Value::Object(mut whole)) if whole.get("messages").is_some_and(Value::is_array) => match whole.remove("messages") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        Ok(single) => vec![single],
        // More than one value: a line each.
        Err(_) => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1)))
            .collect::<Result<_, _>>()?,
    };
    let mut log = Log { messages: Vec::with_capacity(items.len()), skipped: 0 };
    for (i, item) in items.into_iter().enumerate() {
        match message(&item, i).map_err(|why| format!("message {}: {why}", i + 1))? {
            Some(message) => log.messages.push(message),
            None => log.skipped += 1,
        }
    }
    Ok(log)
}

/// A message as the API takes it; `None` = not one that is kept.
fn message(item: &Value, index: usize) -> Result<Option<Value>, String> {
    if !item.is_object() {
        return Err("is not a JSON object".into());
    }
    // Lines of `sid export` other than messages are passed over.
    if item.get("kind").is_some_and(|kind| kind != "message") {
        return Ok(None);
    }
    let role = match item.get("role").and_then(Value::as_str) {
        Some("user" | "human") => "user",
        Some("assistant" | "ai" | "agent" | "model") => "assistant",
        Some(_) => return Ok(None),
        None => return Err("has no `role`".into()),
    };
    let text = text_of(item.get("text").or_else(|| item.get("content")));
    if text.trim().is_empty() {
        return Ok(None);
    }
    let at = ["at", "timestamp", "created_at"].into_iter().find_map(|name| item.get(name)).filter(|v| !v.is_null());
    let at = at.map(moment).transpose()?;
    let speaker = item.get("speaker").or_else(|| item.get("name")).and_then(Value::as_str).filter(|s| !s.trim().is_empty());
    // Made from place and content where the log has none, so that the same log again adds nothing.
    let id = match item.get("id").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{index}/{role}/{text}").as_bytes()).to_string(),
    };
    Ok(Some(given([
        ("role", Some(json!(role))),
        ("text", Some(json!(text))),
        ("speaker", speaker.map(|s| json!(s.trim()))),
        ("at", at.map(|at| json!(at.to_string()))),
        ("id", Some(json!(id))),
    ])))
}

/// Plain text, or the text parts of a list of parts (as chat APIs write them).
fn text_of(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// RFC 3339, or seconds or milliseconds since 1970.
fn moment(value: &Value) -> Result<jiff::Timestamp, String> {
    let parsed = match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_f64().and_then(|n| {
            // Seconds would reach this in the year 5138.
            let millis = if n.abs() < 1e11 { n * 1_000.0 } else { n };
            jiff::Timestamp::from_millisecond(millis as i64).ok()
        }),
        _ => None,
    };
    parsed.ok_or_else(|| format!("`{value}` is no moment; expected one such as 2026-05-01T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_three_forms_are_the_same() {
        let lines = "{\"role\":\"user\",\"text\":\"hi\"}\n\n{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}\n{\"role\":\"system\",\"text\":\"x\"}\n";
        let array = r#"[{"role":"human","content":"hi"},{"role":"ai","text":"hello"},{"role":"tool","text":"x"}]"#;
        let whole = format!("{{\"messages\":{array}}}");
        let log = read_log(lines).expect("lines");
        assert_eq!(log.messages.len(), 2);
        assert_eq!(log.skipped, 1);
        assert_eq!(log.messages[1]["text"], "hello");
        assert_eq!(read_log(array).expect("array"), log);
        assert_eq!(read_log(&whole).expect("object"), log);
    }

    #[test]
    fn moments_are_read_as_text_or_numbers() {
        let read =
            |at: Value| read_log(&json!([{"role": "user", "text": "x", "timestamp": at}]).to_string()).map(|l| l.messages[0]["at"].clone());
        assert_eq!(read(json!("2026-05-01T12:00:00+02:00")), Ok(json!("2026-05-01T10:00:00Z")));
        assert_eq!(read(json!(1_777_630_800)), Ok(json!("2026-05-01T10:20:00Z")));
        assert_eq!(read(json!(1_777_630_800_000_i64)), Ok(json!("2026-05-01T10:20:00Z")));
        assert!(read(json!("yesterday")).is_err());
    }

    #[test]
    fn mistakes_name_their_place() {
        assert!(read_log("{\"role\":\"user\",\"text\":\"a\"}\nnonsense\n").expect_err("line").starts_with("line 2:"));
        assert_eq!(read_log("[{\"text\":\"a\"}]"), Err("message 1: has no `role`".into()));
    }
}
