#![doc = include_str!("../docs.md")]
#![warn(missing_docs)]

mod config;
mod error;
mod filter;
mod index;
mod point;

pub use config::QdrantConfig;
pub use index::QdrantIndex;
