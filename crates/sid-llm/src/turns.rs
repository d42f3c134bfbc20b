//! Puts a prompt into the form that strict chat templates demand, changing nothing that a tolerant one would have accepted.
//!
//! The same messages always give the same turns, and more messages at the end change nothing before the last turn, so the
//! engine's prefix cache keeps what it has. Orphaned results and unanswered calls, which engines answer with 400, are mended
//! here as a last line of defence.

use std::collections::HashMap;

use sid_types::ToolCall;

use crate::ChatMessage;
use crate::assemble::short_id;

const CONTINUES: &str = "(The conversation continues.)";
const INTERRUPTED: &str = "(I was interrupted before I could answer.)";
const NO_RESULT: &str = "(There is no result: the call was interrupted.)";
const EMPTY: &str = "(empty message)";

/// What of strict templates to satisfy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A system message may stand anywhere.
    pub(crate) system_anywhere: bool,
}

/// The prompt as turns: system first, then user and assistant in turn, with results right behind their calls.
pub(crate) fn normalise(messages: &[ChatMessage], rules: Rules) -> Vec<ChatMessage> {
    let mut turns = Turns { out: Vec::with_capacity(messages.len()), open: Vec::new(), seen: HashMap::new(), rules };
    let head = messages.iter().take_while(|m| matches!(m, ChatMessage::System { .. })).count();
    for message in &messages[..head] {
        let ChatMessage::System { text } = message else { continue };
        match turns.out.last_mut() {
            Some(ChatMessage::System { text: before }) => join(before, text),
            _ => turns.out.push(message.clone()),
        }
    }
    for message in &messages[head..] {
        turns.add(message);
    }
    turns.close_calls();
    if !rules.system_anywhere && !turns.out.iter().any(|m| matches!(m, ChatMessage::User { .. })) {
        turns.out.push(ChatMessage::User { text: CONTINUES.into() });
    }
    turns.out
}

struct Turns {
    out: Vec<ChatMessage>,
    /// Calls of the last assistant turn that have no result yet: the id in the prompt, the id on the wire, the name.
    open: Vec<(String, String, String)>,
    /// How often an id was used by a call.
    seen: HashMap<String, u32>,
    rules: Rules,
}

impl Turns {
    fn add(&mut self, message: &ChatMessage) {
        match message {
            ChatMessage::System { text } if self.rules.system_anywhere => {
                self.close_calls();
                self.out.push(ChatMessage::System { text: text.clone() });
            }
            ChatMessage::System { text } => self.note(&format!("<note>\n{text}\n</note>")),
            ChatMessage::User { text } if text.trim().is_empty() => self.user(EMPTY),
            ChatMessage::User { text } => self.user(text),
            ChatMessage::Assistant { text, tool_calls } => self.assistant(text, tool_calls),
            ChatMessage::Tool { call_id, name, text } => self.result(call_id, name, text),
        }
    }

    /// A system message where none may stand: at the end of the results it follows, else in the user's turn.
    fn note(&mut self, text: &str) {
        self.close_calls();
        match self.out.last_mut() {
            Some(ChatMessage::Tool { text: before, .. }) => join(before, text),
            _ => self.user(text),
        }
    }

    fn user(&mut self, text: &str) {
        self.close_calls();
        match self.out.last_mut() {
            Some(ChatMessage::User { text: before }) => return join(before, text),
            Some(ChatMessage::Tool { .. }) if !self.rules.system_anywhere => {
                self.out.push(ChatMessage::Assistant { text: INTERRUPTED.into(), tool_calls: Vec::new() });
            }
            _ => {}
        }
        self.out.push(ChatMessage::User { text: text.to_owned() });
    }

    fn assistant(&mut self, text: &str, calls: &[ToolCall]) {
        self.close_calls();
        if text.trim().is_empty() && calls.is_empty() {
            return;
        }
        let is_first = !self.out.iter().any(|m| !matches!(m, ChatMessage::System { .. }));
        if is_first && !self.rules.system_anywhere {
            self.out.push(ChatMessage::User { text: CONTINUES.into() });
        }
        let mut tool_calls = Vec::with_capacity(calls.len());
        for call in calls {
            let uses = self.seen.entry(call.id.clone()).or_default();
            let id = wire_id(&call.id, *uses);
            *uses += 1;
            self.open.push((call.id.clone(), id.clone(), call.name.clone()));
            tool_calls.push(ToolCall { id, name: wire_name(&call.name), arguments: call.arguments.clone(), for_client: false });
        }
        if let Some(ChatMessage::Assistant { text: before, tool_calls: earlier }) = self.out.last_mut() {
            if !text.trim().is_empty() {
                join(before, text);
            }
            earlier.extend(tool_calls);
            return;
        }
        self.out.push(ChatMessage::Assistant { text: text.to_owned(), tool_calls });
    }

    fn result(&mut self, call_id: &str, name: &str, text: &str) {
        let text = if text.is_empty() { "(empty result)" } else { text };
        match self.open.iter().position(|(id, ..)| id == call_id) {
            Some(at) => {
                let (_, id, name) = self.open.remove(at);
                self.out.push(ChatMessage::Tool { call_id: id, name: wire_name(&name), text: text.to_owned() });
            }
            // An orphan: its call is gone, or was answered before.
            None => self.user(&format!("<tool_result name=\"{name}\">\n{text}\n</tool_result>")),
        }
    }

