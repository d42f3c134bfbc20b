//! Extractors whose refusals are [`ApiError`]s that name the place.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::App;
use crate::error::{ApiCode, ApiError};

/// A JSON body, together with its bytes (idempotency keys are bound to them).
pub(crate) struct Json<T> {
    pub(crate) value: T,
    pub(crate) raw: Bytes,
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let raw = read_body(request, app.config().server.body_limit_bytes).await?;
        let value = parse_json(&raw)?;
        Ok(Self { value, raw })
    }
}

/// A JSON body that holds a secret: what does not fit is not repeated in the refusal.
pub(crate) struct Confidential<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Confidential<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let raw = read_body(request, app.config().server.body_limit_bytes).await?;
        check_object(&raw)?;
        serde_json::from_slice(&raw).map(Self).map_err(|e| {
            let detail = format!("the body does not fit at line {} column {}; it may hold a secret and is not shown", e.line(), e.column());
            ApiError::new(code_of(&e), detail)
        })
    }
}

pub(crate) async fn read_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    read_body_within(request, limit, "server.body_limit_bytes").await
}

/// `setting`: where the limit is set.
pub(crate) async fn read_body_within(request: Request, limit: usize, setting: &str) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(ApiCode::BodyTooLarge, format!("the body is larger than {limit} bytes ({setting})"));
    let declared = request.headers().get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if declared.is_some_and(|n| n > limit) {
        return Err(too_large());
    }
    axum::body::to_bytes(request.into_body(), limit).await.map_err(|e| {
        let is_limit = std::error::Error::source(&e).is_some_and(|s| s.to_string().contains("length limit"));
        if is_limit { too_large() } else { ApiError::bad_request(format!("the body broke off: {e}")) }
    })
}

/// Parses a body; the error says where it is wrong.
pub(crate) fn parse_json<T: DeserializeOwned>(raw: &[u8]) -> Result<T, ApiError> {
    if let Err(e) = std::str::from_utf8(raw) {
        return Err(ApiError::new(
            ApiCode::InvalidUtf8,
            format!("the body is not UTF-8: the byte at {} cannot be read; send JSON in UTF-8", e.valid_up_to()),
        ));
    }
    let raw = if raw.iter().all(u8::is_ascii_whitespace) { b"{}" } else { raw };
    check_object(raw)?;
    serde_json::from_slice(raw).map_err(|e| match code_of(&e) {
        ApiCode::BadJson => ApiError::new(ApiCode::BadJson, format!("the body is not valid JSON: {e}")),
        code => ApiError::new(code, e.to_string()),
    })
}

/// Refuses lists: serde would take one for an object with its fields in order.
fn check_object(raw: &[u8]) -> Result<(), ApiError> {
    match raw.trim_ascii_start().first() {
        Some(b'[') => Err(ApiError::bad_request("the body must be a JSON object, not a list")),
        _ => Ok(()),
    }
}

fn code_of(error: &serde_json::Error) -> ApiCode {
    match error.classify() {
        serde_json::error::Category::Data if error.to_string().starts_with("unknown field") => ApiCode::UnknownField,
        serde_json::error::Category::Data => ApiCode::BadRequest,
        _ => ApiCode::BadJson,
    }
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|q| Self(q.0)).map_err(|e| {
            let text = e.body_text();
            let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let code = if detail.contains("unknown field") { ApiCode::UnknownField } else { ApiCode::BadRequest };
            ApiError::new(code, format!("query string: {detail}"))
        })
    }
}

/// Path parameters.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|p| Self(p.0))
            .map_err(|e| ApiError::bad_request(format!("path: {}", e.body_text())))
    }
}
