//! What to ask of a model so that it draws facts from what was said, and how its answer is read.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sid_types::{Seq, Timestamp, Tokens};

use super::object;
use crate::render;
use crate::text::{Count, cut_to, one_line};

/// Most statements that are taken from one answer.
pub const MOST_STATEMENTS: usize = 20;
/// Longest statement, in characters: a sentence.
const LONGEST: usize = 240;

/// Something that the user said in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// Its place.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// The words.
    pub text: &'a str,
}

/// One request to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactPrompt {
    /// Instructions.
    pub system: String,
    /// What they are about.
    pub user: String,
}

/// A fact as a model proposes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// One sentence.
    pub text: String,
    /// The messages that it is drawn from; at least one, in order.
    pub from: Vec<Seq>,
}

/// Asks for the facts in these messages of one conversation; as many of them as fit `room` are shown. Answers how many that are, too.
#[must_use]
pub fn extract_prompt(said: &[Said<'_>], room: Tokens, zone: &TimeZone, count: &Count<'_>) -> (FactPrompt, usize) {
    let mut user = String::new();
    let mut used = Tokens(0);
    let mut shown = 0;
    for one in said {
        let line = format!("#{} [{}] {}", one.seq, render::day(one.at, zone), one_line(one.text));
        let line = cut_to(&line, room, count);
        let size = count(line) + Tokens(1);
        if shown > 0 && used + size > room {
            break;
        }
        user.push_str(line);
        user.push('\n');
        used += size;
        shown += 1;
    }
    let system = "List what the user tells about lasting things: who they are, the people around them, what they like and dislike, where they \
                  live and work, health, plans and promises. One short sentence per fact, beginning with \"The user\" or a name, with names, \
                  numbers, dates and every \"not\" kept as they were said. Leave out questions, wishes of the moment and small talk. Add nothing. \
                  Answer with JSON only: {\"facts\":[{\"text\":\"…\",\"from\":[message numbers]}]}, or {\"facts\":[]} when there is nothing.";
    (FactPrompt { system: system.into(), user }, shown)
}

/// The schema of the answer to [`extract_prompt`].
#[must_use]
pub fn extract_schema() -> Value {
    let fact = json!({
        "type": "object",
        "properties": {"text": {"type": "string"}, "from": {"type": "array", "items": {"type": "integer"}}},
        "required": ["text", "from"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {"facts": {"type": "array", "items": fact}},
        "required": ["facts"],
        "additionalProperties": false,
    })
}

/// Reads the answer to [`extract_prompt`]. What is no statement, or names no message of those that were shown, is left out.
#[must_use]
pub fn read_statements(answer: &str, shown: &[Said<'_>]) -> Vec<Statement> {
    let Some(object) = object(answer) else { return Vec::new() };
    let Some(facts) = object.get("facts").and_then(Value::as_array) else { return Vec::new() };
    facts
        .iter()
        .filter_map(|fact| {
            let text = one_line(fact.get("text")?.as_str()?);
            let mut from: Vec<Seq> = fact.get("from")?.as_array()?.iter().filter_map(Value::as_u64).map(Seq).collect();
            from.retain(|seq| shown.iter().any(|s| s.seq == *seq));
            from.sort_unstable();
            from.dedup();
            let is_statement = !text.is_empty() && text.chars().count() <= LONGEST && !text.ends_with('?') && !from.is_empty();
            is_statement.then_some(Statement { text, from })
        })
        .take(MOST_STATEMENTS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count_bytes;

    fn said() -> [Said<'static>; 2] {
        let at = "2026-03-01T09:00:00Z".parse().expect("a time");
        [Said { seq: Seq(3), at, text: "I moved to Oslo\nlast week." }, Said { seq: Seq(5), at, text: "Hi!" }]
    }

    #[test]
    fn a_prompt_shows_what_fits_and_at_least_one_message() {
        let (prompt, shown) = extract_prompt(&said(), Tokens(200), &TimeZone::UTC, &count_bytes);
        assert_eq!((prompt.user.as_str(), shown), ("#3 [2026-03-01 Sun] I moved to Oslo last week.\n#5 [2026-03-01 Sun] Hi!\n", 2));
        let (prompt, shown) = extract_prompt(&said(), Tokens(6), &TimeZone::UTC, &count_bytes);
        assert_eq!(shown, 1, "{prompt:?}");
    }

    #[test]
    fn statements_are_read_out_of_any_answer() {
        let read = |answer: &str| read_statements(answer, &said());
        let oslo = Statement { text: "The user lives in Oslo.".into(), from: vec![Seq(3)] };
        assert_eq!(read(r#"{"facts":[{"text":"The user lives in Oslo.","from":[3,3,99]}]}"#), std::slice::from_ref(&oslo));
        assert_eq!(read("Sure:\n```json\n{\"facts\":[{\"text\":\"The user lives in Oslo.\",\"from\":[3]}]}\n``` {ok}"), [oslo]);
        for nothing in [
            "",
            "none",
            r#"{"facts":[{"text":"No source."}]}"#,
            r#"{"facts":[{"text":"Elsewhere.","from":[4]}]}"#,
            r#"{"facts":[{"text":"Oslo?","from":[3]}]}"#,
            r#"{"facts":[{"text":"cut off"#,
        ] {
            assert_eq!(read(nothing), [], "{nothing}");
        }
    }
}
