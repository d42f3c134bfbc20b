//! Duties of this engine: what one replica does for all of them.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{Engine, metrics};

/// Work that is done once, however many replicas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Duty {
    /// Giving vectors to records.
    Embed,
    /// Writing diary pages.
    Diary,
    /// Dropping what is old.
    Maintain,
    /// Going on with tasks.
    Tasks,
}

impl Duty {
    const fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Diary => "diary",
            Self::Maintain => "maintain",
            Self::Tasks => "tasks",
        }
    }
}

/// What is known of a duty without asking.
#[derive(Clone, Copy)]
struct Answer {
    asked_at: Instant,
    is_mine: bool,
}

/// What the store last answered for each duty.
#[derive(Default)]
pub(crate) struct Duties(Mutex<HashMap<Duty, Answer>>);

/// How often the store is asked: three times per time to live, as leases are.
pub(crate) fn period(engine: &Engine) -> Duration {
    engine.inner.config.lease_ttl / 3
}

impl Engine {
    /// Whether this engine is the one that does it. Most answers need no question: what the store said holds for a third of the time that
    /// a duty lives, and while the store is silent for all of it.
    pub(crate) async fn has_duty(&self, duty: Duty) -> bool {
        if self.is_draining() {
            return false;
        }
        let known = self.inner.duties.0.lock().get(&duty).copied();
        if let Some(known) = known.filter(|k| k.asked_at.elapsed() < period(self)) {
            return known.is_mine;
        }
        let config = &self.inner.config;
        // From before the question on: the store's count of the time begins later.
        let asked_at = Instant::now();
        match self.inner.store.take_duty(duty.name(), config.worker, config.lease_ttl).await {
            Ok(is_mine) => {
                if is_mine != known.is_some_and(|k| k.is_mine) {
                    debug!(duty = duty.name(), is_mine, "a duty changed hands");
                }
                metrics::duty(duty.name(), is_mine);
                self.inner.duties.0.lock().insert(duty, Answer { asked_at, is_mine });
                is_mine
            }
            Err(error) => {
                warn!(%error, duty = duty.name(), "could not ask for a duty");
                known.is_some_and(|k| k.is_mine && k.asked_at.elapsed() < config.lease_ttl)
            }
        }
    }

    /// Lets another replica do it.
    pub(crate) async fn leave_duty(&self, duty: Duty) {
        let known = self.inner.duties.0.lock().remove(&duty);
        metrics::duty(duty.name(), false);
        if known.is_some_and(|k| k.is_mine)
            && let Err(error) = self.inner.store.leave_duty(duty.name(), self.inner.config.worker).await
        {
            debug!(%error, duty = duty.name(), "a duty was not given back; it expires");
        }
    }

    /// Gives all duties back, so that no other replica waits for them to expire: after [`drain`](Self::drain), which lets none be taken.
    pub async fn leave_duties(&self) {
        let held: Vec<Duty> = self.inner.duties.0.lock().keys().copied().collect();
        for duty in held {
            self.leave_duty(duty).await;
        }
    }
}
