//! Exact search inside one memory partition: BM25 over stems, and an int8 scan of vectors with a 16-bit rerank.
//!
//! A partition is the memory of one [`Owner`](sid_types::Owner) in one tenant. It is small (an agent's memory of one user), so
//! every search looks at all of it: no approximate index, no training, no parameters, and the mean and the best score of each
//! channel are exact. The in-process store and SQLite both keep one [`PartitionIndex`] per partition in RAM.
//!
//! Texts are not kept: a hit names a record, the store fetches it. Removal leaves a tombstone; the index compacts itself when a
//! quarter of it is dead. After a removal every score is what it would be if the record had never been there.
//!
//! What this is *not*: a ranking. [`Channels`](crate::Channels) are raw scores; `sid-memory` fuses them.
//!
//! ```
//! use sid_store::index::{Document, PartitionIndex};
//! use sid_store::SearchQuery;
//! use sid_types::{Body, ConversationId, Message, NewMessage, Seq, Timestamp};
//!
//! let conversation = ConversationId::new();
//! let mut index = PartitionIndex::new();
//! for (i, text) in ["I love pickled gherkins.", "The train leaves at nine."].iter().enumerate() {
//!     let message = NewMessage::user(*text, Timestamp::UNIX_EPOCH).placed(conversation, Seq(i as u64 + 1), None);
//!     index.insert(&Document::of_message(&message).expect("it has words"));
//! }
//! let hits = index.search(&SearchQuery::new("Who likes a gherkin?"));
//! assert!(hits.items.iter().any(|h| h.channels.bm25 > 0.0));
//! assert_eq!(hits.searched, 2);
//! ```

mod dense;
mod document;
mod documents;
mod lexical;
mod merge;
mod older;
mod outside;
mod partition;
mod terms;
#[cfg(test)]
mod tests;

pub use document::{Document, embedded_text, embedded_text_of_message};
pub use lexical::WordStatistics;
pub use merge::{MergedHits, merge, search_together};
pub use older::{OlderWords, WordPair};
pub use outside::DenseHits;
pub use partition::{IndexHit, IndexHits, PartitionIndex};
pub use terms::terms;
