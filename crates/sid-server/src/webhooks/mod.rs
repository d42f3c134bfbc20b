//! Webhooks: what happened is sent to where a tenant's application wants to hear of it (ADR 0036).
//!
//! The store has written a delivery with whatever it tells. Here those that are due are taken, sent, and what came of it is written down; every
//! server does so, and none of them is needed by another. Reading order: `schedule` (what follows from an answer), `attempt` (one request),
//! `body` (what is said), `secrets` (what it is signed with).

mod attempt;
mod body;
mod schedule;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use sid_fetch::Fetcher;
use sid_store::{Store, StoreError, TakeDeliveries};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::attempt::Sender;
pub(crate) use self::secrets::added;
use crate::config::Webhooks;

/// A delivery waits for those of its conversation that are older, until they have been tried so often: longer than a restart of the receiver
/// takes, shorter than one bad delivery may hold up what follows it.
const PATIENCE: u32 = 3;
/// Who has taken a delivery writes down what came of it within so long after the request may have ended.
const GRACE: Duration = Duration::from_secs(30);
/// Between two looks for what is old.
const FORGET: Duration = Duration::from_secs(600);

/// Sends what is due until the server closes. An attempt that is under way then ends by itself, or is made again when its hold is over.
pub(crate) async fn deliver(store: Arc<dyn Store>, sender: Arc<Sender>, settings: Webhooks, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(settings.at_once));
    let poll = Duration::from_millis(settings.poll_ms);
    loop {
        let free = places.available_permits();
        let take = TakeDeliveries {
            want: free,
            per_webhook: settings.per_webhook,
            hold: Duration::from_millis(settings.timeout_ms) + GRACE,
            patience: PATIENCE,
        };
        let due = match store.take_deliveries(take).await {
            Ok(taken) => taken.due,
            Err(error) => {
                warn_of(&error);
                Vec::new()
            }
        };
        let is_idle = due.is_empty();
        for one in due {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (store, sender) = (store.clone(), sender.clone());
            tokio::spawn(async move {
                let _place = place;
                sender.send(store.as_ref(), one).await;
            });
        }
        let wait = if is_idle { poll } else { poll.min(Duration::from_millis(20)) };
        if tokio::time::timeout(wait, closing.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Forgets what is old, now and then. Twice at once does no harm.
pub(crate) async fn forget(store: Arc<dyn Store>, settings: Webhooks, closing: CancellationToken) {
    let keep = Duration::from_secs(settings.keep_days.saturating_mul(86_400));
    while tokio::time::timeout(FORGET, closing.cancelled()).await.is_err() {
        loop {
            match store.forget_deliveries(keep).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    warn_of(&error);
                    break;
                }
            }
        }
    }
}

fn warn_of(error: &StoreError) {
    tracing::warn!(%error, "deliveries of webhooks cannot be taken now; they wait");
}

/// A client for addresses that tenants name. Nobody is sent on to another one.
pub(crate) fn fetcher(tools: &crate::config::Tools, settings: &Webhooks) -> Result<Fetcher, crate::config::ConfigError> {
    tools.fetcher_with(|policy| {
        policy.timeout = Duration::from_millis(settings.timeout_ms);
        policy.max_redirects = 0;
        // What an endpoint says is not read.
        policy.max_body_bytes = usize::MAX;
    })
}
