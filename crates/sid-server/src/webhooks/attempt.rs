//! One attempt: a request, and what is written down of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use sid_context::secrets::Vault;
use sid_fetch::{FetchError, Fetcher, Request};
use sid_store::{DueDelivery, EndpointHealth, FinishDelivery, Store};
use sid_types::{Attempt, Clock, Timestamp, Webhook};

use super::schedule::{self, Answer, Terms};
use super::{body, secrets};
use crate::config::Webhooks;
use crate::metrics;

/// Signs deliveries and sends them.
pub(crate) struct Sender {
    fetcher: Fetcher,
    vault: Option<Vault>,
    clock: Arc<dyn Clock>,
    terms: Terms,
}

/// How an attempt went: the answer, its status, and why it failed.
struct Tried {
    answer: Answer,
    status: Option<u16>,
    error: Option<String>,
}

impl Tried {
    fn unsent(error: impl ToString) -> Self {
        Self { answer: Answer::Unsent, status: None, error: Some(error.to_string()) }
    }
}

impl Sender {
    pub(crate) fn new(fetcher: Fetcher, vault: Option<Vault>, clock: Arc<dyn Clock>, settings: &Webhooks) -> Self {
        let terms = Terms {
            first_wait: Duration::from_millis(settings.first_retry_ms),
            give_up: Duration::from_secs(settings.give_up_days.saturating_mul(86_400)),
        };
        Self { fetcher, vault, clock, terms }
    }

    /// Whether this may be a webhook's address. Looks nothing up.
    pub(crate) fn check_url(&self, url: &str) -> Result<(), FetchError> {
        self.fetcher.policy().target(url).map(drop)
    }

    /// Makes the attempt that was taken.
    pub(crate) async fn send(&self, store: &dyn Store, due: DueDelivery) {
        let DueDelivery { scope, webhook, delivery } = due;
        let (at, begun) = (self.clock.now(), Instant::now());
        let (body, tried) = match self.body(store, &scope, &webhook, &delivery).await {
            Ok(body) => {
                let tried = self.tried(&scope, &webhook, &delivery, &body, at).await;
                (body, tried)
            }
            Err(error) => (String::new(), Tried::unsent(error)),
        };
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let dice = rand::rng().random::<f64>();
        let (outcome, health) = schedule::decide(&tried.answer, &delivery, &webhook, self.clock.now(), self.terms, dice);
        metrics::webhook_attempt(&outcome);
        if let EndpointHealth::Disabled(reason) = &health {
            tracing::warn!(tenant = %scope.tenant(), webhook = %webhook.id, %reason, "a webhook is disabled");
        }
        let attempt = Attempt { number: delivery.attempts, at, status: tried.status, error: tried.error, took_ms };
        let finish = FinishDelivery { delivery: delivery.id, attempt, body, outcome, health };
        if let Err(error) = store.finish_delivery(&scope, finish).await {
            // It is sent again, under the same id, when nobody holds it any more.
            tracing::warn!(%error, delivery = %delivery.id, "what came of a delivery could not be written down");
        }
    }

    /// What is sent: what was sent before, if something was.
    async fn body(
        &self,
        store: &dyn Store,
        scope: &sid_types::Scope,
        webhook: &Webhook,
        delivery: &sid_types::Delivery,
    ) -> Result<String, sid_store::StoreError> {
        match delivery.body.as_ref().filter(|body| !body.is_empty()) {
            Some(body) => Ok(body.clone()),
            None => body::of(store, scope, delivery, webhook.include_content).await,
        }
    }

    async fn tried(&self, scope: &sid_types::Scope, webhook: &Webhook, delivery: &sid_types::Delivery, body: &str, at: Timestamp) -> Tried {
        let Some(vault) = &self.vault else { return Tried::unsent(sid_context::ContextError::NoKey) };
        let secrets = match secrets::revealed(vault, scope, webhook, at).await {
            Ok(secrets) => secrets,
            Err(error) => return Tried::unsent(error),
        };
        let id = delivery.id.to_string();
        let signature = sid_webhooks::sign(&secrets, &id, at.as_second(), body.as_bytes());
        let request = Request::post(&webhook.url)
            .json(body.as_bytes().to_vec())
            .header(sid_webhooks::ID, &id)
            .and_then(|request| request.header(sid_webhooks::TIMESTAMP, &at.as_second().to_string()))
            .and_then(|request| request.secret(sid_webhooks::SIGNATURE, &signature));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Tried::unsent(error),
        };
        match self.fetcher.open(request).await {
            Ok(answer) => {
                let status = answer.status.as_u16();
                let header = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
                let rest = header.and_then(|value| schedule::rest(value, at));
                let error = (!answer.status.is_success()).then(|| format!("it answered {status}"));
                Tried { answer: Answer::Status(status, rest), status: Some(status), error }
            }
            Err(error) => Tried { answer: Answer::None, status: None, error: Some(error.to_string()) },
        }
    }
}
