//! A second search with what the first one has found: `niece` leads to `Saoirse`, and `Saoirse` to the axolotls.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::rank::promote;
use super::words::{all_words, is_stop_word};
use super::{Candidates, RankQuery, Ranked, render_excerpt};

/// So many of the best hits are read for names.
const READ: usize = 4;
/// A hit is read if it scores at least this share of the best.
const NEAR_BEST: f32 = 0.65;
/// Most words of a second query.
const MOST_WORDS: usize = 6;
/// What a second-hop score counts against one of the first hop.
const SECOND_HOP: f32 = 0.6;
/// Hits that score at least this share of the second search's best are followed up: so many of them, every fourth hit one.
const FOLLOWED_SHARE: f32 = 0.75;
const FOLLOWED: usize = 3;
const FOLLOWED_STEP: usize = 4;
/// Capitalised in English, and no names.
const CALENDAR: &str = "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september \
october november december";

/// The text of a second search: names, then rare words, that stand in the best hits but not in the query. `None` if they have none.
///
/// Shape: at most six words, in order of the hits. Speakers' names are left out: they are in half of the records.
#[must_use]
pub fn second_hop_query<K: Copy + Eq + Hash>(
    query: &RankQuery<'_>,
    candidates: &Candidates<'_, K>,
    ranked: &[Ranked<K>],
) -> Option<String> {
    let mut known: HashSet<String> = [query.text, CALENDAR].into_iter().flat_map(all_words).map(|w| w.stem).collect();
    for c in &candidates.items {
        known.extend(c.speaker.into_iter().flat_map(all_words).map(|w| w.stem));
    }
    let best = ranked.first()?.score;
    let read: Vec<String> = ranked
        .iter()
        .take(READ)
        .filter(|r| r.score > 0.0 && r.score >= best * NEAR_BEST)
        .map(|r| render_excerpt(candidates.items[r.index].text, &r.excerpt))
        .collect();
    let mut picked: Vec<String> = Vec::new();
    for text in &read {
        for name in names(text) {
            let stems: Vec<String> = all_words(&name).into_iter().map(|w| w.stem).collect();
            if picked.len() < MOST_WORDS && stems.iter().any(|s| !known.contains(s)) {
                known.extend(stems);
                picked.push(name);
            }
        }
    }
    if picked.is_empty() {
        let counts = document_counts(candidates, ranked);
        let mut rare: Vec<(usize, String)> = Vec::new();
        for text in read.iter().take(1) {
            for word in all_words(text) {
                let count = counts.get(&word.stem).copied().unwrap_or(1);
                if word.stem.len() > 3 && !is_stop_word(&word.stem) && count <= 3 && known.insert(word.stem.clone()) {
                    rare.push((count, text[word.start..word.end].to_owned()));
                }
            }
        }
        rare.sort_by_key(|(count, _)| *count);
        picked.extend(rare.into_iter().take(MOST_WORDS).map(|(_, word)| word));
    }
    (!picked.is_empty()).then(|| picked.join(" "))
}

/// In how many of the best hits each word stands.
fn document_counts<K>(candidates: &Candidates<'_, K>, ranked: &[Ranked<K>]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for r in ranked.iter().take(50) {
        let words: HashSet<String> =
            all_words(&render_excerpt(candidates.items[r.index].text, &r.excerpt)).into_iter().map(|w| w.stem).collect();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// Runs of capitalised words that do not only begin a sentence.
fn names(text: &str) -> Vec<String> {
    let words = all_words(text);
    let raw = |i: usize| &text[words[i].start..words[i].end];
    let is_capital = |i: usize| {
        raw(i).chars().next().is_some_and(char::is_uppercase)
            && raw(i) != "I"
            && !raw(i).starts_with("I'")
            && !raw(i).starts_with("I\u{2019}")
    };
    let begins_sentence = |i: usize| i == 0 || text[words[i - 1].end..words[i].start].contains(['.', '!', '?', ':', '…', '"', '\n']);
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < words.len() {
        let start = i;
        while i < words.len() && is_capital(i) && (i == start || &text[words[i - 1].end..words[i].start] == " ") {
            i += 1;
        }
        // A lone capitalised word at the start of a sentence tells nothing; with more of them behind it, it may be part of a name.
        let from =
            if i > start && begins_sentence(start) && (i - start == 1 || is_stop_word(&words[start].stem)) { start + 1 } else { start };
        if from < i && !(i - from == 1 && is_stop_word(&words[from].stem)) {
            let name = text[words[from].start..words[i - 1].end].trim_end_matches("'s").trim_end_matches("\u{2019}s").to_owned();
            if !out.contains(&name) {
                out.push(name);
            }
        }
        i = i.max(start + 1);
    }
    out
}

/// Puts the hits of both searches into one order. A record that both have found keeps its score, or gets a share of the second if that
/// is more. What only the second has found gets that share. The best three of the second search stand among the first hits all the same:
/// often nothing but the name leads to them.
///
/// [`Ranked::index`] of hits that only the second search has found counts its candidates; [`Ranked::hop`] tells which.
#[must_use]
pub fn merge_hops<K: Copy + Eq + Hash>(first: Vec<Ranked<K>>, second: Vec<Ranked<K>>) -> Vec<Ranked<K>> {
    let mut merged = first;
    let strong = second.first().map_or(0.0, |best| best.score * FOLLOWED_SHARE);
    let followed: Vec<K> = second.iter().take_while(|r| r.score >= strong).map(|r| r.id).collect();
    let places: HashMap<K, usize> = merged.iter().enumerate().map(|(i, r)| (r.id, i)).collect();
    for mut hit in second {
        let gain = SECOND_HOP * hit.score.max(0.0);
        match places.get(&hit.id) {
            Some(i) => {
                let first = &mut merged[*i];
                let score = first.score.max(gain);
                first.parts.push(("second hop", score - first.score));
                first.score = score;
            }
            None => {
                hit.parts.push(("second hop", gain - hit.score));
                hit.score = gain;
                hit.hop = 2;
                merged.push(hit);
            }
        }
    }
    merged.sort_by(|a, b| b.score.total_cmp(&a.score));
    let deep: Vec<K> = merged.iter().skip(FOLLOWED_STEP).map(|r| r.id).collect();
    let followed: Vec<K> = followed.into_iter().filter(|id| deep.contains(id)).take(FOLLOWED).collect();
    promote(&mut merged, &followed, FOLLOWED_STEP, "followed");
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_table() {
        let check = |text: &str, expected: &[&str]| assert_eq!(names(text), expected, "{text}");
        check("My niece is called Saoirse.", &["Saoirse"]);
        check("Then he saw the Copper Otters in Porto. Nice!", &["Copper Otters", "Porto"]);
        check("I'm fine. I think so. Yes.", &[]);
        check("The Copper Otters are great", &["Copper Otters"]);
        check("We met Saoirse's teacher, Mr Brown", &["Saoirse", "Mr Brown"]);
    }
}
