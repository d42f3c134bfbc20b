//! How much of a question's words a record holds, alone and with the talk around it.

use std::collections::HashMap;
use std::hash::Hash;

use super::Candidate;
use super::sentences::floor_border;
use super::words::{for_each_word, is_stop_word};

/// So much of a text counts as its own words: the beginning, or the best chunk of a long text and a little of its beginning.
const OWN_BYTES: usize = 600;
const OPENING_BYTES: usize = 200;
/// So much of the end (beginning) of a message before (after) counts as talk around.
const AROUND_BYTES: usize = 300;
/// Messages to each side that count as talk around.
const AROUND: usize = 2;

/// The question's content words in order, and which candidates hold them.
pub(super) struct Coverage {
    /// Of each candidate: the share of the question's words, rare ones counting more, that it or the talk around it holds. 0 to 1.
    pub(super) around: Vec<f32>,
    /// Of each candidate: how many pairs of neighbouring words it has as the question has them. At most 2.
    pub(super) pairs: Vec<f32>,
}

/// One bit per word of the question; those beyond the 64th are not looked at.
type Mask = u64;

#[derive(Default, Clone, Copy)]
struct Found {
    own: Mask,
    head: Mask,
    tail: Mask,
    pairs: u32,
}

impl Coverage {
    pub(super) fn of<K: Copy + Eq + Hash>(question: &str, items: &[Candidate<'_, K>], by_id: &HashMap<K, usize>) -> Self {
        let words = QuestionWords::new(question);
        let found: Vec<Found> = items.iter().map(|c| words.found(c)).collect();
        let weights = words.weights(&found);
        let total: f32 = weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        let neighbour = |id: Option<K>| id.and_then(|id| by_id.get(&id)).copied();
        let around = items
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let mut mask = found[i].own;
                let (mut before, mut after) = (neighbour(c.neighbours.0), neighbour(c.neighbours.1));
                for _ in 0..AROUND {
                    mask |= before.map_or(0, |b| found[b].tail) | after.map_or(0, |a| found[a].head);
                    before = before.and_then(|b| neighbour(items[b].neighbours.0));
                    after = after.and_then(|a| neighbour(items[a].neighbours.1));
                }
                weights.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, w)| w).sum::<f32>() / total
            })
            .collect();
        Self { around, pairs: found.iter().map(|f| f.pairs.min(2) as f32).collect() }
    }
}

struct QuestionWords {
    /// Each word once, in order of mention.
    words: Vec<String>,
    /// Places in `words` of words that stand next to each other in the question.
    pairs: Vec<(usize, usize)>,
}

impl QuestionWords {
    fn new(question: &str) -> Self {
        let mut this = Self { words: Vec::new(), pairs: Vec::new() };
        let mut previous = None;
        for_each_word(question, |_, word| {
            if is_stop_word(word) {
                return;
            }
            let place = this.words.iter().position(|w| w == word).or_else(|| {
                (this.words.len() < Mask::BITS as usize).then(|| {
                    this.words.push(word.to_owned());
                    this.words.len() - 1
                })
            });
            if let (Some(a), Some(b)) = (previous, place)
                && a != b
            {
                this.pairs.push((a, b));
            }
            previous = place;
        });
        this
    }

    fn found<K>(&self, c: &Candidate<'_, K>) -> Found {
        let text = c.text;
        let mut found = Found::default();
        if text.len() <= OWN_BYTES {
            self.look(text, &mut found.own, &mut found.pairs);
        } else {
            let (from, to) = c.best_chunk.as_ref().map_or((0, OWN_BYTES), |b| (b.start, b.end.min(b.start + OWN_BYTES)));
            let (from, to) = (floor_border(text, from), floor_border(text, to));
            self.look(&text[from..to.max(from)], &mut found.own, &mut found.pairs);
            if from > 0 {
                self.look(&text[..floor_border(text, OPENING_BYTES.min(from))], &mut found.own, &mut found.pairs);
            }
        }
        if text.len() <= AROUND_BYTES {
            (found.head, found.tail) = (found.own, found.own);
        } else {
            self.look(&text[..floor_border(text, AROUND_BYTES)], &mut found.head, &mut 0);
            self.look(&text[floor_border(text, text.len() - AROUND_BYTES)..], &mut found.tail, &mut 0);
        }
        found
    }

    fn look(&self, text: &str, mask: &mut Mask, pairs: &mut u32) {
        if self.words.is_empty() {
            return;
        }
        let mut previous = None;
        for_each_word(text, |_, word| {
            if let Some(place) = self.words.iter().position(|w| w == word) {
                *mask |= 1 << place;
                *pairs += u32::from(previous.is_some_and(|p| self.pairs.contains(&(p, place))));
                previous = Some(place);
            } else if previous.is_some() && !is_stop_word(word) {
                previous = None;
            }
        });
    }

    /// The fewer candidates hold a word, the more it counts.
    fn weights(&self, found: &[Found]) -> Vec<f32> {
        let total = found.len() as f32;
        (0..self.words.len())
            .map(|bit| {
                let holding = found.iter().filter(|f| f.own & (1 << bit) != 0).count() as f32;
                (1.0 + total / (1.0 + holding)).ln()
            })
            .collect()
    }
}
