//! Paged memory: the FIFO queue, its budget, eviction, summaries, the diary and the ranking of what is recalled.
#![warn(missing_docs)]

pub mod ranking;
