//! What happened, line by line.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The trace of one simulation. Ids are random, so they are named by their first appearance: `run#3`.
pub(super) struct Trace {
    began: Instant,
    lines: Mutex<Vec<String>>,
    names: Mutex<HashMap<String, usize>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), lines: Mutex::default(), names: Mutex::default() }
    }

    /// Adds a line with the time and who it is about.
    pub(super) fn say(&self, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>7} {who:<9} {what}", self.millis());
        self.lines.lock().push(line);
    }

    /// Milliseconds since the beginning.
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An id's name in this trace.
    pub(super) fn name(&self, id: &impl fmt::Display) -> String {
        let id = id.to_string();
        let kind = id.split('_').next().unwrap_or_default().to_owned();
        let mut names = self.names.lock();
        let next = names.len() + 1;
        format!("{kind}#{}", names.entry(id).or_insert(next))
    }

    /// A text with its ids named.
    pub(super) fn named(&self, text: &str) -> String {
        let is_id =
            |word: &str| word.split_once('_').is_some_and(|(kind, id)| id.len() == 26 && kind.chars().all(|c| c.is_ascii_lowercase()));
        let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .map(|piece| {
                let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                if is_id(word) { format!("{}{}", self.name(&word), &piece[word.len()..]) } else { piece.to_owned() }
            })
            .collect()
    }

    /// The lines and their hash.
    pub(super) fn end(&self) -> (Vec<String>, u64) {
        let lines = std::mem::take(&mut *self.lines.lock());
        // Made with fixed keys, so the same in every process.
        let mut hasher = DefaultHasher::new();
        lines.hash(&mut hasher);
        (lines, hasher.finish())
    }
}
