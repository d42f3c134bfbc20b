//! Webhooks, and deliveries: written in the transaction of what they tell, taken by whoever sends them.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{Attempt, Delivery, DeliveryId, DeliveryState, Scope, Timestamp, Webhook, WebhookId, WebhookState};

use crate::{Page, PageRequest, StoreError};

/// What a store answers who may not see webhooks, and when there is none.
pub const NO_WEBHOOK: StoreError = StoreError::NotFound { what: "webhook" };

/// What a store answers when there is no such delivery to a webhook.
pub const NO_DELIVERY: StoreError = StoreError::NotFound { what: "delivery" };

/// Which deliveries are taken, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeDeliveries {
    /// Most of them.
    pub want: usize,
    /// Most of one webhook that are held at once, by whomever.
    pub per_webhook: usize,
    /// Nobody else takes them for so long.
    pub hold: Duration,
    /// A delivery waits for those of its conversation that are older, until they have been tried so often.
    pub patience: u32,
}

/// A delivery that is due, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub struct DueDelivery {
    /// The tenant's.
    pub scope: Scope,
    /// Where it goes.
    pub webhook: Webhook,
    /// What goes there; its `attempts` is the number of this attempt.
    pub delivery: Delivery,
}

/// What is due at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DueDeliveries {
    /// The moment, by the store's clock.
    pub now: Timestamp,
    /// Those that were taken.
    pub due: Vec<DueDelivery>,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The endpoint took it.
    Delivered,
    /// It is tried again, so long from now.
    Retry(Duration),
    /// It is tried no more.
    Failed,
}

/// How an endpoint was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointHealth {
    /// It answers.
    Well,
    /// It does not. Nothing else is sent to it for so long.
    Failing(Option<Duration>),
    /// Nobody has asked it.
    Unknown,
    /// It wants no more, or there is no use in it: it is disabled, and this is why.
    Disabled(String),
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishDelivery {
    /// Which.
    pub delivery: DeliveryId,
    /// What happened; its number says which attempt this is.
    pub attempt: Attempt,
    /// What was sent.
    pub body: String,
    /// What becomes of it.
    pub outcome: DeliveryOutcome,
    /// How the endpoint was found.
    pub health: EndpointHealth,
}

/// Webhooks by id, and what they are to be told.
///
/// They are the tenant's: for a person and for a turn there are none. Where a tenant has webhooks that are enabled, whatever changes what an
/// event tells of ([`WebhookEvent`](sid_types::WebhookEvent)) writes one delivery for each of them that hears the event, in the same
/// transaction; where it has none, nothing is written. Forgetting a user, an agent or a conversation forgets deliveries about them, but for
/// the one that says that the user was erased.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Makes a webhook: version 1, made now. The same id again answers the one that is there.
    ///
    /// Errors: `Invalid` when the tenant has `most` of them, and as [`check_webhook`] says; `NotFound` for whom there are none.
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError>;

    /// All of the tenant's, oldest first.
    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError>;

    /// Puts what its tenant sets in the place of the version that was read, as [`next_webhook`] says. When it is enabled, what waits for it is
    /// due at once.
    ///
    /// Errors: `NotFound`; `Conflict` when another version is there; `Invalid` as [`check_webhook`] says.
    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError>;

    /// Forgets one, with its deliveries. Errors: `NotFound`.
    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError>;

    /// Writes a delivery of [`WebhookTest`](sid_types::WebhookEvent::WebhookTest), whatever the webhook hears. The same id again answers the
    /// one that is there.
    ///
    /// Errors: `NotFound`; `Invalid` for one that is disabled.
    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError>;

    /// Deliveries to a webhook, newest first. Errors: `NotFound`.
    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError>;

    /// Tries a delivery now, and if need be as often as a new one: one that is over, and one that waits for its next attempt. One that somebody
    /// holds is not taken from them: it is due when their attempt has failed.
    ///
    /// Errors: `NotFound`; `Invalid` when its webhook is disabled.
    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError>;

    /// Takes deliveries that are due, as [`TakeDeliveries`] says. The engine's own call: it spans tenants. Endpoints that answer come before
    /// those that fail, and of each the oldest delivery first, of the thousand that have been due for longest.
    async fn take_deliveries(&self, take: TakeDeliveries) -> Result<DueDeliveries, StoreError>;

    /// Writes down how an attempt ended, as [`finished`] and [`with_health`] say. An attempt that is not the delivery's last, or whose delivery is
    /// gone, changes nothing.
    async fn finish_delivery(&self, scope: &Scope, finish: FinishDelivery) -> Result<(), StoreError>;

    /// Forgets deliveries of what happened longer than `keep` ago, unless they are still to be tried; answers how many, a thousand at most. The
    /// engine's own call: it spans tenants.
    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError>;
}

