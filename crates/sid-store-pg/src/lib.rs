#![doc = include_str!("../docs.md")]
#![warn(missing_docs)]

mod archival;
mod backend;
mod blocks;
mod call;
mod codec;
mod config;
mod deep;
mod diary;
mod directory;
mod duties;
mod embedding;
mod erase;
mod error;
mod events;
mod generations;
mod glance;
mod journal;
mod known;
mod maintenance;
mod outbox;
mod paging;
mod partitions;
mod payload;
mod queues;
mod recall;
mod recent;
mod records;
mod rows;
mod schema;
mod search;
mod state;
mod tx;
mod usage;
mod vectors;
mod visibility;
mod words;

pub use backend::PgStore;
pub use config::PgConfig;
pub use outbox::Outboxed;
pub use vectors::{Drift, Indexer, PgVectors, VectorStatus};
