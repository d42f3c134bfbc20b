//! How many requests a second: token buckets, those of tenants shared with the other processes on the store.
//!
//! A tenant's limit is that of all processes together. Each has a bucket of its own; once a second it tells the store how many requests
//! it was asked for and learns how many all were asked for. While all together stay below the limit, a process may use what the others
//! leave; beyond it, its share of the limit is its share of what is asked for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use sid_store::{Store, StoreError};
use sid_types::TenantId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{ApiCode, ApiError};

/// How often shares are set anew.
const EVERY: Duration = Duration::from_secs(1);
/// Who has asked for nothing for so long is forgotten: its bucket would be full again.
const FORGET: Duration = Duration::from_secs(60);
/// More buckets than this are not kept at once.
const MOST: usize = 10_000;
/// The smallest share: a process that nobody has asked lately must be able to answer the first request.
const SMALLEST_SHARE: f64 = 0.05;

/// Tokens that come back with time, at most those of two seconds.
#[derive(Debug)]
struct Bucket {
    /// Requests a second, of all processes.
    limit: u32,
    /// This process's part of it.
    rate: f64,
    tokens: f64,
    at: Instant,
    /// Requests that the store was not told of yet, refused ones too.
    asked: u64,
    /// What all processes had told when the store was last asked.
    total: Option<u64>,
}

/// Where somebody stands with a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u64,
    /// Seconds until another request is possible, or until all are.
    reset: u64,
    is_refused: bool,
}

impl Bucket {
    fn new(limit: u32) -> Self {
        let rate = f64::from(limit);
        Self { limit, rate, tokens: 2.0 * rate, at: Instant::now(), asked: 0, total: None }
    }

    fn take(&mut self, limit: u32) -> Standing {
        if self.limit != limit {
            (self.limit, self.rate) = (limit, f64::from(limit));
        }
        let most = (2.0 * self.rate).max(1.0);
        self.tokens = (self.tokens + self.at.elapsed().as_secs_f64() * self.rate).min(most);
        self.at = Instant::now();
        self.asked += 1;
        let is_refused = self.tokens < 1.0;
        if !is_refused {
            self.tokens -= 1.0;
        }
        let missing = if is_refused { 1.0 - self.tokens } else { most - self.tokens };
        Standing { limit, remaining: self.tokens as u64, reset: (missing / self.rate).ceil().max(1.0) as u64, is_refused }
    }

    /// All processes have told of `total` requests by now, this one of `told` in the last `seconds`.
    fn share(&mut self, told: u64, total: u64, seconds: f64) {
        let Some(before) = self.total.replace(total) else { return };
        let limit = f64::from(self.limit);
        let own = told as f64 / seconds;
        // Counts that began anew tell nothing about the others.
        let all = (total.saturating_sub(before) as f64 / seconds).max(own);
        let rate = if all > limit { limit * own / all } else { limit - (all - own) };
        self.rate = rate.max(limit * SMALLEST_SHARE);
    }
}

impl Standing {
    /// Lets the request pass, or says when to come back.
    pub(crate) fn admit(self, policy: &str) -> Result<(), ApiError> {
        if !self.is_refused {
            return Ok(());
        }
        let detail = format!("this {policy} may make {} requests a second", self.limit);
        Err(ApiError::new(ApiCode::RateLimited, detail).retry_after(self.reset))
    }
}

/// Where a request stands with all limits that it has: as the drafts of the IETF name it (`RateLimit`, `RateLimit-Policy`), and the
/// tightest of them as OpenAI's clients look for it.
pub(crate) fn headers(standings: &[(&str, Standing)]) -> Vec<(HeaderName, HeaderValue)> {
    let Some((_, tightest)) = standings.iter().min_by_key(|(_, s)| (!s.is_refused, s.remaining)) else { return Vec::new() };
    let list =
        |item: &dyn Fn(&str, &Standing) -> String| standings.iter().map(|(policy, s)| item(policy, s)).collect::<Vec<_>>().join(", ");
    let pairs = [
        ("ratelimit-policy", list(&|policy, s| format!("\"{policy}\";q={};w=1", s.limit))),
        ("ratelimit", list(&|policy, s| format!("\"{policy}\";r={};t={}", s.remaining, s.reset))),
        ("x-ratelimit-limit-requests", tightest.limit.to_string()),
        ("x-ratelimit-remaining-requests", tightest.remaining.to_string()),
        ("x-ratelimit-reset-requests", format!("{}s", tightest.reset)),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))).collect()
}

/// Buckets by whose they are.
pub(crate) struct Rates<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Rates<K> {
    /// One request; `None` = there is no limit.
    pub(crate) fn take(&self, key: K, limit: u32) -> Option<Standing> {
        if limit == 0 {
            return None;
        }
        let mut buckets = self.0.lock();
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| bucket.at.elapsed() < FORGET);
        }
        Some(buckets.entry(key).or_insert_with(|| Bucket::new(limit)).take(limit))
    }
}

