//! Ranking.
mod chunk;
mod dates;
mod input;
mod intent;
mod rank;
mod sentences;
mod weights;
mod words;

pub use chunk::{CHUNK_BYTES, MOST_CHUNKS, chunk};
pub use dates::{NamedTime, named_times};
pub use input::{Candidate, Candidates, Channels, RankQuery, Shape};
pub use rank::{Ranked, rank_with};
pub use sentences::sentences;
pub use weights::Weights;
