#![doc = include_str!("../docs.md")]
#![warn(missing_docs)]

mod ahead;
mod approvals;
mod archival;
mod audit;
mod backend;
mod begin;
mod blocks;
mod call;
mod codec;
mod config;
mod connections;
mod deep;
mod diary;
mod directory;
mod documents;
mod duties;
mod egos;
mod embedding;
mod erase;
mod error;
mod events;
mod generations;
mod glance;
mod images;
mod items;
mod journal;
mod known;
mod listed;
mod looked;
mod maintenance;
#[cfg_attr(
    not(feature = "next-schema"),
    expect(unreachable_pub, dead_code, reason = "tests alone see steps, and no release has yet had steps of each kind")
)]
mod migrate;
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
mod statistics;
mod tasks;
mod timers;
mod toolsets;
mod tx;
mod usage;
mod vectors;
mod visibility;
mod webhooks;
mod words;
mod writes;

pub use backend::PgStore;
pub use config::PgConfig;
#[cfg(feature = "next-schema")]
pub use migrate::Step;
pub use outbox::Outboxed;
pub use vectors::{Drift, Indexer, PgVectors, VectorStatus};
