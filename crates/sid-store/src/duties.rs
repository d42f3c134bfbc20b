//! Duties: work in the background that one worker does for all.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sid_types::{Timestamp, WorkerId};

use crate::StoreError;

/// Which worker does what is to be done once, such as embedding: at most one holds a duty at a time.
///
/// A duty spares work and fences nothing: a worker that was frozen may go on for a moment beside its successor. So what is done under one
/// must be harmless when it is done twice.
#[async_trait]
pub trait Duties: Send + Sync {
    /// Takes a duty that nobody holds, or prolongs one's own, for `ttl` from now by the store's clock; answers whether `worker` holds it.
    ///
    /// Cheap: one round trip. Errors: `Invalid` (a name of no or more than 64 characters).
    async fn take_duty(&self, duty: &str, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError>;

    /// Gives a duty back, so that any worker may take it at once. One that `worker` does not hold stays as it is.
    async fn leave_duty(&self, duty: &str, worker: WorkerId) -> Result<(), StoreError>;
}

/// The duties of a store that one process has for itself, for implementers: kept in memory, because they are of no use after its end.
///
/// ```
/// use std::time::Duration;
/// use sid_store::DutyRoster;
/// use sid_types::{Timestamp, WorkerId};
///
/// let (roster, ann, bob) = (DutyRoster::default(), WorkerId::new(), WorkerId::new());
/// let (now, ttl) = (Timestamp::UNIX_EPOCH, Duration::from_secs(15));
/// assert!(roster.take("embed", ann, ttl, now)?);
/// assert!(!roster.take("embed", bob, ttl, now)?);
/// roster.leave("embed", ann);
/// assert!(roster.take("embed", bob, ttl, now)?);
/// # Ok::<(), sid_store::StoreError>(())
/// ```
#[derive(Debug, Default)]
pub struct DutyRoster(Mutex<HashMap<String, (WorkerId, Timestamp)>>);

impl DutyRoster {
    /// [`Duties::take_duty`] at the time `now`.
    pub fn take(&self, duty: &str, worker: WorkerId, ttl: Duration, now: Timestamp) -> Result<bool, StoreError> {
        check_duty(duty)?;
        let mut held = self.0.lock();
        if held.get(duty).is_some_and(|(holder, until)| *holder != worker && *until > now) {
            return Ok(false);
        }
        let until = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
        held.insert(duty.to_owned(), (worker, until));
        Ok(true)
    }

    /// [`Duties::leave_duty`].
    pub fn leave(&self, duty: &str, worker: WorkerId) {
        let mut held = self.0.lock();
        if held.get(duty).is_some_and(|(holder, _)| *holder == worker) {
            held.remove(duty);
        }
    }
}

/// Fails unless this can be a duty's name, for implementers.
pub fn check_duty(duty: &str) -> Result<(), StoreError> {
    if duty.is_empty() || duty.chars().count() > 64 {
        return Err(StoreError::Invalid("a duty's name has 1 to 64 characters".into()));
    }
    Ok(())
}
