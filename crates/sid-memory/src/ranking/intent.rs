//! What a question asks for, read off its words.

use super::words::{all_words, content_words};

/// What kind of answer a question wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Intent {
    /// The present state: `now`, `currently`, `latest`, `still`.
    pub(super) recent: bool,
    /// A time: `when`, `what day`.
    pub(super) time: bool,
    /// A number: `how many`, `how long`, `how old`.
    pub(super) number: bool,
    /// What the assistant said: `did you recommend`.
    pub(super) assistant: bool,
    /// Content words, as they are compared.
    pub(super) words: Vec<String>,
}

/// Words that ask for the newest value.
const RECENT: [&str; 14] = [
    "now",
    "current",
    "currently",
    "latest",
    "newest",
    "still",
    "today",
    "nowadays",
    "anymore",
    "lately",
    "recent",
    "recently",
    "most recent",
    "these days",
];

/// What an assistant does in a question about its answers.
const SAYING: [&str; 14] = [
    "recommend",
    "suggest",
    "say",
    "said",
    "tell",
    "told",
    "advise",
    "propose",
    "mention",
    "explain",
    "give",
    "gave",
    "describe",
    "provide",
];

impl Intent {
    pub(super) fn of(question: &str) -> Self {
        let lower = question.to_lowercase();
        let plain: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        let has = |w: &str| plain.contains(&w);
        let pair = |a: &str, b: &[&str]| plain.windows(2).any(|w| w[0] == a && b.contains(&w[1]));
        let says = |word: &str| SAYING.iter().any(|s| word.starts_with(s));
        let asks_what_you_said = (0..plain.len()).any(|i| plain[i] == "you" && plain[i + 1..].iter().take(3).any(|w| says(w)));
        let mut words: Vec<String> = content_words(question).into_iter().map(|w| w.stem).collect();
        words.sort();
        words.dedup();
        Self {
            recent: RECENT.iter().any(|r| if r.contains(' ') { lower.contains(r) } else { has(r) }),
            time: plain.first() == Some(&"when")
                || plain
                    .windows(2)
                    .any(|w| w[0] == "when" && matches!(w[1], "did" | "was" | "is" | "were" | "does" | "do" | "will" | "has" | "have"))
                || pair("what", &["day", "date", "time", "month", "year"])
                || pair("which", &["day", "date", "month", "year"])
                || pair("how", &["long"]),
            number: pair("how", &["many", "much", "long", "old", "often", "far", "tall", "big", "large"])
                || has("number")
                || has("percentage"),
            assistant: asks_what_you_said || (has("your") && (has("recommendation") || has("suggestion") || has("advice"))),
            words,
        }
    }
}

/// Whether a text only asks: short, and its end is a question mark.
pub(super) fn only_asks(text: &str) -> bool {
    text.len() < 90 && text.trim_end().ends_with('?')
}

/// Whether a text tells when something was: it has a date or a word like `yesterday`.
pub(super) fn tells_time(text: &str) -> bool {
    const TIMES: [&str; 40] = [
        "yesterday",
        "today",
        "tonight",
        "tomorrow",
        "ago",
        "week",
        "weekend",
        "month",
        "year",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "morning",
        "night",
        "summer",
        "winter",
        "spring",
        "autumn",
        "fall",
        "since",
        "recently",
        "soon",
        "birthday",
        "day",
        "decade",
    ];
    all_words(text).iter().any(|w| {
        let raw = text[w.start..w.end].to_lowercase();
        let raw = raw.trim_end_matches(|c: char| !c.is_alphanumeric());
        TIMES.iter().any(|t| raw == *t || raw.strip_suffix('s') == Some(t))
            || (raw.len() == 4 && raw.parse::<u16>().is_ok_and(|y| (1900..2100).contains(&y)))
    })
}

/// Whether a text has a number, in digits or spelled out.
pub(super) fn tells_number(text: &str) -> bool {
    const NUMBERS: [&str; 16] = [
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "dozen", "twenty", "fifty", "hundred",
        "couple",
    ];
    text.split(|c: char| !c.is_alphanumeric())
        .any(|w| w.bytes().any(|b| b.is_ascii_digit()) || NUMBERS.iter().any(|n| w.eq_ignore_ascii_case(n)))
}

/// Whether the speaker tells of herself: `I`, `my`, `we`.
pub(super) fn tells_of_self(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric())
        .any(|w| w == "I" || ["my", "me", "we", "our", "im", "mine", "us"].iter().any(|m| w.eq_ignore_ascii_case(m)))
}

/// Whether a text lays down how the speaker wants things done: a standing instruction or a preference.
pub(super) fn instructs(text: &str) -> bool {
    let lower = text.trim_start().to_lowercase();
    let starts = [
        "always ",
        "never ",
        "please always",
        "please never",
        "from now on",
        "remember ",
        "please remember",
        "don't ever",
        "make sure to always",
        "whenever i ask",
    ];
    let holds = [
        "i prefer",
        "i'd prefer",
        "i always want",
        "i never want",
        "i'd rather",
        "from now on",
        "when i ask",
        "whenever i ask",
        "my preference",
    ];
    starts.iter().any(|s| lower.starts_with(s)) || holds.iter().any(|h| lower.contains(h))
}
