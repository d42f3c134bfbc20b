//! Saying nothing: an answer that nobody is shown.

/// What an agent answers that has nothing to say in a run that nobody asked for.
pub const NO_REPLY: &str = "NO_REPLY";

/// What stands in the conversation in place of such an answer: a note is not shown as speech, found by search or told in the diary.
pub(crate) const SAID_NOTHING: &str = "You said nothing.";

/// Whether an answer says that there is nothing to say.
pub(crate) fn is_silent(text: &str) -> bool {
    bare(text).eq_ignore_ascii_case(NO_REPLY)
}

/// Whether an answer that begins so may yet be silent: it is not streamed before that is clear.
pub(crate) fn may_become_silent(text: &str) -> bool {
    let said = bare(text);
    said.len() <= NO_REPLY.len() && NO_REPLY.as_bytes()[..said.len()].eq_ignore_ascii_case(said.as_bytes())
}

/// Without what small models put around a word.
fn bare(text: &str) -> &str {
    text.trim().trim_matches(|c: char| matches!(c, '"' | '\'' | '`' | '*' | '.' | '[' | ']')).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_alone_is_silent() {
        for text in ["NO_REPLY", " NO_REPLY\n", "`NO_REPLY`", "**NO_REPLY**.", "no_reply"] {
            assert!(is_silent(text) && may_become_silent(text), "{text}");
        }
        for text in ["NO_REPLY, but water the plants", "I answer NO_REPLY", "No reply", ""] {
            assert!(!is_silent(text), "{text}");
        }
        for (text, expected) in [("", true), ("NO", true), ("`NO_RE", true), ("NOw", false), ("Not yet", false), ("é", false)] {
            assert_eq!(may_become_silent(text), expected, "{text}");
        }
    }
}
