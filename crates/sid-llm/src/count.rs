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
/// Reports of prompts that were counted with the factor before the last jump, as many calls at once bring them, teach nothing new.
#[derive(Debug)]
pub struct CalibratedCounter<C> {
    inner: C,
    /// The factor in thousandths.
    factor: AtomicU32,
    /// The factor before the last jump.
    before: AtomicU32,
}

impl<C: TokenCounter> CalibratedCounter<C> {
    /// Starts with a factor of 1.
    pub const fn new(inner: C) -> Self {
        Self { inner, factor: AtomicU32::new(1_000), before: AtomicU32::new(1_000) }
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
        let seen_with = |factor: u32| {
            let seen = (u64::from(factor) * u64::from(reported.0)).div_ceil(u64::from(counted.0));
            u32::try_from(seen).unwrap_or(3_000).clamp(500, 3_000)
        };
        let seen = seen_with(old);
        if seen > old {
            // Counted before the last jump, and agreeing with it: known already.
            let stale = seen_with(self.before.load(Ordering::Relaxed));
            if stale.abs_diff(old) <= old / 33 && seen.abs_diff(old) > old / 33 {
                return;
            }
            self.before.store(old, Ordering::Relaxed);
            self.factor.store(seen, Ordering::Relaxed);
        } else {
            self.factor.store((old * 9 + seen).div_ceil(10), Ordering::Relaxed);
        }
    }
}

/// The larger of two counts: a vocabulary that is not the model's own may count too few in a language it does not know.
#[derive(Debug, Clone, Copy, Default)]
pub struct LargerOf<A, B>(
    /// One counter.
    pub A,
    /// The other.
    pub B,
);

impl<A: TokenCounter, B: TokenCounter> TokenCounter for LargerOf<A, B> {
    fn count(&self, text: &str) -> Tokens {
        self.0.count(text).max(self.1.count(text))
    }

    fn learn(&self, counted: Tokens, reported: Tokens) {
        self.0.learn(counted, reported);
        self.1.learn(counted, reported);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine whose tokenizer makes `per_mille` tokens of a thousand of ours.
    fn report(true_size: u32, per_mille: u32) -> Tokens {
        Tokens(true_size * per_mille / 1_000)
    }

    #[test]
    fn the_factor_converges_and_errs_on_the_large_side() {
        for per_mille in [700, 1_000, 1_400, 2_500] {
            let counter = CalibratedCounter::new(ByteCounter);
            for turn in 0..60_u32 {
                let bytes = 2_000 + turn * 97;
                let text = "x".repeat(bytes as usize);
                let counted = counter.count(&text);
                counter.learn(counted, report(bytes.div_ceil(4), per_mille));
            }
            let text = "x".repeat(10_000);
            let (counted, truth) = (counter.count(&text).0, report(2_500, per_mille).0);
            assert!(counted >= truth, "{per_mille}: {counted} is below {truth}");
            assert!(counted <= truth + truth / 20, "{per_mille}: {counted} is far above {truth}");
        }
    }

    #[test]
    fn one_dense_prompt_is_remembered_and_many_at_once_do_not_run_away() {
        let counter = CalibratedCounter::new(ByteCounter);
        // 64 prompts, all counted before any report came.
        for _ in 0..64 {
            counter.learn(Tokens(1_000), Tokens(1_400));
        }
        assert!((counter.factor() - 1.4).abs() < 0.05, "{}", counter.factor());
        // A sparse one later lowers it only a little.
        counter.learn(Tokens(1_400), Tokens(1_000));
        assert!(counter.factor() > 1.3);
        counter.learn(Tokens(10), Tokens(1_000));
        assert!(counter.factor() < 1.4, "small prompts teach nothing");
    }

    #[test]
    fn the_larger_of_two() {
        struct Fixed(u32);
        impl TokenCounter for Fixed {
            fn count(&self, _: &str) -> Tokens {
                Tokens(self.0)
            }
        }
        assert_eq!(LargerOf(Fixed(3), ByteCounter).count("12345678"), Tokens(3));
        assert_eq!(LargerOf(Fixed(1), ByteCounter).count("12345678"), Tokens(2));
    }
}
