//! Ranking: from candidates with raw scores to the few lines of a prompt. Pure code: no IO, no model, no store.
//!
//! In this order: [`chunk`] cuts texts for the embedder; [`named_times`] reads dates off a question before the search; [`rank`] orders what
//! the search has found and picks an excerpt of each; [`second_hop_query`] and [`merge_hops`] follow a name from one memory to the
//! next; [`plan_recall`] chooses what fits a token budget and renders it.
//!
//! One setting of [`Weights`] serves every kind of chat. It was chosen on conversations between people (LoCoMo) and between people and
//! assistants (BEAM); a signal stays only if leaving each conversation out in turn still finds it useful.
//!
//! ```
//! use sid_memory::ranking::{Candidate, Candidates, Channels, RankQuery, Shape, rank, render_excerpt};
//! use sid_types::{Role, Timestamp};
//!
//! let said = |id, text, bm25| Candidate {
//!     id, text, speaker: None, role: Some(Role::User), at: Timestamp::UNIX_EPOCH, place: None,
//!     channels: Channels { bm25, ..Channels::default() }, best_chunk: None, neighbours: (None, None),
//! };
//! let found = Candidates {
//!     items: vec![said(1, "The train leaves at nine.", 0.0), said(2, "I love pickles.", 2.1)],
//!     bm25: Shape { mean: 0.1, max: 2.1 }, context_bm25: Shape::default(), dense: Shape::default(),
//! };
//! let ranked = rank(&RankQuery::new("Do I like pickles?", None), &found);
//! assert_eq!(ranked[0].id, 2);
//! assert_eq!(render_excerpt(found.items[ranked[0].index].text, &ranked[0].excerpt), "I love pickles.");
//! ```

mod chunk;
mod coverage;
mod dates;
mod excerpt;
mod hops;
mod input;
mod intent;
mod order;
mod plan;
mod rank;
mod sentences;
#[cfg(feature = "tools")]
mod store;
mod weights;
mod words;

pub use chunk::{CHUNK_BYTES, MOST_CHUNKS, chunk};
pub use dates::{NamedTime, named_times};
pub use excerpt::render_excerpt;
pub use hops::{merge_hops, second_hop_query};
pub use input::{Candidate, Candidates, Channels, RankQuery, Shape};
pub use plan::{RecallPlan, Snippet, plan_recall};
pub use rank::{EXCERPT_BYTES, Ranked, rank, rank_with};
pub use sentences::sentences;
#[cfg(feature = "tools")]
pub use store::snippet;
pub use weights::Weights;