    fn close_calls(&mut self) {
        for (_, id, name) in std::mem::take(&mut self.open) {
            self.out.push(ChatMessage::Tool { call_id: id, name: wire_name(&name), text: NO_RESULT.into() });
        }
    }
}

fn join(before: &mut String, text: &str) {
    if !before.is_empty() {
        before.push_str("\n\n");
    }
    before.push_str(text);
}

/// An id of nine letters and digits, which the strictest template takes; the `uses`-th call with this id.
fn wire_id(id: &str, uses: u32) -> String {
    let is_short = id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    match (is_short, uses) {
        (true, 0) => id.to_owned(),
        (_, 0) => short_id(id),
        _ => short_id(&format!("{id}#{uses}")),
    }
}

fn wire_name(name: &str) -> String {
    let is_fit = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_fit { name.to_owned() } else { crate::arguments::clean_name(name, &[]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(text: &str) -> ChatMessage {
        ChatMessage::System { text: text.into() }
    }
    fn user(text: &str) -> ChatMessage {
        ChatMessage::User { text: text.into() }
    }
    fn assistant(text: &str) -> ChatMessage {
        ChatMessage::Assistant { text: text.into(), tool_calls: Vec::new() }
    }
    fn calls(ids: &[&str]) -> ChatMessage {
        let call = |id: &&str| ToolCall { id: (*id).into(), name: "f".into(), arguments: serde_json::Map::new(), for_client: false };
        let tool_calls = ids.iter().map(call).collect();
        ChatMessage::Assistant { text: String::new(), tool_calls }
    }
    fn result(id: &str) -> ChatMessage {
        ChatMessage::Tool { call_id: id.into(), name: "f".into(), text: "ok".into() }
    }
    const STRICT: Rules = Rules { system_anywhere: false };

    /// What a strict template checks.
    fn check(turns: &[ChatMessage]) {
        let mut expect_user = true;
        let mut open: Vec<String> = Vec::new();
        for (at, turn) in turns.iter().enumerate() {
            match turn {
                ChatMessage::System { .. } => assert_eq!(at, 0, "{turns:?}"),
                ChatMessage::User { text } => {
                    assert!(expect_user && open.is_empty() && !text.is_empty(), "{turns:?}");
                    expect_user = false;
                }
                ChatMessage::Assistant { text, tool_calls } => {
                    assert!(open.is_empty() && (!text.is_empty() || !tool_calls.is_empty()), "{turns:?}");
                    open = tool_calls.iter().map(|c| c.id.clone()).collect();
                    assert!(open.iter().all(|id| id.len() == 9), "{turns:?}");
                    if tool_calls.is_empty() {
                        assert!(!expect_user, "{turns:?}");
                        expect_user = true;
                    }
                }
                ChatMessage::Tool { call_id, .. } => {
                    let at = open.iter().position(|id| id == call_id).expect("an orphan result");
                    open.remove(at);
                }
            }
        }
        assert!(open.is_empty(), "{turns:?}");
    }

    #[test]
    fn odd_histories_become_strict_turns() {
        let kinds =
            [system("s"), user("u"), user(""), assistant("a"), assistant(""), calls(&["x"]), calls(&["x", "y"]), result("x"), result("z")];
        // Every history of up to four messages behind a system message.
        for length in 0..=4_u32 {
            for mut number in 0..9_usize.pow(length) {
                let mut history = vec![system("head")];
                for _ in 0..length {
                    history.push(kinds[number % 9].clone());
                    number /= 9;
                }
                check(&normalise(&history, STRICT));
            }
        }
    }

    #[test]
    fn a_prefix_of_messages_gives_a_prefix_of_turns() {
        let history =
            [system("head"), user("1"), calls(&["x"]), result("x"), assistant("a"), system("tail"), user("2"), calls(&["x"]), result("x")];
        let whole = normalise(&history, STRICT);
        for end in [2, 4, 5, 7] {
            let part = normalise(&history[..end], STRICT);
            assert_eq!(part, whole[..part.len()], "{end}");
        }
        assert_eq!(whole[5], user("<note>\ntail\n</note>\n\n2"));
    }

    #[test]
    fn a_note_behind_results_does_not_interrupt_the_turn() {
        let turns = normalise(&[system("head"), user("1"), calls(&["x"]), result("x"), system("pressure")], STRICT);
        let ChatMessage::Tool { text, .. } = &turns[3] else { panic!("{turns:?}") };
        assert_eq!((turns.len(), text.as_str()), (4, "ok\n\n<note>\npressure\n</note>"));
    }

    #[test]
    fn nothing_is_changed_that_a_tolerant_template_takes() {
        let history = [system("head"), user("1"), calls(&["abcdefgh1"]), result("abcdefgh1"), assistant("a"), system("tail"), user("2")];
        assert_eq!(normalise(&history, Rules { system_anywhere: true }), history);
    }
}
