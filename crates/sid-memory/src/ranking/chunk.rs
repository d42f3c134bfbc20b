//! Cutting long texts into pieces for an embedder.

use std::ops::Range;

use super::sentences::{floor_border, sentences};

/// Size of chunks for sentence embedders of the MiniLM class: about 120 tokens, well inside their window and near what they were trained on.
pub const CHUNK_BYTES: usize = 500;

/// A text never makes more chunks than this: a pasted log of a megabyte must not occupy the embedder for minutes. Chunks of longer
/// texts grow instead, and the embedder reads the beginning of each.
pub const MOST_CHUNKS: usize = 128;

/// Cuts a text at sentence borders into pieces of at most `max_bytes`.
///
/// Shape: byte ranges in order, not overlapping, at character borders; every character that is not white space lies in exactly one.
/// A text without any has no chunk. A sentence that is too long is cut between words, a word that is too long between characters.
/// Texts that would make more than [`MOST_CHUNKS`] pieces get larger ones.
///
/// ```
/// use sid_memory::ranking::chunk;
/// let text = "I love pickles. I cannot stand coriander. My train leaves at nine.";
/// let chunks: Vec<&str> = chunk(text, 45).into_iter().map(|r| &text[r]).collect();
/// assert_eq!(chunks, ["I love pickles. I cannot stand coriander.", "My train leaves at nine."]);
/// ```
#[must_use]
pub fn chunk(text: &str, max_bytes: usize) -> Vec<Range<usize>> {
    // Packing fills chunks to more than half on average, so this keeps the number below the limit.
    let max = max_bytes.max(8).max(text.len().div_ceil(MOST_CHUNKS / 2));
    let mut out: Vec<Range<usize>> = Vec::new();
    for sentence in sentences(text) {
        for piece in pieces(text, sentence, max) {
            match out.last_mut() {
                Some(last) if piece.end - last.start <= max => last.end = piece.end,
                _ => out.push(piece),
            }
        }
    }
    out
}

/// A sentence in pieces of at most `max` bytes.
fn pieces(text: &str, sentence: Range<usize>, max: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = sentence.start;
    while sentence.end - start > max {
        let hard = floor_border(text, start + max);
        let window = &text[start..hard];
        let cut = window.rfind(char::is_whitespace).filter(|i| *i > 0).map_or(hard, |i| start + i);
        out.push(start..start + text[start..cut].trim_end().len());
        start = cut + (text[cut..].len() - text[cut..].trim_start().len());
    }
    if start < sentence.end {
        out.push(start..sentence.end);
    }
    out.retain(|r| !r.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, max: usize) {
        let chunks = chunk(text, max);
        let mut at = 0;
        for range in &chunks {
            assert!(at <= range.start && range.start < range.end, "in order");
            assert!(text[at..range.start].trim().is_empty(), "nothing is lost");
            at = range.end;
        }
        assert!(text[at..].trim().is_empty(), "nothing is lost at the end");
        assert!(chunks.len() <= MOST_CHUNKS, "{} chunks", chunks.len());
        if text.len() < max * MOST_CHUNKS / 2 {
            assert!(chunks.iter().all(|r| r.len() <= max.max(8)));
        }
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_too_long() {
        let long = "word ".repeat(3_000) + &"x".repeat(2_000) + " Ende. " + &"猫が好き。".repeat(400);
        for text in ["", " ", "a", "One. Two.", "日本語のテキスト、とても長い", &long, &"y".repeat(400_000), &"line\n".repeat(30_000)]
        {
            for max in [1, 8, 30, 500, 1_000_000] {
                holds(text, max);
            }
        }
    }

    #[test]
    fn short_sentences_share_a_chunk() {
        let text = "A b. C d. E f.";
        assert_eq!(chunk(text, 100), std::iter::once(0..text.len()).collect::<Vec<_>>());
    }
}
