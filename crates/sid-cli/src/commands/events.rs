//! `sid events`: what happened in a run, or is happening.

use clap::Args;

use crate::client::{Event, EventKind, Request};
use crate::error::CliError;
use crate::output::Output;
use crate::output::text::{one_line, thousands};
use crate::session::Session;

/// The event log of a run. With --follow to its end, over broken connections.
#[derive(Debug, Args)]
pub struct Events {
    /// The run's id
    run: String,
    /// Wait for what is still to come, until the run has ended
    #[arg(long, short)]
    follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
}

pub(crate) async fn run(args: Events, session: &Session) -> Result<(), CliError> {
    let client = session.client().await?;
    if args.follow {
        let mut events = client.events(&args.run, args.after);
        while let Some(event) = events.next().await? {
            print(&event, &session.out)?;
        }
        return Ok(());
    }
    let after = args.after.to_string();
    let list = client.list(Request::get(&["runs", &args.run, "events"]), (args.after > 0).then_some(&after), usize::MAX).await?;
    if list.items.is_empty() {
        return session.out.note("no events yet; --follow waits for them");
    }
    for item in list.items {
        print(&Event::read(item)?, &session.out)?;
    }
    Ok(())
}

/// One line per event: as it came for programs, in words for people.
fn print(event: &Event, out: &Output) -> Result<(), CliError> {
    if out.json {
        return out.line(&event.raw.to_string());
    }
    let line =
        format!("{} {} {}", out.paint.dim(&format!("{:>4}", event.seq)), out.paint.dim(&clock(&event.at)), describe(&event.kind, out));
    out.line(&match out.cut_to() {
        Some(columns) => crate::output::text::cut(&line, columns),
        None => line,
    })
}

/// The time of day, to the millisecond.
fn clock(at: &str) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

fn describe(kind: &EventKind, out: &Output) -> String {
    let paint = out.paint;
    match kind {
        EventKind::Started { epoch } => format!("{} under lease epoch {epoch}", paint.bold("started")),
        EventKind::Recalled { items, prompt_tokens, window_tokens } => {
            let (prompt, window) = (thousands(*prompt_tokens), thousands(*window_tokens));
            let best = items.first().map(|i| format!("; best: {}", one_line(&i.text))).unwrap_or_default();
            format!("{} {} memories; prompt {prompt} of {window} tokens{best}", paint.bold("recalled"), items.len())
        }
        EventKind::TextDelta { text } => format!("{} {}", paint.bold("text"), one_line(text)),
        EventKind::ReasoningDelta { text } => format!("{} {}", paint.bold("reasoning"), paint.dim(&one_line(text))),
        EventKind::ToolCall { call } => format!("{} {}({})", paint.bold("call"), call.name, call.arguments),
        EventKind::Message { message } => {
            format!("{} {} #{}: {}", paint.bold("message"), message.role, message.seq, one_line(&message.text))
        }
        EventKind::ApprovalAsked { approval, call, reason } => {
            format!("{} {approval}: {}({}); {}", paint.bold("asks"), call.name, call.arguments, one_line(reason))
        }
        EventKind::PageOut { messages, queue_start, is_floor } => {
            let how = if *is_floor { " (summary written without a model)" } else { "" };
            format!("{} {messages} messages left the queue, which begins at #{queue_start}{how}", paint.bold("page-out"))
        }
        EventKind::Step { number, usage, rung } => {
            let (prompt, cached, answer) = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens);
            let tokens = format!("prompt {} ({} cached), answer {}", thousands(prompt), thousands(cached), thousands(answer));
            format!("{} {number}: {tokens}, tools {rung}", paint.bold("step"))
        }
        EventKind::Done { status, stop_reason, error, .. } => {
            let status = match status.as_str() {
                "completed" => paint.green(status),
                "failed" => paint.red(status),
                _ => paint.yellow(status),
            };
            let error = error.as_deref().map(|e| format!(": {}", one_line(e))).unwrap_or_default();
            format!("{} {status}, {stop_reason}{error}", paint.bold("done"))
        }
        EventKind::Unknown => paint.dim("something that this version of sid does not know"),
    }
}
