//! `sid prompt`: the exact prompt, part by part.

use clap::Args;
use serde_json::{Value, json};

use super::conversation::find;
use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::Output;
use crate::output::bar::{bar, stacked};
use crate::output::table::Table;
use crate::output::text::{printable, thousands};
use crate::session::Session;
use crate::wire;

/// The exact prompt of the last turn, or of the next one if the user now said something.
#[derive(Debug, Args)]
pub struct Prompt {
    /// The conversation's id [default: the latest, of --agent and --user if they are named]
    id: Option<String>,
    /// The agent
    #[arg(long, env = "SID_AGENT")]
    agent: Option<String>,
    /// The conversation's key
    #[arg(long, value_name = "KEY")]
    conversation: Option<String>,
    /// The prompt of the last model call (the default)
    #[arg(long, conflicts_with = "next")]
    last: bool,
    /// The prompt that would be sent if the user now said this; calls no chat model, changes nothing
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    next: Option<String>,
    /// The messages and tools as JSON, as they are sent
    #[arg(long)]
    raw: bool,
}

pub(crate) async fn run(args: Prompt, session: &Session) -> Result<(), CliError> {
    let conversation = find(session, args.id.as_deref(), args.agent.as_deref(), args.conversation.as_deref()).await?;
    show(session, &conversation.id, args.next.as_deref(), args.raw).await
}

/// Prints a prompt; also `/prompt` in a chat. `next` = what the user would say; `None` = the last prompt.
pub(crate) async fn show(session: &Session, conversation: &str, next: Option<&str>, raw: bool) -> Result<(), CliError> {
    let which = if next.is_some() { "next" } else { "last" };
    let request = Request::get(&["conversations", conversation, "context"]).query("which", which).query_if("text", next);
    let answer = session.client().await?.value(request).await?;
    if raw {
        let part = |name: &str| answer.get(name).cloned().unwrap_or(Value::Null);
        let raw = json!({"messages": part("messages"), "tools": part("tools")});
        return session.out.line(&serde_json::to_string_pretty(&raw).map_err(|e| CliError::odd_answer("the prompt", e))?);
    }
    if session.out.json {
        return session.out.value(&answer);
    }
    session.out.text(&render(&read(answer, "the prompt")?, which, &session.out))
}

/// Bars, a table of the segments, and what was recalled.
#[must_use]
pub fn render(context: &wire::Prompt, which: &str, out: &Output) -> String {
    let paint = out.paint;
    let window = context.window_tokens.max(1);
    let percent = |n: u64| format!("{:.1} %", n as f64 * 100.0 / window as f64);
    let mut text = format!(
        "{} of {} · window {} tokens · prompt {} ({}) · reserved for the answer {}\n",
        paint.bold(&format!("{which} prompt")),
        context.model,
        thousands(context.window_tokens),
        thousands(context.prompt_tokens),
        percent(context.prompt_tokens),
        thousands(context.reserved_tokens),
    );
    let shown: Vec<(usize, &wire::Segment)> = context.segments.iter().enumerate().filter(|(_, s)| s.tokens > 0).collect();
    let mut parts: Vec<(usize, char, u64)> = shown.iter().map(|(i, s)| (*i, letter(&s.name), s.tokens)).collect();
    if context.reserved_tokens > 0 && !shown.iter().any(|(_, s)| s.name == "reserve") {
        parts.push((context.segments.len(), letter("reserve"), context.reserved_tokens));
    }
    let columns = out.width().saturating_sub(2).clamp(20, 118);
    text.push_str(&format!("▕{}▏\n\n", stacked(&parts, window, columns, paint)));

    let mut table = Table::new().name("").name("segment").number("tokens").number("cap").number("window").name("");
    for (i, segment) in context.segments.iter().enumerate() {
        let mark = if paint.is_on() { paint.part(i, "■") } else { letter(&segment.name).to_string() };
        // Against its cap, so that a full segment is seen at once; without a cap against the window.
        let whole = segment.cap.unwrap_or(window);
        let fill = format!("▕{}▏", paint.part(i, &bar(segment.tokens, whole, 20)));
        let cap = segment.cap.map_or_else(|| "-".into(), thousands);
        table.row([mark, segment.name.clone(), thousands(segment.tokens), cap, percent(segment.tokens), fill]);
    }
    text.push_str(&table.render(None, paint));
    text.push_str(&recalled(&context.recalled, out));
    if out.full {
        for segment in context.segments.iter().filter(|s| !s.text.is_empty()) {
            let title = format!("── {} · {} tokens ──", segment.name, thousands(segment.tokens));
            text.push_str(&format!("\n{}\n{}\n", paint.bold(&title), printable(&segment.text)));
        }
    } else {
        text.push_str(&format!("\n{}\n", paint.dim("--full prints the texts, --raw the messages as they are sent")));
    }
    text
}

/// What was recalled and why; also `/recalled` in a chat.
#[must_use]
pub fn recalled(recalled: &[wire::Recalled], out: &Output) -> String {
    if recalled.is_empty() {
        return format!("\n{}\n", out.paint.dim("nothing was recalled"));
    }
    let mut table = Table::new().number("#").number("score").name("id").text("why").text("text");
    for (i, item) in recalled.iter().enumerate() {
        let why = item.why.iter().map(|w| format!("{} {:+.2}", w.signal, w.score)).collect::<Vec<_>>().join(", ");
        table.row([(i + 1).to_string(), format!("{:.3}", item.score), item.id.clone(), why, item.text.clone()]);
    }
    format!("\n{}\n{}", out.paint.bold("recalled"), table.render(out.cut_to(), out.paint))
}

/// What stands for a segment where there are no colours.
fn letter(segment: &str) -> char {
    match segment {
        "summary" => 'm',
        "stimulus" => 'u',
        "reserve" => 'R',
        "recalled" => 'r',
        "tail" => 'l',
        "diary" => 'd',
        "clock" => 'k',
        other => other.chars().next().unwrap_or('?'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Paint, text::width};

    #[test]
    fn letters_tell_segments_apart() {
        let names =
            ["instructions", "tools", "blocks", "diary", "summary", "queue", "tail", "recalled", "clock", "warning", "stimulus", "reserve"];
        let mut letters: Vec<char> = names.iter().map(|n| letter(n)).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), names.len());
    }

    #[test]
    fn the_bar_is_scaled_to_the_window() {
        let segment = |name: &str, tokens, cap| wire::Segment { name: name.into(), tokens, cap, text: "t".into() };
        let context = wire::Prompt {
            model: "tiny".into(),
            window_tokens: 1_000,
            prompt_tokens: 500,
            reserved_tokens: 250,
            segments: vec![segment("instructions", 250, Some(300)), segment("queue", 250, None), segment("reserve", 250, None)],
            ..wire::Prompt::default()
        };
        let out =
            Output { json: false, paint: Paint::plain(), error_paint: Paint::plain(), full: false, columns: Some(42), is_terminal: false };
        let text = render(&context, "last", &out);
        assert!(
            text.starts_with("last prompt of tiny · window 1,000 tokens · prompt 500 (50.0 %) · reserved for the answer 250\n"),
            "{text}"
        );
        assert!(text.contains("▕iiiiiiiiiiqqqqqqqqqqRRRRRRRRRR··········▏"), "{text}");
        let row = text.lines().find(|l| l.starts_with("i  instructions")).expect("row");
        assert!(row.contains("250") && row.contains("300") && row.contains("25.0 %") && row.contains("████████████████▋   "), "{row}");
        assert!(text.contains("nothing was recalled"));
        assert!(text.lines().all(|l| width(l) <= 110), "{text}");
    }
}
