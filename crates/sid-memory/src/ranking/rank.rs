//! From candidates to an order.

use std::collections::HashMap;
use std::hash::Hash;

use sid_types::Role;

use super::dates::named_times;
use super::intent::{Intent, instructs, only_asks, tells_number, tells_of_self, tells_time};
use super::{Candidate, Candidates, RankQuery, Weights};

/// A candidate in its place.
#[derive(Debug, Clone)]
pub struct Ranked<K> {
    /// The record.
    pub id: K,
    /// Its index in [`Candidates::items`].
    pub index: usize,
    /// Comparable inside one ranking only.
    pub score: f32,
}

/// Ranks.
pub fn rank_with<K: Copy + Eq + Hash>(weights: &Weights, query: &RankQuery<'_>, candidates: &Candidates<'_, K>) -> Vec<Ranked<K>> {
    let w = weights;
    let intent = Intent::of(query.text);
    let items = &candidates.items;
    let by_id: HashMap<K, usize> = items.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
    let speaker = named_speaker(query.text, candidates);
    let times: Vec<_> = named_times(query.text, query.now.as_ref()).into_iter().map(|t| t.told()).collect();
    let (oldest, newest) = items.iter().fold((i64::MAX, i64::MIN), |(a, b), c| (a.min(c.at.as_second()), b.max(c.at.as_second())));
    let base: Vec<f32> = items
        .iter()
        .map(|c| {
            let mut s =
                w.bm25 * candidates.bm25.scale(c.channels.bm25) + w.context_bm25 * candidates.context_bm25.scale(c.channels.context_bm25);
            if c.channels.dense != 0.0 {
                s += w.dense * candidates.dense.scale(c.channels.dense);
            }
            if speaker.is_some() && c.speaker == speaker {
                s += w.speaker;
            }
            if times.iter().any(|t| t.contains(c.at)) {
                s += w.time;
            }
            s
        })
        .collect();
    let mut ranked: Vec<Ranked<K>> = items
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let mut s = base[i];
            let of = |id: Option<K>| id.and_then(|id| by_id.get(&id)).map_or(-0.2, |n| base[*n]);
            if c.place.is_some() {
                s += w.neighbour * of(c.neighbours.0).max(of(c.neighbours.1));
            }
            let is_chat = c.speaker.is_none();
            if is_chat && c.role == Some(Role::User) && !intent.assistant {
                s += w.user;
            }
            if is_chat && c.role == Some(Role::Assistant) && intent.assistant {
                s += w.assistant;
            }
            if only_asks(c.text) {
                s -= w.question;
            }
            if intent.time && tells_time(head(c)) {
                s += w.when;
            }
            if intent.number && tells_number(head(c)) {
                s += w.number;
            }
            if tells_of_self(head(c)) {
                s += w.self_told;
            }
            if c.role != Some(Role::Assistant) && instructs(head(c)) {
                s += w.instruction;
            }
            if intent.recent {
                s += w.recent * (c.at.as_second() - oldest) as f32 / (newest - oldest).max(1) as f32;
            }
            Ranked { id: c.id, index: i, score: s }
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(items[b.index].at.cmp(&items[a.index].at)));
    ranked
}

fn head<'a, K>(c: &Candidate<'a, K>) -> &'a str {
    &c.text[..super::sentences::floor_border(c.text, 600)]
}

fn named_speaker<'a, K>(text: &str, candidates: &Candidates<'a, K>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let mut named: Vec<&'a str> = Vec::new();
    for c in &candidates.items {
        if let Some(s) = c.speaker
            && !named.contains(&s)
            && words.contains(&s.to_lowercase().as_str())
        {
            named.push(s);
        }
    }
    (named.len() == 1).then(|| named[0])
}
