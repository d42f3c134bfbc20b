//! Facts: short statements that are drawn from what a user said, so that they are found in few tokens and the newest one wins.
//!
//! A model proposes, pure code decides. A statement is kept only when what the user said bears it out ([`is_borne_out`]), and one that is
//! stored gives way only to a statement about the same thing ([`standing`]). Nothing but users' own messages is read: what was recalled, what
//! an agent answered and what a tool brought are never drawn from again.

mod compare;
mod extract;
mod ground;

pub use compare::{Comparison, Standing, compare_prompt, compare_schema, is_repetition, read_comparison, standing};
pub use extract::{FactPrompt, MOST_STATEMENTS, Said, Statement, extract_prompt, extract_schema, read_statements};
pub use ground::is_borne_out;

use std::collections::BTreeSet;

/// The tag of passages that are drawn from what was said.
pub const FACT: &str = "fact";
/// The tag of passages that a newer one has taken the place of.
pub const SUPERSEDED: &str = "superseded";
/// How their texts begin: then follow the day until which they were true, and `) `.
pub const UNTIL: &str = "(Until ";
/// Where such passages come from, as [`Provenance::channel`](sid_types::Provenance) says it.
pub const CONSOLIDATION: &str = "consolidation";

/// Words for whoever speaks: they tell nothing about what a statement is about.
const SPEAKER: [&str; 7] = ["user", "human", "name", "call", "say", "said", "tell"];

/// What a text is about: its terms, but for those that stand for the speaker.
fn topic(text: &str) -> BTreeSet<String> {
    sid_store::index::terms(text).into_iter().filter(|t| !SPEAKER.contains(&t.as_str())).collect()
}

/// The first JSON object in a model's answer, whatever stands around it.
fn object(answer: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let start = answer.find('{')?;
    answer.rmatch_indices('}').find_map(|(end, _)| serde_json::from_str(answer.get(start..=end)?).ok())
}