/// Most bytes of a webhook, as JSON.
const BYTES: usize = 65_536;

/// Checks a webhook as it is to be stored, and tells it as JSON.
///
/// Errors: `Invalid` for one without a URL, or of more than 65,536 bytes.
pub fn check_webhook(webhook: &Webhook) -> Result<String, StoreError> {
    if webhook.url.is_empty() {
        return Err(StoreError::Invalid("a webhook has a URL".into()));
    }
    let json = serde_json::to_string(webhook).map_err(|error| StoreError::Invalid(format!("a webhook cannot be told as JSON: {error}")))?;
    if json.len() > BYTES {
        return Err(StoreError::TooLarge { what: "webhook, in bytes,", size: json.len() as u64, limit: BYTES as u64 });
    }
    Ok(json)
}

/// What a tenant with too many is told.
#[must_use]
pub fn too_many_webhooks(most: u64) -> StoreError {
    StoreError::Invalid(format!("a tenant has at most {most} webhooks: delete one"))
}

/// What is answered who wants something sent to a webhook that is disabled.
#[must_use]
pub fn is_disabled() -> StoreError {
    StoreError::Invalid("this webhook is disabled: enable it first".into())
}

/// A webhook after its tenant has changed it: what only deliveries change stays, but for one that is enabled anew.
///
/// Errors: `Conflict` for another version.
pub fn next_webhook(known: &Webhook, new: Webhook, now: Timestamp) -> Result<Webhook, StoreError> {
    if known.version != new.version {
        return Err(StoreError::Conflict { expected: new.version, found: known.version });
    }
    let is_revived = known.state == WebhookState::Disabled && new.state == WebhookState::Enabled;
    let health = if is_revived { (None, None) } else { (known.failing_since, known.not_before) };
    Ok(Webhook {
        id: known.id,
        disabled_because: new.disabled_because.filter(|_| new.state == WebhookState::Disabled),
        failing_since: health.0,
        not_before: health.1,
        version: known.version + 1,
        created_at: known.created_at,
        updated_at: now,
        ..new
    })
}

/// A webhook after an attempt has found its endpoint so; `None` = nothing about it changes.
#[must_use]
pub fn with_health(known: &Webhook, health: &EndpointHealth, now: Timestamp) -> Option<Webhook> {
    match health {
        EndpointHealth::Unknown => None,
        EndpointHealth::Well if known.failing_since.is_none() && known.not_before.is_none() => None,
        EndpointHealth::Well => Some(Webhook { failing_since: None, not_before: None, ..known.clone() }),
        EndpointHealth::Failing(None) if known.failing_since.is_some() => None,
        EndpointHealth::Failing(rest) => Some(Webhook {
            failing_since: known.failing_since.or(Some(now)),
            not_before: rest.map(|rest| later(now, rest)).max(known.not_before),
            ..known.clone()
        }),
        EndpointHealth::Disabled(_) if known.state == WebhookState::Disabled => None,
        EndpointHealth::Disabled(reason) => Some(Webhook {
            state: WebhookState::Disabled,
            disabled_because: Some(reason.clone()),
            failing_since: known.failing_since.or(Some(now)),
            version: known.version + 1,
            updated_at: now,
            ..known.clone()
        }),
    }
}

/// A delivery after its attempt has ended so; `None` when it was not its last, or is over. To one that is disabled nothing is due.
#[must_use]
pub fn finished(known: &Delivery, finish: FinishDelivery, is_enabled: bool, now: Timestamp) -> Option<Delivery> {
    if known.state != DeliveryState::Pending || known.attempts != finish.attempt.number {
        return None;
    }
    let is_asked_again = known.attempts_before == known.attempts;
    let (state, next_attempt) = match finish.outcome {
        DeliveryOutcome::Delivered => (DeliveryState::Delivered, None),
        // Somebody asked for it while this attempt was under way.
        _ if is_asked_again => (DeliveryState::Pending, known.next_attempt.filter(|_| is_enabled)),
        DeliveryOutcome::Failed => (DeliveryState::Failed, None),
        DeliveryOutcome::Retry(wait) => (DeliveryState::Pending, Some(later(now, wait)).filter(|_| is_enabled)),
    };
    let mut history = known.history.clone();
    history.push(finish.attempt);
    history.drain(..history.len().saturating_sub(Delivery::HISTORY));
    Some(Delivery { state, next_attempt, history, body: Some(finish.body), ..known.clone() })
}

/// A delivery that somebody asked for again.
#[must_use]
pub fn delivered_again(known: &Delivery, now: Timestamp) -> Delivery {
    Delivery { state: DeliveryState::Pending, attempts_before: known.attempts, next_attempt: Some(now), ..known.clone() }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
