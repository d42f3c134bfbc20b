//! From candidates to an order.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use sid_types::Role;

use super::coverage::Coverage;
use super::dates::{NamedTime, named_times};
use super::excerpt::excerpt;
use super::intent::{Intent, Tells, only_asks};
use super::order::{Said, settle};
use super::sentences::floor_border;
use super::{CHUNK_BYTES, Candidate, Candidates, RankQuery, Weights};

/// Texts up to this size go into a prompt whole; of longer ones the best part of this size does.
pub const EXCERPT_BYTES: usize = 350;
/// What the absence of a neighbour counts: a little less than an average one.
const NO_NEIGHBOUR: f32 = -0.2;
/// Signals are read off this much of a text's beginning.
const HEAD_BYTES: usize = 600;

/// The parts of a score that have nothing to do with words, names and dates.
const MEANING: [&str; 6] = ["dense", "length", "role", "question", "self", "instruction"];
/// So many hits at most are promoted for their meaning.
const MEANT: usize = 6;

/// A candidate in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<K> {
    /// The record.
    pub id: K,
    /// Its index in [`Candidates::items`].
    pub index: usize,
    /// Comparable inside one ranking only.
    pub score: f32,
    /// Why: what each signal has added, those that added nothing left out. They sum up to the score.
    pub parts: Vec<(&'static str, f32)>,
    /// The part of the text that a prompt should carry: byte ranges in order. See [`render_excerpt`](super::render_excerpt).
    pub excerpt: Vec<Range<usize>>,
    /// 1 for hits of the query itself, 2 for those that only a second search has found.
    pub hop: u8,
}

/// Ranks candidates, best first, at most [`RankQuery::limit`] of them.
///
/// The score is a weighted sum: the channels on one scale (see [`Shape::scale`](super::Shape::scale)) and the signals of [`Weights`]. Scores are
/// fused, not ranks: reciprocal-rank fusion was worse than its better half on every data set it was measured on. Pure: no IO, no model.
#[must_use]
pub fn rank<K: Copy + Eq + Hash>(query: &RankQuery<'_>, candidates: &Candidates<'_, K>) -> Vec<Ranked<K>> {
    rank_with(&Weights::default(), query, candidates)
}

/// [`rank`] with other weights, for measuring them.
#[must_use]
pub fn rank_with<K: Copy + Eq + Hash>(weights: &Weights, query: &RankQuery<'_>, candidates: &Candidates<'_, K>) -> Vec<Ranked<K>> {
    let items = &candidates.items;
    let by_id: HashMap<K, usize> = items.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
    let coverage = Coverage::of(query.text, items, &by_id);
    let asked = Asked::new(weights, query, candidates);
    let topical: Vec<f32> = items.iter().map(|c| asked.topical(c, candidates).iter().map(|p| p.1).sum()).collect();
    let mut ranked: Vec<Ranked<K>> = items
        .iter()
        .enumerate()
        .map(|(index, c)| {
            let mut parts = asked.topical(c, candidates);
            if c.place.is_some() {
                let of = |id: Option<K>| id.and_then(|id| by_id.get(&id)).map_or(NO_NEIGHBOUR, |n| topical[*n]);
                parts.push(("neighbour", weights.neighbour * of(c.neighbours.0).max(of(c.neighbours.1))));
            }
            parts.push(("coverage", weights.coverage * coverage.around[index]));
            parts.push(("pairs", weights.pair * coverage.pairs[index]));
            parts.extend(asked.signals(c));
            parts.retain(|p| p.1 != 0.0);
            let score = parts.iter().map(|p| p.1).sum();
            Ranked { id: c.id, index, score, parts, excerpt: Vec::new(), hop: 1 }
        })
        .collect();
    let newest_first = |r: &Ranked<K>| std::cmp::Reverse((items[r.index].at, items[r.index].place.map_or(0, |p| p.1.0)));
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| newest_first(a).cmp(&newest_first(b))));
    let mut said = HashMap::new();
    settle_versions(&mut ranked, items, &mut said, true);
    if query.associative {
        promote_by_meaning(&mut ranked);
        settle_versions(&mut ranked, items, &mut said, false);
    }
    ranked.truncate(query.limit);
    for r in &mut ranked {
        let c = &items[r.index];
        r.excerpt = excerpt(c.text, &asked.intent.words, c.best_chunk.as_ref(), query.excerpt_bytes);
    }
    ranked
}

/// Makes every third hit the next best by meaning, down to the [`MEANT`]th of those.
fn promote_by_meaning<K: Copy + Eq + Hash>(ranked: &mut [Ranked<K>]) {
    let meaning = |r: &Ranked<K>| r.parts.iter().filter(|(name, _)| MEANING.contains(name)).map(|(_, value)| value).sum::<f32>();
    // Records without a vector mean nothing yet, and what was said again later stays where it was put.
    let may_rise = |r: &Ranked<K>| {
        let part = |name: &str| r.parts.iter().find(|p| p.0 == name).map(|p| p.1);
        part("dense").is_some() && part("version").is_none_or(|v| v >= 0.0)
    };
    let mut meant: Vec<(f32, K)> = ranked.iter().filter(|r| may_rise(r)).map(|r| (meaning(r), r.id)).collect();
    meant.sort_by(|a, b| b.0.total_cmp(&a.0));
    let meant: Vec<K> = meant.into_iter().take(MEANT).map(|(_, id)| id).collect();
    promote(ranked, &meant, 3, "meaning");
}

