#![doc = include_str!("../README.md")]

mod active;
mod background;
mod budget;
mod compaction;
mod config;
mod context;
mod diary;
mod driver;
mod duty;
mod embedders;
mod engine;
mod error;
mod machine;
mod memo;
mod metrics;
mod models;
mod prepare;
mod prompt;
mod provider;
mod recall;
mod search;
mod tail;
mod tool_call;

pub use active::RunEnd;
pub use config::EngineConfig;
pub use context::{ContextOf, PromptView, SegmentView};
pub use engine::{Engine, EngineBuilder, GenerationReport, IndexReport, Submit, Submitted};
pub use error::CoreError;
pub use machine::{Next, RunMachine, StepFacts, ToCall};
pub use memo::MemoCounter;
pub use models::{ModelEntry, Models};
pub use prompt::{PrefixParts, assemble, render_prefix};
pub use provider::{GivenTools, ToolProvider};
pub use search::{SearchHit, SearchRequest, SearchResponse};
pub use tail::{Tail, clock_line};
