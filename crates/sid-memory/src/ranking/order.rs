//! The order among records that say the same thing: duplicates make room, and a newer value never stands behind the one it replaces.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use sid_types::Timestamp;

use super::words::{for_each_word, is_stop_word};

/// So many of the best are compared with each other.
pub(super) const COMPARED: usize = 60;
/// Shared words, as a share of all words of both, from which two texts say the same.
const DUPLICATE: f32 = 0.85;
/// ... and from which one may be a newer version of the other.
const VERSION: f32 = 0.5;
/// What an older duplicate loses.
const DUPLICATE_LOSS: f32 = 0.6;

/// A text as it is compared.
pub(super) struct Said {
    at: (Timestamp, u64),
    /// Hashes of its content words, sorted.
    words: Vec<u64>,
    /// One bit for each of them.
    marks: u128,
    /// Of its numbers and names, which are what changes when a value changes.
    values: Vec<u64>,
}

impl Said {
    /// `seq` breaks ties between records of the same moment. Only the beginning of long texts is compared.
    pub(super) fn new(text: &str, at: Timestamp, seq: u64) -> Self {
        let text = &text[..super::sentences::floor_border(text, 600)];
        let mut said = Self { at: (at, seq), words: Vec::new(), marks: 0, values: Vec::new() };
        let mut starts_sentence = true;
        for_each_word(text, |place, stem| {
            let raw = &text[place.clone()];
            let is_number = raw.bytes().any(|b| b.is_ascii_digit());
            let is_name = !starts_sentence && raw.chars().next().is_some_and(char::is_uppercase) && raw.len() > 1;
            starts_sentence = text[place.end..].trim_start().starts_with(['.', '!', '?']);
            let hash = hash(stem);
            if is_number || is_name {
                said.values.push(hash);
            }
            if !is_stop_word(stem) {
                said.words.push(hash);
                said.marks |= 1 << (hash % 128);
            }
        });
        for hashes in [&mut said.words, &mut said.values] {
            hashes.sort_unstable();
            hashes.dedup();
        }
        said
    }

    /// Shared words as a share of all words of both; 0 where a glance at the marks tells that it is below [`VERSION`].
    fn likeness(&self, other: &Self) -> f32 {
        // Each mark of one that the other does not have is a word, at least, that they do not share.
        let unshared = (self.marks & !other.marks).count_ones() as usize;
        let most = self.words.len() - unshared;
        if (most as f32) < VERSION * (self.words.len() + other.words.len() - most) as f32 {
            return 0.0;
        }
        let shared = shared(&self.words, &other.words) as f32;
        let all = self.words.len() as f32 + other.words.len() as f32 - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

fn hash(word: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    hasher.finish()
}

/// How many members two sorted lists have in common.
fn shared(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, count) = (i + 1, j + 1, count + 1),
        }
    }
    count
}

/// Changes the scores of the best; `scores` is in order, best first.
///
/// - Of texts that say the same, the newest gets the best score among them, and the others lose some (only with `drop_duplicates`,
///   which is for the first time that a list is settled).
/// - Of two versions with other values (numbers, names), the newer one scores at least as much as the older one.
pub(super) fn settle(said: &[&Said], scores: &mut [f32], drop_duplicates: bool) {
    let n = said.len().min(scores.len()).min(COMPARED);
    let mut is_duplicate = vec![false; n];
    for a in 0..n {
        if said[a].words.len() < 3 {
            continue;
        }
        for b in a + 1..n {
            if is_duplicate[a] || is_duplicate[b] || said[b].words.len() < 3 {
                continue;
            }
            let likeness = said[a].likeness(said[b]);
            let (newer, older) = if said[a].at >= said[b].at { (a, b) } else { (b, a) };
            if likeness >= DUPLICATE && said[a].values == said[b].values {
                if drop_duplicates {
                    scores[newer] = scores[newer].max(scores[older]);
                    scores[older] -= DUPLICATE_LOSS;
                }
                is_duplicate[older] = true;
            } else if newer == b && likeness >= VERSION && said[a].values != said[b].values {
                scores[b] = scores[b].max(scores[a] + 1e-4);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(texts: &[&str], scores: &[f32]) -> Vec<f32> {
        let said: Vec<Said> =
            texts.iter().enumerate().map(|(i, t)| Said::new(t, Timestamp::from_second(i as i64).expect("in range"), 0)).collect();
        let mut scores = scores.to_vec();
        settle(&said.iter().collect::<Vec<_>>(), &mut scores, true);
        scores
    }

    #[test]
    fn of_duplicates_the_newest_stays() {
        let text = "My locker code is 4471 at the gym";
        let scores = settled(&[text, text, text], &[1.0, 0.9, 0.8]);
        assert_eq!(scores[2], 1.0);
        assert!(scores[0] < 0.5 && scores[1] < 0.5, "{scores:?}");
    }

    #[test]
    fn a_newer_value_is_never_behind() {
        let scores = settled(&["My locker code is 4471 at the gym", "My locker code at the gym is now 9020"], &[1.0, 0.2]);
        assert!(scores[1] > scores[0] && scores[0] == 1.0, "both stay: {scores:?}");
        let scores = settled(&["We moved to Berlin with the cats", "We moved to Porto with the cats"], &[1.0, 0.2]);
        assert!(scores[1] > scores[0]);
    }

    #[test]
    fn different_things_are_left_alone() {
        let scores = [1.0, 0.5, 0.2];
        assert_eq!(settled(&["I love pickles on bread", "The train leaves at nine", "ok"], &scores), scores);
        assert_eq!(settled(&["Yes", "Yes", "Yes"], &scores), scores);
    }
}
