//! The part of a long text that a prompt should pay for.

use std::collections::HashMap;
use std::ops::Range;

use super::sentences::{floor_border, sentences};
use super::words::{Word, content_words};

/// What is worth of a long text's beginning: people say first what it is about.
const FIRST_SENTENCE: f32 = 0.5;
/// What the chunk whose vector was nearest is worth, per sentence in it.
const BEST_CHUNK: f32 = 0.75;
/// Longer texts are searched for words only so far beyond the best chunk; a pasted log does not slow a turn down.
const LONGEST_SCAN: usize = 40_000;

/// The best part of `text` for a question with these words: byte ranges in order, at most `max_bytes` in sum, not overlapping.
///
/// A text that is short enough comes back whole. Otherwise the ranges are whole sentences where possible: those with the question's
/// words (rare ones in this text count more), those of the best chunk, and the first one.
#[must_use]
pub(super) fn excerpt(text: &str, words: &[String], best_chunk: Option<&Range<usize>>, max_bytes: usize) -> Vec<Range<usize>> {
    let whole = trimmed(text, 0..text.len());
    if whole.len() <= max_bytes {
        return if whole.is_empty() { Vec::new() } else { vec![whole] };
    }
    let chunk = best_chunk.map(|c| floor_border(text, c.start)..floor_border(text, c.end)).filter(|c| !c.is_empty());
    let sentences = sentences(&text[..floor_border(text, LONGEST_SCAN)]);
    let hits = hits(text, &sentences, words);
    let scores: Vec<f32> = sentences
        .iter()
        .zip(&hits)
        .enumerate()
        .map(|(i, (sentence, hit))| {
            let in_chunk = chunk.as_ref().is_some_and(|c| sentence.start < c.end && c.start < sentence.end);
            hit.weight + if in_chunk { BEST_CHUNK } else { 0.0 } + if i == 0 { FIRST_SENTENCE } else { 0.0 }
        })
        .collect();

    // Sentences by score per piece, best first; the earlier among equals.
    let mut order: Vec<usize> = (0..sentences.len()).filter(|i| scores[*i] > 0.0).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut taken: Vec<Range<usize>> = Vec::new();
    let mut left = max_bytes;
    for i in order {
        let sentence = &sentences[i];
        if sentence.len() <= left {
            left -= sentence.len();
            taken.push(sentence.clone());
        } else if taken.is_empty() {
            let piece = around(text, sentence, hits[i].first, left);
            left -= piece.len();
            taken.push(piece);
        }
    }
    if taken.is_empty() {
        let start = chunk.map_or(whole.start, |c| c.start);
        taken.push(around(text, &(start..text.len()), None, max_bytes));
    }
    joined(text, taken, max_bytes)
}

struct Hit {
    weight: f32,
    /// Where the first of the words stands.
    first: Option<usize>,
}

/// What each sentence has of the question's words, each word once per sentence.
fn hits(text: &str, sentences: &[Range<usize>], words: &[String]) -> Vec<Hit> {
    let found: Vec<Vec<(usize, usize)>> = sentences
        .iter()
        .map(|s| {
            let mut seen: Vec<(usize, usize)> = Vec::new();
            for Word { start, stem, .. } in content_words(&text[s.clone()]) {
                if let Ok(word) = words.binary_search(&stem)
                    && !seen.iter().any(|(w, _)| *w == word)
                {
                    seen.push((word, s.start + start));
                }
            }
            seen
        })
        .collect();
    let mut counts: HashMap<usize, f32> = HashMap::new();
    for (word, _) in found.iter().flatten() {
        *counts.entry(*word).or_default() += 1.0;
    }
    let total = sentences.len() as f32;
    let weight = |word: usize| (1.0 + total / counts.get(&word).copied().unwrap_or(1.0)).ln();
    found.iter().map(|seen| Hit { weight: seen.iter().map(|(w, _)| weight(*w)).sum(), first: seen.first().map(|(_, at)| *at) }).collect()
}

/// `max` bytes of a sentence that is too long, around the place that matters.
fn around(text: &str, sentence: &Range<usize>, place: Option<usize>, max: usize) -> Range<usize> {
    let place = place.unwrap_or(sentence.start);
    let start = floor_border(text, place.saturating_sub(max / 3).max(sentence.start));
    let start = if start > sentence.start { next_word(text, start, place) } else { start };
    let end = floor_border(text, (start + max).min(sentence.end));
    let end = if end < sentence.end { text[start..end].rfind(char::is_whitespace).map_or(end, |i| start + i) } else { end };
    trimmed(text, start..end.max(floor_border(text, start + max.min(1))))
}

