//! Reads `{"reply": "…"}` or `{"action": {…}}` as it comes.

use serde_json::Value;

use crate::salvage::{Context, RawCall, json_calls};
use crate::{BadArguments, ReplyCall, assemble, lenient};

/// Streams the words of a reply out of its JSON.
#[derive(Debug)]
pub(super) struct EnvelopeReader {
    /// All text so far.
    text: String,
    /// Bytes of it that were read.
    at: usize,
    state: State,
    /// The high half of a surrogate pair.
    high: Option<u32>,
    shown: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the string of `reply`.
    Head,
    /// Inside it.
    Words,
    /// Behind it, or in an action.
    Rest,
    /// The engine does not keep to the schema: plain text, shown at the end.
    Plain,
}

/// What an envelope held.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) text: String,
    /// Words that were not shown yet.
    pub(super) rest: Option<String>,
    pub(super) calls: Vec<RawCall>,
    /// Something that was meant as an action and is none.
    pub(super) undecodable: Option<ReplyCall>,
}

impl EnvelopeReader {
    pub(super) const fn new() -> Self {
        Self { text: String::new(), at: 0, state: State::Head, high: None, shown: 0 }
    }

    /// Words that are now certain.
    pub(super) fn push(&mut self, text: &str) -> Option<String> {
        self.text.push_str(text);
        if self.state == State::Head {
            self.head();
        }
        let words = if self.state == State::Words { self.words() } else { String::new() };
        self.shown += words.len();
        (!words.is_empty()).then_some(words)
    }

    /// Looks for `{ "reply" : "`.
    fn head(&mut self) {
        let mut rest = self.text.trim_start();
        for mark in ["{", "\"reply\"", ":", "\""] {
            rest = rest.trim_start();
            match rest.strip_prefix(mark) {
                Some(after) => rest = after,
                // Not decided yet.
                None if mark.starts_with(rest) => return,
                None => {
                    self.state = if mark == "{" { State::Plain } else { State::Rest };
                    return;
                }
            }
        }
        self.at = self.text.len() - rest.len();
        self.state = State::Words;
    }

