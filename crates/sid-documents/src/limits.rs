//! What reading one document may use up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most bytes of a document. Default 20 MiB.
    pub bytes: u64,
    /// Most characters of its text. Default 10 million.
    pub characters: u64,
    /// Most pages. Default 3,000.
    pub pages: u32,
    /// Most parts: headings make parts, too, however little stands under them. Default 10,000.
    pub parts: u32,
    /// Characters of a part, about: a part ends where a paragraph, a line, a sentence or a word does. Default 1,500.
    pub part_characters: usize,
    /// Longest time. Default 60 s.
    pub time: Duration,
    /// Most memory of a process of its own, all that it maps included, in bytes. Default 2 GiB.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 20 << 20,
            characters: 10_000_000,
            pages: 3_000,
            parts: 10_000,
            part_characters: 1_500,
            time: Duration::from_secs(60),
            memory: 2 << 30,
        }
    }
}
