//! Words as the ranking compares them: lower case, endings cut off lightly.

use std::ops::Range;
use std::sync::LazyLock;

/// English words that carry no content, sorted.
const STOP_WORDS: [&str; 139] = [
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "before", "being", "both", "but",
    "by", "can", "cant", "could", "did", "didnt", "do", "does", "doesnt", "doing", "done", "dont", "down", "during", "each", "for", "from",
    "get", "got", "had", "has", "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "id", "if", "ill", "im", "in",
    "into", "is", "isnt", "it", "its", "ive", "just", "like", "may", "me", "might", "more", "most", "must", "my", "no", "not", "now", "of",
    "off", "oh", "ok", "on", "once", "one", "only", "or", "other", "our", "out", "over", "please", "really", "s", "shall", "she", "should",
    "so", "some", "such", "t", "tell", "than", "that", "thats", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "through", "to", "too", "under", "until", "up", "us", "very", "was", "we", "well", "were", "what", "whats", "when", "where", "which",
    "while", "who", "whom", "whose", "why", "will", "with", "would", "yes", "yet", "you", "your", "youre", "yours",
];

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// First byte in the text.
    pub(super) start: usize,
    /// First byte after it.
    pub(super) end: usize,
    /// What it is compared by.
    pub(super) stem: String,
}

/// The words of a text, stop words too, in order.
pub(super) fn all_words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    for_each_word(text, |at, stem| out.push(Word { start: at.start, end: at.end, stem: stem.to_owned() }));
    out
}

/// [`all_words`] without a list of them: where each stands, and what it is compared by.
pub(super) fn for_each_word(text: &str, mut take: impl FnMut(Range<usize>, &str)) {
    let mut stem = String::with_capacity(24);
    let mut place = 0..0;
    let mut end = |stem: &mut String, place: &Range<usize>| {
        if !stem.is_empty() {
            fold_word(stem);
            take(place.clone(), stem);
            stem.clear();
        }
    };
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() {
            if stem.is_empty() {
                place.start = at;
            }
            place.end = at + c.len_utf8();
            if c.is_ascii() {
                stem.push(c.to_ascii_lowercase());
            } else {
                stem.extend(c.to_lowercase());
            }
        } else if !matches!(c, '\'' | '\u{2019}') {
            end(&mut stem, &place);
        }
    }
    end(&mut stem, &place);
}

/// The words that carry content.
pub(super) fn content_words(text: &str) -> Vec<Word> {
    let mut words = all_words(text);
    words.retain(|w| !is_stop_word(&w.stem));
    words
}

/// Where the stop words with each first letter stand.
static BY_LETTER: LazyLock<[Range<usize>; 26]> = LazyLock::new(|| {
    std::array::from_fn(|letter| {
        let first = |w: &&str| usize::from(w.as_bytes()[0] - b'a');
        let from = STOP_WORDS.partition_point(|w| first(w) < letter);
        from..STOP_WORDS.partition_point(|w| first(w) <= letter)
    })
});

/// Whether a (lower case) word carries no content. Asked of every word of every candidate, so it looks at few words.
pub(super) fn is_stop_word(word: &str) -> bool {
    let letter = word.bytes().next().and_then(|b| b.checked_sub(b'a')).filter(|l| *l < 26);
    letter.is_some_and(|l| STOP_WORDS[BY_LETTER[usize::from(l)].clone()].contains(&word))
}

/// Cuts off the commonest endings, so that `paint`, `paints`, `painted` and `painting` are one. Cruder than the index's stemmer, but it
/// only has to find words inside texts that the index has found.
pub(super) fn fold_word(word: &mut String) {
    if !word.is_ascii() || word.len() < 4 || is_stop_word(word) {
        return;
    }
    for (ending, least) in [("ings", 3), ("ing", 3), ("ies", 2), ("ied", 2), ("es", 3), ("ed", 3), ("ly", 3), ("s", 3), ("y", 3), ("e", 3)]
    {
        if let Some(root) = word.strip_suffix(ending)
            && root.len() >= least
            && !(ending == "s" && root.ends_with('s'))
        {
            word.truncate(root.len());
            // stopped -> stop
            let bytes = word.as_bytes();
            if matches!(ending, "ing" | "ed") && bytes.len() > 3 && bytes[bytes.len() - 1] == bytes[bytes.len() - 2] {
                word.pop();
            }
            if word.len() > 3 && matches!(ending, "es" | "s") && word.ends_with('e') {
                word.pop();
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
        assert!(STOP_WORDS.iter().all(|w| is_stop_word(w)));
        assert!(!["", "zebra", "yourself", "Über", "42", "{"].into_iter().any(is_stop_word));
    }

    #[test]
    fn forms_of_a_word_are_one() {
        let same = |forms: &str| {
            let stems: Vec<String> = all_words(forms).into_iter().map(|w| w.stem).collect();
            assert!(stems.windows(2).all(|w| w[0] == w[1]), "{stems:?}");
        };
        same("paint paints painted painting Paint's");
        same("stop stopped stopping stops");
        same("hobby hobbies");
        same("love loved loves loving");
        same("Caroline Caroline's");
        assert!(all_words("cat car").windows(2).all(|w| w[0].stem != w[1].stem));
    }

    #[test]
    fn words_know_where_they_stand() {
        let text = "Don’t eat Ünal's gherkins!";
        let found: Vec<&str> = content_words(text).into_iter().map(|w| &text[w.start..w.end]).collect();
        assert_eq!(found, ["eat", "Ünal's", "gherkins"]);
    }
}