impl Rates<TenantId> {
    /// Tells the store what was asked for here in the last `seconds`, and takes the share that follows from what all were asked for.
    async fn reconcile(&self, store: &dyn Store, seconds: f64) -> Result<(), StoreError> {
        let told: Vec<(TenantId, u64)> = {
            let mut buckets = self.0.lock();
            buckets.retain(|_, bucket| bucket.at.elapsed() < FORGET);
            buckets.iter().map(|(tenant, bucket)| (*tenant, bucket.asked)).collect()
        };
        if told.is_empty() {
            return Ok(());
        }
        let totals = store.add_requests(&told).await?;
        let mut buckets = self.0.lock();
        for ((tenant, asked), total) in told.into_iter().zip(totals) {
            if let Some(bucket) = buckets.get_mut(&tenant) {
                bucket.asked -= asked;
                bucket.share(asked, total, seconds);
            }
        }
        Ok(())
    }

    /// Sets the shares once a second until `closing`.
    pub(crate) async fn share(self: Arc<Self>, store: Arc<dyn Store>, closing: CancellationToken) {
        let mut last = Instant::now();
        while tokio::time::timeout(EVERY, closing.cancelled()).await.is_err() {
            match self.reconcile(&*store, last.elapsed().as_secs_f64().max(0.001)).await {
                Ok(()) => last = Instant::now(),
                // Each process goes on with the share that it has.
                Err(error) => tracing::debug!(%error, "could not share request limits with the other servers"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sid_store::InProcess;

    use super::*;

    /// Requests a second that each process is asked for, each for `seconds`; answers how many of each were admitted a second after the
    /// first ten seconds.
    async fn admitted(limit: u32, asked: &[u32], seconds: u32) -> Vec<f64> {
        let (store, tenant) = (InProcess::default(), TenantId::new());
        let processes: Vec<Rates<TenantId>> = asked.iter().map(|_| Rates::default()).collect();
        let mut count = vec![0_u32; asked.len()];
        for second in 0..seconds {
            // In slices, so that the processes' requests come side by side.
            for slice in 0..100 {
                for (i, rates) in processes.iter().enumerate() {
                    for _ in 0..(asked[i] * (slice + 1) / 100 - asked[i] * slice / 100) {
                        let standing = rates.take(tenant, limit).expect("a limit");
                        count[i] += u32::from(!standing.is_refused && second >= 10);
                    }
                }
                tokio::time::advance(Duration::from_millis(10)).await;
            }
            for rates in &processes {
                rates.reconcile(&store, 1.0).await.expect("the store answers");
            }
        }
        count.iter().map(|n| f64::from(*n) / f64::from(seconds - 10)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_alone_has_the_whole_limit() {
        let all = admitted(20, &[100], 30).await;
        assert!((19.0..=21.0).contains(&all[0]), "{all:?}");
        assert_eq!(admitted(20, &[15], 30).await, [15.0], "below the limit nothing is refused");
    }

    #[tokio::test(start_paused = true)]
    async fn processes_share_a_limit_by_what_they_are_asked_for() {
        let all = admitted(100, &[300, 100], 40).await;
        let sum: f64 = all.iter().sum();
        assert!((90.0..=110.0).contains(&sum), "together no more than one: {all:?}");
        assert!((2.5..=3.5).contains(&(all[0] / all[1])), "{all:?}");
        let all = admitted(100, &[70, 20, 0], 40).await;
        assert_eq!(all, [70.0, 20.0, 0.0], "below the limit nothing is refused, however it is spread");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_says_when_to_come_back() {
        let (rates, tenant) = (Rates::default(), TenantId::new());
        assert_eq!(rates.take(tenant, 0), None);
        let standings: Vec<Standing> = (0..5).filter_map(|_| rates.take(tenant, 2)).collect();
        assert_eq!(standings.iter().map(|s| s.remaining).collect::<Vec<_>>(), [3, 2, 1, 0, 0], "bursts of two seconds");
        assert!(standings[4].is_refused && !standings[3].is_refused);
        let error = standings[4].admit("tenant").expect_err("refused");
        assert_eq!((error.status.as_u16(), error.code), (429, "SID-API-RATE-LIMITED"));
        assert_eq!(standings[4].reset, 1);
        let shown = headers(&[("key", standings[0]), ("tenant", standings[4])]);
        let shown: Vec<&str> = shown.iter().map(|(_, v)| v.to_str().expect("ASCII")).collect();
        assert_eq!(shown, ["\"key\";q=2;w=1, \"tenant\";q=2;w=1", "\"key\";r=3;t=1, \"tenant\";r=0;t=1", "2", "0", "1s"]);
        assert!(headers(&[]).is_empty());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(!rates.take(tenant, 2).expect("a limit").is_refused);
    }
}