/// Sees to it that the first of `ids` is the third hit at the latest, and each further one at most `step` places behind. Their scores rise
/// to just below that of the hit before them, or to that of the hit behind them if that is more; a stable sort keeps their places.
pub(super) fn promote<K: Copy + Eq>(ranked: &mut [Ranked<K>], ids: &[K], step: usize, part: &'static str) {
    for (i, id) in ids.iter().enumerate() {
        let place = step * i + 2;
        let Some(from) = ranked.iter().position(|r| r.id == *id) else { continue };
        if from > place {
            // Not below what it overtakes: those before it may be as good as those behind it.
            let score = (ranked[place - 1].score - 1e-4).max(ranked[place].score);
            let promoted = &mut ranked[from];
            promoted.parts.push((part, score - promoted.score));
            promoted.score = score;
            ranked[place..=from].rotate_right(1);
        }
    }
}

/// `known` remembers the texts as they are compared, by index.
fn settle_versions<K>(ranked: &mut [Ranked<K>], items: &[Candidate<'_, K>], known: &mut HashMap<usize, Said>, drop_duplicates: bool) {
    let compared = || ranked.iter().take(super::order::COMPARED).map(|r| r.index);
    for index in compared() {
        let c = &items[index];
        known.entry(index).or_insert_with(|| Said::new(c.text, c.at, c.place.map_or(0, |p| p.1.0)));
    }
    let said: Vec<&Said> = compared().map(|index| &known[&index]).collect();
    let mut scores: Vec<f32> = ranked.iter().map(|r| r.score).collect();
    settle(&said, &mut scores, drop_duplicates);
    for (r, score) in ranked.iter_mut().zip(scores) {
        if score != r.score {
            r.parts.push(("version", score - r.score));
            r.score = score;
        }
    }
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// The query, read once.
struct Asked<'w, 'q> {
    weights: &'w Weights,
    intent: Intent,
    speaker: Option<&'q str>,
    told: Vec<NamedTime>,
    /// Seconds of the oldest candidate and from there to the newest.
    oldest: i64,
    age: i64,
}

impl<'w, 'q> Asked<'w, 'q> {
    fn new<K>(weights: &'w Weights, query: &RankQuery<'_>, candidates: &Candidates<'q, K>) -> Self {
        let seconds = || candidates.items.iter().map(|c| c.at.as_second());
        let oldest = seconds().min().unwrap_or(0);
        Self {
            weights,
            intent: Intent::of(query.text),
            speaker: named_speaker(query.text, candidates),
            told: named_times(query.text, query.now.as_ref()).into_iter().map(NamedTime::told).collect(),
            oldest,
            age: (seconds().max().unwrap_or(0) - oldest).max(1),
        }
    }

    /// What makes a record a match, and its neighbours likely ones.
    fn topical<K>(&self, c: &Candidate<'_, K>, candidates: &Candidates<'_, K>) -> Vec<(&'static str, f32)> {
        let w = self.weights;
        let has_vector = c.channels.dense != 0.0;
        vec![
            ("bm25", w.bm25 * candidates.bm25.scale(c.channels.bm25)),
            ("context bm25", w.context_bm25 * candidates.context_bm25.scale(c.channels.context_bm25)),
            // A record that has no vector yet counts as an average one.
            ("dense", if has_vector { w.dense * candidates.dense.scale(c.channels.dense) } else { 0.0 }),
            ("speaker", if self.speaker.is_some() && c.speaker == self.speaker { w.speaker } else { 0.0 }),
            ("time", if self.told.iter().any(|t| t.contains(c.at)) { w.time } else { 0.0 }),
        ]
    }

    /// What makes a record the kind that holds answers.
    fn signals<K>(&self, c: &Candidate<'_, K>) -> Vec<(&'static str, f32)> {
        let w = self.weights;
        let tells = Tells::of(&c.text[..floor_border(c.text, HEAD_BYTES)], &self.intent);
        let when = |holds: bool, weight: f32| if holds { weight } else { 0.0 };
        // Between named people, roles say nothing about who knows what.
        let is_chat = c.speaker.is_none();
        let age = (c.at.as_second() - self.oldest) as f32 / self.age as f32;
        vec![
            ("length", -w.length * (c.text.len() as f32 / CHUNK_BYTES as f32).max(1.0).ln()),
            ("role", when(is_chat && c.role == Some(Role::User) && !self.intent.assistant, w.user)),
            ("question", -when(only_asks(c.text), w.question)),
            ("tells when", when(tells.time, w.when)),
            ("number", when(tells.number, w.number)),
            ("self", when(tells.of_self, w.self_told)),
            ("instruction", when(c.role != Some(Role::Assistant) && tells.rule, w.instruction)),
            ("recent", when(self.intent.recent, w.recent * age)),
        ]
    }
}

/// The one speaker whose name is in the text; `None` if it names nobody, or several.
fn named_speaker<'a, K>(text: &str, candidates: &Candidates<'a, K>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let mut named: Vec<&'a str> = Vec::new();
    for speaker in candidates.items.iter().filter_map(|c| c.speaker) {
        // "Caroline Smith" is named by "Caroline".
        let first = speaker.split_whitespace().next().unwrap_or_default().to_lowercase();
        if !named.contains(&speaker) && words.contains(&first.as_str()) {
            named.push(speaker);
        }
    }
    (named.len() == 1).then(|| named[0])
}

#[cfg(test)]
mod tests;
