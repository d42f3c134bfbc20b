#![doc = include_str!("../docs.md")]
#![warn(missing_docs)]

mod approvals;
mod archival;
mod audit;
mod backend;
mod blocks;
mod codec;
mod config;
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
mod full_text;
mod generations;
mod images;
mod items;
mod journal;
mod listed;
mod maintenance;
mod messages;
mod paging;
mod partitions;
mod recall;
mod records;
mod schema;
mod search;
mod state;
mod tasks;
mod timers;
mod toolsets;
mod usage;
mod visibility;
mod webhooks;
mod writer;

pub use backend::SqliteStore;
pub use config::SqliteConfig;
