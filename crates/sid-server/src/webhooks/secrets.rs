//! What deliveries are signed with: sealed in the store, as all secrets of a tenant are.

use std::time::Duration;

use sid_context::ContextError;
use sid_context::secrets::{SecretValue, Vault};
use sid_types::{Owner, Scope, SealedSecret, Timestamp, Webhook, WebhookId};
use sid_webhooks::Secret;

/// Most secrets that a webhook is signed with at once.
const MOST: usize = 5;

fn place(webhook: WebhookId) -> String {
    format!("webhook/{webhook}")
}

/// A fresh secret, and the secrets with it in front: those before it are in force for `overlap` more.
pub(crate) async fn added(
    vault: &Vault,
    scope: &Scope,
    webhook: WebhookId,
    before: &[SealedSecret],
    now: Timestamp,
    overlap: Duration,
) -> Result<(Secret, Vec<SealedSecret>), ContextError> {
    let secret = Secret::random();
    let sealed = vault.seal(scope, Owner::Tenant, &place(webhook), &SecretValue::new(secret.reveal())).await?;
    let end = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
    let living = before.iter().filter(|s| s.until.is_none_or(|until| until > now));
    let older = living.map(|s| SealedSecret { until: Some(s.until.map_or(end, |until| until.min(end))), ..s.clone() });
    let older = older.filter(|s| s.until.is_some_and(|until| until > now));
    Ok((secret, std::iter::once(SealedSecret { sealed, until: None }).chain(older).take(MOST).collect()))
}

/// The secrets that are in force.
pub(super) async fn revealed(vault: &Vault, scope: &Scope, webhook: &Webhook, now: Timestamp) -> Result<Vec<Secret>, ContextError> {
    let mut secrets = Vec::with_capacity(webhook.secrets.len());
    for sealed in webhook.secrets.iter().filter(|s| s.until.is_none_or(|until| until > now)) {
        let value = vault.unseal(scope, Owner::Tenant, &place(webhook.id), &sealed.sealed).await?;
        secrets.push(value.reveal().parse().map_err(|_| ContextError::Sealed("it is no webhook's secret"))?);
    }
    Ok(secrets)
}
