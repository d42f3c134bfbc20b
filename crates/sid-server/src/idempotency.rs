//! `Idempotency-Key`: a client's promise that two requests are the same one.
//!
//! Messages keep it in the journal, bound to the request's bytes. Everything else that is made derives its id from it: the store
//! knows the second request by its id, on any replica and after any restart. Keys cannot be shown twice and are refused.

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};
use sid_store::{IdempotencyKey, StoreError};
use uuid::Uuid;

use crate::auth::Caller;
use crate::error::ApiError;

/// The header's text, checked.
pub(crate) fn text(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=255).contains(&text.len()) => Ok(Some(text.to_owned())),
        _ => Err(ApiError::bad_request("Idempotency-Key must have 1 to 255 visible ASCII characters")),
    }
}

/// The key for the journal, bound to what the request is.
pub(crate) fn journal_key(headers: &HeaderMap, parts: &[&[u8]]) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = text(headers)? else { return Ok(None) };
    let mut hash = Sha256::new();
    for part in parts {
        // Length first, so that parts cannot run into each other.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(Some(IdempotencyKey { key, fingerprint: hash.finalize().into() }))
}

/// The id of what this request makes, the same for each repetition; `None` without the header.
pub(crate) fn derived_id(headers: &HeaderMap, caller: &Caller, what: &str) -> Result<Option<Uuid>, ApiError> {
    let Some(key) = text(headers)? else { return Ok(None) };
    let tenant = caller.tenant().map_or(Uuid::nil(), |t| t.uuid());
    let user = caller.user().map_or(Uuid::nil(), |u| u.uuid());
    Ok(Some(Uuid::new_v5(&tenant, format!("{}/{user}/{what}/{key}", caller.key).as_bytes())))
}

/// Makes something once: what an earlier request with the same key made, else what `make` makes.
///
/// `id` is [`derived_id`]'s; without one it is simply made. Requests with the same key that come at the same time, here or on another
/// replica, all look in vain; then one of them makes it, and the others find it when they are told that it exists.
pub(crate) async fn once<T, F: Future<Output = Result<T, StoreError>>>(
    id: Option<Uuid>,
    find: impl Fn() -> F,
    is_same: impl Fn(&T) -> bool,
    make: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, ApiError> {
    if id.is_none() {
        return Ok(make.await?);
    }
    if let Some(known) = replayed(find().await, &is_same)? {
        return Ok(known);
    }
    match make.await {
        Err(error @ StoreError::Exists { .. }) => replayed(find().await, &is_same)?.ok_or_else(|| error.into()),
        made => Ok(made?),
    }
}

/// What an earlier request with the same key made, if there was one. It must be what this one asks for.
pub(crate) fn replayed<T>(found: Result<T, StoreError>, is_same: impl Fn(&T) -> bool) -> Result<Option<T>, ApiError> {
    match found {
        Ok(known) if is_same(&known) => Ok(Some(known)),
        Ok(_) => Err(StoreError::KeyReused.into()),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