    fn words(&mut self) -> String {
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else { break };
            if c != '\\' {
                self.flush_high(&mut out);
                self.at += c.len_utf8();
                if c == '"' {
                    self.state = State::Rest;
                    break;
                }
                out.push(c);
                continue;
            }
            let Some(escaped) = rest[1..].chars().next() else { break };
            if escaped == 'u' {
                let Some(hex) = rest.get(2..6) else { break };
                self.at += 6;
                self.unit(u32::from_str_radix(hex, 16).unwrap_or(0xfffd), &mut out);
                continue;
            }
            self.flush_high(&mut out);
            self.at += 1 + escaped.len_utf8();
            out.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                other => other,
            });
        }
        out
    }

    fn unit(&mut self, unit: u32, out: &mut String) {
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..0xe000) => {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, _) => {
                if before.is_some() {
                    out.push(char::REPLACEMENT_CHARACTER);
                }
                match unit {
                    0xd800..0xdc00 => self.high = Some(unit),
                    _ => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
    }

    fn flush_high(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// What the whole text holds. `content` is the reply's text, as the provider gives it at the end.
    pub(super) fn finish(&mut self, context: &Context<'_>, content: &str) -> Outcome {
        let mut whole = Self::new();
        let streamed = whole.push(content);
        if matches!(whole.state, State::Words | State::Rest) && whole.at > 0 {
            // A reply, perhaps cut off by the limit of tokens.
            let text = streamed.unwrap_or_default();
            let rest = text.get(self.shown..).filter(|r| !r.is_empty()).map(str::to_owned);
            return Outcome { text, rest, ..Outcome::default() };
        }
        let trimmed = content.trim();
        if trimmed.starts_with('{') {
            let value = serde_json::from_str(trimmed).or_else(|_| lenient::read_value(trimmed).map(|v| v.0));
            match value {
                Ok(value) => {
                    if let Some(calls) = json_calls(context, &value) {
                        return Outcome { calls, ..Outcome::default() };
                    }
                    if let Some(text) = reply_in(&value) {
                        return Outcome { rest: Some(text.clone()), text, ..Outcome::default() };
                    }
                    if value.get("action").is_some() {
                        return undecodable(&value, trimmed, "`action` must be {\"tool\": one of the tools, \"arguments\": {…}}");
                    }
                }
                Err(problem) if trimmed.contains("\"action\"") => return undecodable(&Value::Null, trimmed, problem.words()),
                Err(_) => {}
            }
        }
        // Plain text after all, perhaps with a call in some dialect.
        let (text, _, calls) = assemble::sort(context, content);
        let rest = (!text.trim().is_empty()).then(|| text.clone());
        Outcome { text, rest, calls, undecodable: None }
    }
}

fn undecodable(value: &Value, raw: &str, problem: &str) -> Outcome {
    let named = value.pointer("/action/tool").or_else(|| value.pointer("/action/name")).and_then(Value::as_str);
    // Of JSON that cannot be read, the name may still be legible.
    let legible = || raw.split_once("\"tool\"").and_then(|(_, after)| after.split('"').nth(1));
    let call = ReplyCall {
        id: String::new(),
        name: crate::arguments::clean_name(named.or_else(legible).unwrap_or_default(), &[]),
        arguments: Err(BadArguments { raw: raw.chars().take(2_000).collect(), problem: problem.to_owned() }),
    };
    Outcome { undecodable: Some(call), ..Outcome::default() }
}

fn reply_in(value: &Value) -> Option<String> {
    ["reply", "response", "message", "text", "content", "answer"].into_iter().find_map(|k| value.get(k)?.as_str()).map(str::to_owned)
}

/// The words of a text that is a `{"reply": …}` though nobody asked for one.
pub(super) fn unwrap_reply(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text.trim()).ok()?;
    let map = value.as_object().filter(|m| m.len() == 1)?;
    map.get("reply")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sid_types::ToolSpec;

    fn read(text: &str, step: usize) -> (String, Outcome) {
        let tools = [ToolSpec { name: "f".into(), description: String::new(), parameters: json!({}) }.into()];
        let context = Context { tools: &tools, prompt: &[], bare: true, asked: true };
        let mut reader = EnvelopeReader::new();
        let chars: Vec<char> = text.chars().collect();
        let mut shown = String::new();
        for piece in chars.chunks(step) {
            shown.extend(reader.push(&piece.iter().collect::<String>()));
        }
        let outcome = reader.finish(&context, text);
        shown.extend(outcome.rest.clone());
        (shown, outcome)
    }

    #[test]
    fn words_stream_out_and_equal_the_text() {
        for (written, meant) in [
            (r#"{"reply": "Hello, \"you\"!\nBye"}"#, "Hello, \"you\"!\nBye"),
            (r#" { "reply" : "\ud83d\ude00 \ud83d x \u00e9" } "#, "😀 \u{fffd} x é"),
            (r#"{"reply": "cut off by the lim"#, "cut off by the lim"),
            (r#"{"reply": ""}"#, ""),
            ("No JSON at all.", "No JSON at all."),
            (r#"{"response": "another key"}"#, "another key"),
        ] {
            for step in [1, 2, 3, 100] {
                let (shown, outcome) = read(written, step);
                assert_eq!((shown.as_str(), outcome.text.as_str()), (meant, meant), "{written} in steps of {step}");
                assert!(outcome.calls.is_empty() && outcome.undecodable.is_none());
            }
        }
    }

    #[test]
    fn actions_become_calls() {
        let (shown, outcome) = read(r#"{"action": {"tool": "f", "arguments": {"x": 1}}}"#, 3);
        assert_eq!((shown.as_str(), outcome.calls.len(), outcome.calls[0].name.as_str()), ("", 1, "f"));
        let (_, outcome) = read(r#"{"action": {"tool": "f", "arguments": {"x": 1}"#, 3);
        assert_eq!(outcome.calls.len(), 1, "missing closers are added");
        let (_, outcome) = read(r#"{"action": {"tool": "g", "arguments": {}}}"#, 3);
        assert_eq!(outcome.calls[0].name, "g", "a made-up tool arrives, so that the model hears of it");
        let (_, outcome) = read(r#"{"action": {"tool": "f"}}"#, 3);
        assert_eq!((outcome.calls.len(), outcome.undecodable), (1, None), "no arguments are none");
        let (_, outcome) = read(r#"{"action": "think"}"#, 3);
        assert!(outcome.undecodable.is_some());
        let (_, outcome) = read(r#"{"action": {"tool": "f", "arguments": {"x": "half"#, 3);
        assert!(outcome.undecodable.is_some_and(|c| c.name == "f" && c.arguments.is_err()));
    }
}
