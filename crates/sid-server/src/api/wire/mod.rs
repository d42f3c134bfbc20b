//! What several resources have in common on the wire. These are Sid's public JSON: stores' and engine's types are converted by hand.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sid_store::{PageRequest, StoreError};
use utoipa::{IntoParams, ToSchema};

mod event;
mod message;
mod owner;
mod provenance;
mod run;

pub(crate) use self::{event::*, message::*, owner::*, provenance::*, run::*};
use crate::error::ApiError;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Give it back as `after` to read on; `null` = there is nothing more.
    pub(crate) next: Option<String>,
}

impl<T> List<T> {
    pub(crate) fn of<S>(page: sid_store::Page<S>) -> Self
    where
        T: From<S>,
    {
        Self { items: page.items.into_iter().map(T::from).collect(), next: page.next }
    }

    /// A whole list, for what is never long.
    pub(crate) fn whole<S>(items: Vec<S>) -> Self
    where
        T: From<S>,
    {
        Self { items: items.into_iter().map(T::from).collect(), next: None }
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// `next` of the page before.
    pub(crate) after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    pub(crate) limit: Option<usize>,
}

pub(crate) const DEFAULT_LIMIT: usize = 50;
pub(crate) const MAX_LIMIT: usize = 1_000;

pub(crate) fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(n) if (1..=MAX_LIMIT).contains(&n) => Ok(n),
        Some(n) => Err(ApiError::bad_request(format!("limit must be 1 to {MAX_LIMIT}, not {n}"))),
    }
}

impl Paging {
    pub(crate) fn request(self) -> Result<PageRequest, ApiError> {
        Ok(PageRequest { after: self.after, limit: limit_of(self.limit)? })
    }
}

/// Parses an id of a kind that has no names; anything else is as unknown as a random id.
pub(crate) fn parse_id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, ApiError> {
    text.parse().map_err(|_| StoreError::NotFound { what }.into())
}

/// Free text pairs.
pub(crate) type Metadata = BTreeMap<String, String>;

/// `If-Match` as a version: `7`, `"7"` or `W/"7"`; `*` is any.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let digits = text.trim_start_matches("W/").trim_matches('"');
    digits.parse().map(Some).map_err(|_| ApiError::bad_request("If-Match must be a version number, such as \"7\""))
}

/// What came of a write that was to happen only if nobody was faster: 412 when somebody was. Without a version it is the ordinary 409.
pub(crate) fn precondition<T, E: Into<ApiError>>(done: Result<T, E>, expected: Option<u64>) -> Result<T, ApiError> {
    done.map_err(|error| {
        let error = error.into();
        let is_late = expected.is_some() && error.code == "SID-STORE-CONFLICT";
        if is_late { error.status(StatusCode::PRECONDITION_FAILED) } else { error }
    })
}
