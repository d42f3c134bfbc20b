//! Recall, rank and what fits a budget.

use std::collections::HashSet;

/// Bytes / 4, rounded up, at least 1: independent of any model on purpose.
pub(crate) fn tokens(text: &str) -> usize {
    text.len().div_ceil(4).max(1)
}

const NAMES: [&str; 11] = ["R@1", "R@5", "R@10", "R@20", "hit@10", "all@10", "NDCG10", "MRR", "R@500t", "R@1000t", "R@2000t"];

/// The measures of one question, in the order of [`NAMES`]. `hits`: turn and cost, best first.
pub(crate) fn score(hits: &[(usize, usize)], evidence: &HashSet<usize>) -> [f64; 11] {
    let recall = |k: usize| hits.iter().take(k).filter(|(t, _)| evidence.contains(t)).count() as f64 / evidence.len() as f64;
    let rank = hits.iter().position(|(t, _)| evidence.contains(t));
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let gained: f64 = hits.iter().take(10).enumerate().filter(|(_, (t, _))| evidence.contains(t)).map(|(r, _)| gain(r)).sum();
    let ideal: f64 = (0..evidence.len().min(10)).map(gain).sum();
    [
        recall(1),
        recall(5),
        recall(10),
        recall(20),
        f64::from(u8::from(recall(10) > 0.0)),
        f64::from(u8::from(recall(10) >= 1.0)),
        gained / ideal,
        rank.map_or(0.0, |r| 1.0 / (r as f64 + 1.0)),
        within(hits, evidence, 500),
        within(hits, evidence, 1_000),
        within(hits, evidence, 2_000),
    ]
}

/// Recall of what fits: hits in order, up to the first that no longer does.
fn within(hits: &[(usize, usize)], evidence: &HashSet<usize>, budget: usize) -> f64 {
    let mut used = 0;
    let fits = hits.iter().take_while(|(_, cost)| {
        used += cost;
        used <= budget
    });
    fits.filter(|(t, _)| evidence.contains(t)).count() as f64 / evidence.len() as f64
}

/// Sums over questions.
#[derive(Default)]
pub(crate) struct Sums {
    questions: usize,
    sums: [f64; 11],
}

impl Sums {
    pub(crate) fn add(&mut self, score: &[f64; 11]) {
        self.questions += 1;
        for (sum, value) in self.sums.iter_mut().zip(score) {
            *sum += value;
        }
    }

    pub(crate) fn heading() -> String {
        NAMES.iter().fold(format!("{:>5}", "n"), |row, name| format!("{row} {name:>7}"))
    }

    pub(crate) fn row(&self) -> String {
        let mean = |sum: &f64| sum / self.questions.max(1) as f64;
        self.sums.iter().fold(format!("{:>5}", self.questions), |row, sum| format!("{row} {:>7.3}", mean(sum)))
    }
}
