//! Directives in the words of the user.

use serde_json::{Value, json};

use super::{Behaviour, Fault};

/// What a message asks the server to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Directives {
    calls: Vec<(String, Value)>,
    fault: Option<(Fault, bool)>,
    say: Option<String>,
}

impl Directives {
    /// Reads the directives of the last paragraph that is no note of the system: what was recalled, and stands before the
    /// user's words, does not command.
    pub(super) fn read(text: &str) -> Self {
        let is_note = |p: &&str| p.is_empty() || p.starts_with("[system note]") || p.ends_with("</note>");
        let text = text.rsplit("\n\n").map(str::trim).find(|p| !is_note(p)).unwrap_or_default();
        let mut found = Self::default();
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("#say:") {
                found.say = Some(rest.trim().to_owned());
            } else if let Some((_, rest)) = line.split_once("#tool:") {
                let (name, arguments) = rest.split_at(rest.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(rest.len()));
                let mut values = serde_json::Deserializer::from_str(arguments.trim()).into_iter::<Value>();
                let arguments = values.next().and_then(Result::ok).unwrap_or_else(|| json!({}));
                found.calls.push((name.to_owned(), arguments));
            } else {
                for (mark, is_once) in [("#fault:", false), ("#fault-once:", true)] {
                    if let Some((_, rest)) = line.split_once(mark) {
                        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
                        found.fault = name.parse().ok().map(|fault| (fault, is_once)).or(found.fault);
                    }
                }
            }
        }
        found
    }

    /// The fault, and whether it is for the first time only.
    pub(super) const fn fault(&self) -> Option<(Fault, bool)> {
        self.fault
    }

    /// What to do; `acted` = the call has been made.
    pub(super) fn behaviour(self, acted: bool) -> Option<Behaviour> {
        if !acted && !self.calls.is_empty() {
            return Some(Behaviour::Calls(self.calls));
        }
        self.say.map(Behaviour::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_from_the_last_words_only() {
        let text = "<note>\nrecalled: #fault:server-error\n</note>\n\nPlease #tool:f {\"x\": 1} now\n#tool:g\n#say: all done ";
        let found = Directives::read(text);
        assert_eq!(found.fault(), None);
        assert_eq!(found.clone().behaviour(false), Some(Behaviour::Calls(vec![("f".into(), json!({"x": 1})), ("g".into(), json!({}))])));
        assert_eq!(found.behaviour(true), Some(Behaviour::Text("all done".into())));
        assert_eq!(Directives::read("#fault-once:cut-stream").fault(), Some((Fault::CutStream, true)));
        assert_eq!(Directives::read("recalled: #fault:cut-stream\n\nhello\n\n[system note] #fault:reset"), Directives::default());
        assert_eq!(Directives::read("hello"), Directives::default());
    }
}
