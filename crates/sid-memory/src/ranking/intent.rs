//! What a question asks for, read off its words.

use super::words::content_words;

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

/// Words that tell when, sorted, without the `s` of the plural.
const TIMES: [&str; 42] = [
    "ago",
    "april",
    "august",
    "autumn",
    "birthday",
    "day",
    "decade",
    "december",
    "fall",
    "february",
    "friday",
    "january",
    "july",
    "june",
    "march",
    "monday",
    "month",
    "morning",
    "night",
    "november",
    "october",
    "recently",
    "saturday",
    "season",
    "september",
    "since",
    "soon",
    "spring",
    "summer",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "wednesday",
    "week",
    "weekday",
    "weekend",
    "winter",
    "year",
    "yesterday",
];

/// Spelled-out numbers, sorted.
const NUMBERS: [&str; 16] = [
    "couple", "dozen", "eight", "eleven", "fifty", "five", "four", "hundred", "nine", "seven", "six", "ten", "three", "twelve", "twenty",
    "two",
];

/// What the speaker calls herself and hers, sorted. `I` is looked at apart, because `i` is also a variable.
const SELF: [&str; 7] = ["im", "me", "mine", "my", "our", "us", "we"];

/// How instructions and preferences begin.
const RULES_BEGIN: [&str; 10] = [
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

/// ... and what they hold.
const RULES_HOLD: [&str; 8] =
    ["i prefer", "i'd prefer", "i always want", "i never want", "i'd rather", "from now on", "when i ask", "whenever i ask"];

/// What the words of a text's beginning tell about the text; of times and numbers only what a question asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tells {
    /// When something was: a date, or a word like `yesterday`.
    pub(super) time: bool,
    /// A number, in digits or spelled out.
    pub(super) number: bool,
    /// The speaker tells of herself: `I`, `my`, `we`.
    pub(super) of_self: bool,
    /// How the speaker wants things done: a standing instruction or a preference.
    pub(super) rule: bool,
}

impl Tells {
    pub(super) fn of(text: &str, asked: &Intent) -> Self {
        let mut tells = Self::default();
        // Apostrophes part words here, so that "I'm" tells of the speaker.
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            let has_digits = word.bytes().any(|b| b.is_ascii_digit());
            tells.number |= asked.number && has_digits;
            tells.of_self |= word == "I";
            if has_digits {
                tells.time |= asked.time && word.len() == 4 && word.parse::<u16>().is_ok_and(|y| (1900..2100).contains(&y));
                continue;
            }
            let mut small = [0_u8; 12];
            let Some(small) = small.get_mut(..word.len()) else { continue };
            small.copy_from_slice(word.as_bytes());
            small.make_ascii_lowercase();
            let Ok(small) = std::str::from_utf8(small) else { continue };
            tells.of_self = tells.of_self || SELF.binary_search(&small).is_ok();
            tells.number |= asked.number && NUMBERS.binary_search(&small).is_ok();
            tells.time |= asked.time && TIMES.binary_search(&small.strip_suffix('s').unwrap_or(small)).is_ok();
        }
        let lower = text.trim_start().to_ascii_lowercase();
        tells.rule = RULES_BEGIN.iter().any(|b| lower.starts_with(b)) || RULES_HOLD.iter().any(|h| lower.contains(h));
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(TIMES.is_sorted() && NUMBERS.is_sorted() && SELF.is_sorted());
    }

    #[test]
    fn what_questions_ask() {
        let check = |question: &str, expected: &str| {
            let intent = Intent::of(question);
            let all = [(intent.recent, "recent"), (intent.time, "time"), (intent.number, "number"), (intent.assistant, "assistant")];
            let found: Vec<&str> = all.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect();
            assert_eq!(found.join(" "), expected, "{question}");
        };
        check("Where do I live?", "");
        check("Where do I live now?", "recent");
        check("What is my current address these days?", "recent");
        check("When did I move?", "time");
        check("On which day did we meet?", "time");
        check("How long have I lived here?", "time number");
        check("How many cats are there?", "number");
        check("What did you recommend?", "assistant");
        check("What was it you told me about cats?", "assistant");
        check("Which of your suggestions was it? Your advice helped", "assistant");
        check("Do you like cats?", "");
    }

    #[test]
    fn what_texts_tell() {
        let check = |text: &str, expected: &str| {
            let tells = Tells::of(text, &Intent { time: true, number: true, ..Intent::default() });
            let all = [(tells.time, "time"), (tells.number, "number"), (tells.of_self, "self"), (tells.rule, "rule")];
            let found: Vec<&str> = all.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        };
        check("The cat sat there.", "");
        check("It was last Friday.", "time");
        check("Two weeks ago", "time number");
        check("In 2019 it snowed", "time number");
        check("It costs 4,150", "number");
        check("I'm tired", "self");
        check("for i in list", "");
        check("It is OURS, our own", "self");
        check("Always answer in French", "rule");
        check("I prefer tea", "self rule");
        check("", "");
        let unasked = Tells::of("Two weeks ago, in 2019", &Intent::default());
        assert_eq!((unasked.time, unasked.number), (false, false));
    }

    #[test]
    fn what_only_asks() {
        assert!(only_asks("Where is it? ") && !only_asks("There.") && !only_asks(&format!("{}?", "long ".repeat(40))));
    }
}
