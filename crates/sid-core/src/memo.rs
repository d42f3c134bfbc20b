//! A counter that remembers: the queue is counted on every turn, and most of it has been counted before.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use parking_lot::Mutex;
use sid_llm::TokenCounter;
use sid_types::Tokens;

/// Entries of 16 bytes; beyond it the table starts anew.
const MOST_KEPT: usize = 65_536;

/// Remembers the counts of an inner counter, which must give the same text the same count for ever (no calibration inside).
pub struct MemoCounter<C> {
    inner: C,
    hasher: RandomState,
    known: Mutex<HashMap<u64, Tokens>>,
}

impl<C: TokenCounter> MemoCounter<C> {
    /// Wraps a counter.
    pub fn new(inner: C) -> Self {
        Self { inner, hasher: RandomState::new(), known: Mutex::new(HashMap::new()) }
    }
}

impl<C: TokenCounter> TokenCounter for MemoCounter<C> {
    fn count(&self, text: &str) -> Tokens {
        // 64 bits over at most 65,536 texts: a collision is less likely than a broken disk, and costs a wrong estimate.
        let key = self.hasher.hash_one(text);
        if let Some(tokens) = self.known.lock().get(&key) {
            return *tokens;
        }
        let tokens = self.inner.count(text);
        let mut known = self.known.lock();
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        known.insert(key, tokens);
        tokens
    }

    fn learn(&self, counted: Tokens, reported: Tokens) {
        self.inner.learn(counted, reported);
    }
}
