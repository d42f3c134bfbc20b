//! The context service: what assistants keep for their user beside conversations. One module per group of calls.

mod handoffs;
mod items;
mod overview;
mod proposals;
mod search;
mod secrets;
mod shares;
mod wire;

pub(super) use secrets::SecretJson;
use sid_types::UserId;
use utoipa_axum::router::OpenApiRouter;
pub(super) use wire::ItemJson;

use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(overview::router())
        .merge(items::router())
        .merge(search::router())
        .merge(shares::router())
        .merge(handoffs::router())
        .merge(proposals::router())
        .merge(secrets::router())
}

/// The user for whom the context is kept.
fn user_of(caller: &Caller) -> Result<UserId, ApiError> {
    caller
        .user()
        .ok_or_else(|| ApiError::bad_request("the context is a user's: use a user's or an assistant's key, or name the user in X-Sid-User"))
}
