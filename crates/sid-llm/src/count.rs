//! Counting tokens: cheaply and on the safe side, corrected by what the engine reports.

use std::sync::atomic::{AtomicU32, Ordering};

use sid_types::Tokens;

/// Counts the tokens of a text. Synchronous and cheap (microseconds for a message): prompt assembly calls it often.
pub trait TokenCounter: Send + Sync {
    /// The size of `text` alone. Never below the true size by more than a few per cent.
    fn count(&self, text: &str) -> Tokens;

    /// Learns from the engine: a prompt that was counted as `counted` was reported as `reported`. Default: learns nothing.
    fn learn(&self, counted: Tokens, reported: Tokens) {
        let _ = (counted, reported);
    }
}

/// Four bytes are a token: needs no vocabulary.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByteCounter;

impl TokenCounter for ByteCounter {
    fn count(&self, text: &str) -> Tokens {
        Tokens(u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX))
    }
}

/// Corrects another counter by a factor learnt from the engine's reports.
///
/// The factor follows the highest recent ratio quickly and falls slowly, so that it errs on the large side. It stays in 0.5..=3.
#[derive(Debug)]
pub struct CalibratedCounter<C> {
    inner: C,
    /// The factor in thousandths.
    factor: AtomicU32,
}

impl<C: TokenCounter> CalibratedCounter<C> {
    /// Starts with a factor of 1.
    pub const fn new(inner: C) -> Self {
        Self { inner, factor: AtomicU32::new(1_000) }
    }

    /// The present factor.
    pub fn factor(&self) -> f32 {
        self.factor.load(Ordering::Relaxed) as f32 / 1_000.0
    }
}

impl<C: TokenCounter> TokenCounter for CalibratedCounter<C> {
    fn count(&self, text: &str) -> Tokens {
        let raw = u64::from(self.inner.count(text).0);
        let factor = u64::from(self.factor.load(Ordering::Relaxed));
        Tokens(u32::try_from((raw * factor).div_ceil(1_000)).unwrap_or(u32::MAX))
    }

    fn learn(&self, counted: Tokens, reported: Tokens) {
        // Small prompts are mostly template: they would teach a wrong factor.
        if counted.0 < 200 || reported.0 == 0 {
            return;
        }
        let old = self.factor.load(Ordering::Relaxed);
        let seen = u64::from(old) * u64::from(reported.0) / u64::from(counted.0);
        let seen = u32::try_from(seen).unwrap_or(3_000).clamp(500, 3_000);
        let new = if seen > old { seen } else { (old * 9 + seen).div_ceil(10) };
        self.factor.store(new, Ordering::Relaxed);
    }
}
