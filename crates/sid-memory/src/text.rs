//! Counting and cutting text in tokens.

use sid_types::Tokens;

/// Counts the tokens of a text. Pure and cheap; [`count_bytes`] where there is no tokenizer.
///
/// With `sid-llm`'s counters: `&|text: &str| counter.count(text)`.
pub type Count<'a> = dyn Fn(&str) -> Tokens + Send + Sync + 'a;

/// What a chat template adds to each message: role, separators.
pub const MESSAGE_OVERHEAD: Tokens = Tokens(5);

/// What a chat template adds to each call: id, keys and brackets.
pub const CALL_OVERHEAD: Tokens = Tokens(12);

/// From this length on a text is counted by its first part: such a text is cut anyway, and must not cost a second per turn.
const COUNTED_WHOLE: usize = 256 * 1024;

/// Four bytes are a token: the counter that needs no vocabulary.
#[must_use]
pub fn count_bytes(text: &str) -> Tokens {
    Tokens(u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX))
}

/// The size of a text of any length; very long ones are counted by their first part.
#[must_use]
pub fn size(text: &str, count: &Count<'_>) -> Tokens {
    if text.len() <= COUNTED_WHOLE {
        return count(text);
    }
    let part = &text[..text.floor_char_boundary(COUNTED_WHOLE / 4)];
    let tokens = u64::from(count(part).0) * (text.len() as u64) / (part.len() as u64);
    Tokens(u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// The longest beginning of `text` (about: within a tenth) that counts at most `limit`, cut between words where one ends near.
///
/// Shape: always a prefix of `text`, always within the limit; empty when nothing fits.
///
/// ```
/// use sid_memory::{count_bytes, cut_to};
/// use sid_types::Tokens;
/// assert_eq!(cut_to("one two three four", Tokens(2), &count_bytes), "one two");
/// assert_eq!(cut_to("short", Tokens(9), &count_bytes), "short");
/// ```
#[must_use]
pub fn cut_to<'t>(text: &'t str, limit: Tokens, count: &Count<'_>) -> &'t str {
    if limit.0 == 0 {
        return "";
    }
    // No text in use packs more than 16 bytes into a token for long, and a shorter cut is always allowed.
    let text_is_far_too_long = text.len() > (limit.0 as usize).saturating_mul(16);
    let start = if text_is_far_too_long { &text[..text.floor_char_boundary(limit.0 as usize * 16)] } else { text };
    let counted = count(start);
    if counted <= limit {
        return if text_is_far_too_long { whole_words(text, start.len()) } else { text };
    }
    let (mut fits, mut over) = (0_usize, start.len());
    let mut guess = start.len() as u64 * u64::from(limit.0) / u64::from(counted.0.max(1));
    for _ in 0..12 {
        let at = start.floor_char_boundary(usize::try_from(guess).unwrap_or(usize::MAX).clamp(fits, over));
        if at <= fits {
            break;
        }
        let here = count(&start[..at]);
        if here <= limit {
            fits = at;
            if u64::from(here.0) * 10 >= u64::from(limit.0) * 9 {
                break;
            }
        } else {
            over = at;
        }
        guess = (fits + over) as u64 / 2;
    }
    let cut = whole_words(text, fits);
    // A shorter text may count more with an odd tokenizer; the promise is the limit, not the length.
    if count(cut) <= limit { cut } else { &text[..fits] }
}

/// The prefix of `at` bytes, or a little less where a word would be broken.
fn whole_words(text: &str, at: usize) -> &str {
    let cut = &text[..at];
    if at == text.len() || text[at..].starts_with(char::is_whitespace) {
        return cut.trim_end();
    }
    match cut.rfind(char::is_whitespace) {
        Some(space) if at - space <= 24 && space * 2 >= at => cut[..space].trim_end(),
        _ => cut,
    }
}

/// `text` in one line: white space becomes single blanks.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(4_096));
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The first `words` words, at most `chars` characters of them, with a mark where more follows.
pub(crate) fn first_words(text: &str, words: usize, chars: usize) -> String {
    let mut out = String::new();
    let mut rest = text.split_whitespace();
    for word in rest.by_ref().take(words) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&text_prefix(word, chars));
        if out.chars().count() >= chars {
            return text_prefix(&out, chars) + "…";
        }
    }
    if rest.next().is_some() {
        out.push('…');
    }
    out
}

fn text_prefix(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_is_a_prefix_within_the_limit(text in "\\PC{0,400}", limit in 0_u32..120) {
            let cut = cut_to(&text, Tokens(limit), &count_bytes);
            prop_assert!(text.starts_with(cut));
            prop_assert!(count_bytes(cut) <= Tokens(limit));
            if count_bytes(&text) <= Tokens(limit) {
                prop_assert_eq!(cut, text.as_str());
            } else if limit > 20 && text.is_ascii() {
                // A tenth for the search, 24 bytes for the word that is not broken.
                prop_assert!(cut.len() + 24 + 4 >= limit as usize * 4 * 8 / 10 || cut.len() * 2 >= limit as usize * 4);
            }
        }
    }

    #[test]
    fn huge_texts_are_counted_by_their_first_part() {
        let text = "word ".repeat(400_000);
        let counted = std::sync::atomic::AtomicUsize::new(0);
        let count = |t: &str| {
            counted.fetch_add(t.len(), std::sync::atomic::Ordering::Relaxed);
            count_bytes(t)
        };
        assert_eq!(size(&text, &count), count_bytes(&text));
        assert!(counted.load(std::sync::atomic::Ordering::Relaxed) < 100_000);
    }

    #[test]
    fn first_words_are_short_even_when_a_word_is_long() {
        assert_eq!(first_words("a b c d", 3, 50), "a b c…");
        assert_eq!(first_words(&"x".repeat(900), 3, 10), "xxxxxxxxxx…");
    }
}
