#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod budget;
mod diary;
mod eviction;
#[cfg(feature = "tools")]
pub mod facts;
mod queue;
pub mod ranking;
#[cfg(feature = "tools")]
pub mod recall;
pub mod render;
#[cfg(feature = "tools")]
mod summarizer;
mod summary;
mod surplus;
mod text;
#[cfg(feature = "tools")]
pub mod tools;
mod view;

pub use budget::{Budget, HeadSize, Pressure, TOOL_IMPORTANCE, fit_specs, spec_tokens};
pub use diary::{DAYS_SHOWN, MONTHS_SHOWN, WEEKS_SHOWN, day_task, diary_segment, message_ranges, page_limit, pages_to_show, upper_task};
pub use eviction::{EvictionPlan, plan_eviction, plan_half, pressure};
pub use queue::{FifoQueue, Item};
#[cfg(feature = "tools")]
pub use summarizer::ModelSummarizer;
pub use summary::{
    FloorSummarizer, SourceLine, SummarizeError, Summarizer, SummaryKind, SummaryPrompt, SummaryTask, floor_summary, page_name,
};
pub use surplus::{Surplus, surplus};
pub use text::{CALL_OVERHEAD, Count, MESSAGE_OVERHEAD, count_bytes, cut_to, size};
pub use view::{NO_CLIENT_ANSWER, OUTCOME_UNKNOWN, View, ViewMessage, valid_view};