fn next_word(text: &str, from: usize, to: usize) -> usize {
    text[from..to.max(from)].find(char::is_whitespace).map_or(from, |i| from + i)
}

/// In order of the text; pieces that only white space parts become one if that still fits.
fn joined(text: &str, mut pieces: Vec<Range<usize>>, max_bytes: usize) -> Vec<Range<usize>> {
    pieces.sort_by_key(|p| p.start);
    let mut total: usize = pieces.iter().map(Range::len).sum();
    let mut out: Vec<Range<usize>> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some(last) if text[last.end..piece.start].trim().is_empty() && total + (piece.start - last.end) <= max_bytes => {
                total += piece.start - last.end;
                last.end = piece.end;
            }
            _ => out.push(piece),
        }
    }
    out
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    start..(range.start + piece.trim_end().len()).max(start)
}

/// The pieces of an excerpt as one line: white space within them becomes single spaces, ` … ` stands for what is left out between
/// them, and `…` for a cut beginning or end.
///
/// ```
/// use sid_memory::ranking::render_excerpt;
/// let text = "One.\nTwo.  Three. Four.";
/// assert_eq!(render_excerpt(text, &[0..9, 18..23]), "One. Two. … Four.");
/// assert_eq!(render_excerpt(text, &[5..9]), "… Two. …");
/// ```
#[must_use]
pub fn render_excerpt(text: &str, pieces: &[Range<usize>]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for piece in pieces {
        let gap = &text[at..piece.start];
        if !gap.trim().is_empty() {
            out.push_str(if out.is_empty() { "… " } else { " … " });
        } else if !out.is_empty() {
            out.push(' ');
        }
        let mut words = text[piece.clone()].split_whitespace();
        if let Some(first) = words.next() {
            out.push_str(first);
        }
        for word in words {
            out.push(' ');
            out.push_str(word);
        }
        at = piece.end;
    }
    if !pieces.is_empty() && !text[at..].trim().is_empty() {
        out.push_str(" …");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(question: &str) -> Vec<String> {
        let mut words: Vec<String> = content_words(question).into_iter().map(|w| w.stem).collect();
        words.sort();
        words
    }

    fn check(text: &str, question: &str, max: usize, expected: &str) {
        assert_eq!(render_excerpt(text, &excerpt(text, &words(question), None, max)), expected);
    }

    #[test]
    fn short_texts_stay_whole() {
        check("  I love pickles. ", "pickles?", 100, "I love pickles.");
        check(" ", "pickles?", 100, "");
    }

    #[test]
    fn the_sentence_with_the_words_is_taken() {
        let text = "Long day. We talked about the weather. My niece is called Saoirse! Then it rained. And rained. And rained again.";
        check(text, "What is my niece's name?", 35, "… My niece is called Saoirse! …");
        check(text, "What is my niece's name?", 60, "Long day. … My niece is called Saoirse! …");
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_around_the_word() {
        let text = format!("{} the axolotl lives here {}", "word ".repeat(100), "word ".repeat(100));
        let found = excerpt(&text, &words("axolotl"), None, 60);
        let shown = render_excerpt(&text, &found);
        assert!(shown.contains("axolotl") && shown.starts_with("… ") && shown.ends_with(" …"), "{shown}");
    }

    #[test]
    fn the_best_chunk_counts_where_words_say_nothing() {
        let text = "Alpha beta gamma delta. Epsilon zeta eta theta. Iota kappa lambda mu.";
        let second = text.find("Epsilon").expect("there");
        let found = excerpt(text, &words("zebra"), Some(&(second..second + 23)), 30);
        assert_eq!(render_excerpt(text, &found), "… Epsilon zeta eta theta. …");
    }

    #[test]
    fn it_never_costs_more_than_it_may() {
        let texts =
            ["猫が好きです。".repeat(50), "x".repeat(5_000), "a b. ".repeat(300), format!("{}\n\n{}", "code();\n".repeat(50), "end.")];
        for text in &texts {
            for max in [1, 7, 60, 350] {
                for chunk in [None, Some(10..40), Some(4_000..9_000)] {
                    let found = excerpt(text, &words("猫 code end a"), chunk.as_ref(), max);
                    assert!(found.iter().map(Range::len).sum::<usize>() <= max, "{found:?} for {max}");
                    assert!(found.windows(2).all(|w| w[0].end <= w[1].start));
                    let _ = render_excerpt(text, &found);
                }
            }
        }
    }
}
