//! Whether a statement says no more than its sources do.

use std::collections::BTreeSet;

use sid_store::index::terms;

use super::{SPEAKER, topic};

/// Of a statement's words, so many of a hundred have to be in its sources; the others are how it is put.
const SHARE: usize = 60;

/// Words that turn a sentence round, as they are written.
const NOT: [&str; 12] = ["not", "no", "never", "none", "nothing", "nobody", "without", "stopped", "quit", "hate", "hates", "dislikes"];

/// Whether `sources` bear the statement out: it has their words, every name and number in it is theirs, it does not turn what they say
/// round, and it is not made of a question. `known`: names that a statement may use without being told them, such as the user's own.
///
/// A strict judge: what it refuses is still in the messages, and found there.
///
/// ```
/// use sid_memory::facts::is_borne_out;
/// assert!(is_borne_out("The user lives in Oslo.", &["I live in Oslo now, not in Bergen."], &[]));
/// assert!(!is_borne_out("The user lives in Rome.", &["I live in Oslo now."], &[]));
/// assert!(!is_borne_out("The user likes olives.", &["I don't like olives."], &[]));
/// ```
#[must_use]
pub fn is_borne_out(statement: &str, sources: &[&str], known: &[&str]) -> bool {
    // "I like tea but not coffee" tells two things.
    let said = sources.join("\n").replace(" but ", ", but ");
    let given: BTreeSet<String> = terms(&said).into_iter().chain(known.iter().flat_map(|name| terms(name))).collect();
    let about = topic(statement);
    let shared = about.iter().filter(|t| given.contains(*t)).count();
    if shared == 0 || shared * 100 < about.len() * SHARE {
        return false;
    }
    if hard_words(statement).any(|word| !terms(word).iter().all(|t| given.contains(t) || SPEAKER.contains(&t.as_str()))) {
        return false;
    }
    // The clause that it is drawn from decides; of two that tell as much of it, the later one: people correct themselves.
    let overlap = |clause: &&str| topic(clause).intersection(&about).count();
    let Some(clause) = clauses(&said).max_by_key(overlap) else { return false };
    !clause.trim_end().ends_with('?') && turns(clause) == turns(statement)
}

/// Names and numbers: words with a digit, and those that begin with a capital letter within a sentence.
fn hard_words(text: &str) -> impl Iterator<Item = &str> {
    let mut begins = true;
    text.split_whitespace().filter(move |word| {
        let is_first = std::mem::replace(&mut begins, word.ends_with(['.', '!', '?', ':']));
        let core = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        core.contains(|c: char| c.is_ascii_digit()) || !is_first && core.starts_with(char::is_uppercase)
    })
}

/// Parts of a text that tell one thing each. A dot between digits ends nothing.
fn clauses(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |c: char| matches!(c, '.' | '!' | '?' | ';' | ':' | ',' | '\n');
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut from = 0;
        let end = loop {
            let Some(at) = rest[from..].find(is_end).map(|at| from + at) else { break rest.len() };
            let after = at + 1;
            let is_within = rest[after..].starts_with(|c: char| c.is_ascii_digit()) && !rest[at..].starts_with(['\n', '?', '!']);
            if !is_within {
                break after;
            }
            from = after;
        };
        let (clause, left) = rest.split_at(end);
        rest = left;
        Some(clause)
    })
    .filter(|clause| !clause.trim().is_empty())
}

/// Whether a clause says that something is not.
fn turns(clause: &str) -> bool {
    let times = clause
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')))
        .map(str::to_lowercase)
        .filter(|word| {
            NOT.contains(&word.as_str()) || word.ends_with("n't") || word.ends_with("n’t") || matches!(word.as_str(), "dont" | "cant")
        })
        .count();
    times % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_bears_a_statement_out() {
        for (statement, said) in [
            ("The user's flight is QX 771 on 4 May.", "Just booked: QX 771, on 4 May."),
            ("The user does not like olives.", "I don't like olives."),
            ("Tom is the user's brother.", "My brother Tom rang."),
            ("The user loves pickles.", "Guess what? I love pickles!"),
            ("The user likes tea.", "I like tea but not coffee."),
            ("The user does not like coffee.", "I like tea but not coffee: I don't like it."),
            ("The user pays 3.50 for coffee.", "Coffee is 3.50 there, I pay it every day."),
        ] {
            assert!(is_borne_out(statement, &[said], &[]), "{statement} of {said}");
        }
        assert!(is_borne_out("Ann lives in Oslo.", &["I live in Oslo."], &["Ann"]), "her own name is known");
    }

    #[test]
    fn what_was_not_said_does_not_stand() {
        for (statement, said) in [
            ("The user's flight is QX 772 on 4 May.", "Just booked: QX 771, on 4 May."),
            ("The user likes olives.", "I don't like olives."),
            ("The user does not like olives.", "I like olives."),
            ("Tim is the user's brother.", "My brother Tom rang."),
            ("The user lives in Oslo.", "Is Oslo nice to live in?"),
            ("The user has three cats and a large garden in the south.", "I have a cat."),
            ("The user is happy.", "Well, well."),
            ("The user", "I am here."),
        ] {
            assert!(!is_borne_out(statement, &[said], &[]), "{statement} of {said}");
        }
    }
}
