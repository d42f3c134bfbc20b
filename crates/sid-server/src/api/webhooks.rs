//! Webhooks: where a tenant's application hears of what happens.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_types::{DeliveryId, Scope, SealedSecret, Timestamp, Webhook, WebhookEvent, WebhookId, WebhookState};
use sid_webhooks::Secret;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::{DeliveryJson, may_read};
use super::names::check_text;
use super::users::present;
use super::wire::{List, if_match, parse_id, precondition};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency;
use crate::webhooks;

/// How long both secrets are in force after a change, if nobody says otherwise: a day.
const OVERLAP_S: u64 = 86_400;
/// The longest: a month.
const LONGEST_OVERLAP_S: u64 = 31 * 86_400;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(get_webhook, change_webhook, delete_webhook))
        .routes(routes!(rotate_webhook))
        .routes(routes!(test_webhook))
}

/// What a webhook is told beside ids and states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IncludeJson {
    /// The words as well: answers, arguments, questions.
    Content,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookJson {
    #[schema(value_type = String)]
    id: WebhookId,
    url: String,
    description: String,
    /// What it is told; empty = everything.
    events: Vec<&'static str>,
    include: Option<IncludeJson>,
    /// `enabled` or `disabled`.
    state: &'static str,
    /// Why it was disabled.
    disabled_because: Option<String>,
    /// Since when every attempt has failed; `null` = the last one did not.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Secrets that deliveries are signed with now.
    secrets: usize,
    /// Counts changes; the `ETag` of the answer.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What receivers verify deliveries with. Shown once: when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    secret: Option<String>,
}

impl WebhookJson {
    fn of(webhook: Webhook, now: Timestamp) -> Self {
        let in_force = |s: &&SealedSecret| s.until.is_none_or(|until| until > now);
        Self {
            id: webhook.id,
            url: webhook.url,
            description: webhook.description,
            events: webhook.events.into_iter().map(WebhookEvent::as_str).collect(),
            include: webhook.include_content.then_some(IncludeJson::Content),
            state: webhook.state.as_str(),
            disabled_because: webhook.disabled_because,
            failing_since: webhook.failing_since,
            secrets: webhook.secrets.iter().filter(in_force).count(),
            version: webhook.version,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
            secret: None,
        }
    }

    fn answer(self, status: StatusCode) -> Response {
        let mut answer = (status, [(header::ETAG, format!("\"{}\"", self.version))], axum::Json(&self)).into_response();
        if self.secret.is_some() {
            answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        }
        answer
    }

    fn with_secret(self, secret: &Secret) -> Self {
        Self { secret: Some(secret.reveal()), ..self }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateWebhook {
    /// https, or http; an address on the internet, unless an operator has opened others (`tools.open`).
    url: String,
    /// Names of events; empty = everything.
    #[serde(default)]
    events: Vec<String>,
    /// For people; at most 1000 characters.
    #[serde(default)]
    description: String,
    /// Beside ids and states.
    #[serde(default)]
    include: Option<IncludeJson>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeWebhook {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    description: Option<String>,
    /// `null` = ids and states alone.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<IncludeJson>)]
    include: Option<Option<IncludeJson>>,
    /// Disabled it hears nothing of what happens; what was on its way waits until it is enabled.
    #[serde(default)]
    enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateWebhook {
    /// For so many seconds deliveries are signed with the secrets before it as well. Default a day, at most 31; 0 = they are void at once.
    #[serde(default)]
    overlap_s: Option<u64>,
}

fn events_of(names: &[String]) -> Result<Vec<WebhookEvent>, ApiError> {
    let mut events = Vec::with_capacity(names.len());
    for name in names {
        let event = WebhookEvent::of(name).ok_or_else(|| {
            let known: Vec<&str> = WebhookEvent::ALL.into_iter().map(WebhookEvent::as_str).collect();
            ApiError::bad_request(format!("there is no event `{name}`: there are {}", known.join(", ")))
        })?;
        if !events.contains(&event) {
            events.push(event);
        }
    }
    Ok(events)
}

fn check_url(app: &App, url: &str) -> Result<(), ApiError> {
    app.sender().check_url(url).map_err(|error| ApiError::bad_request(format!("`url`: {error}")))
}

fn check_description(text: &str) -> Result<(), ApiError> {
    check_text("description", text, 1_000)
}

/// Whoever has the words sent somewhere can read them there.
fn check_content(caller: &Caller, include_content: bool) -> Result<(), ApiError> {
    if include_content && !may_read(caller) {
        let detail =
            "a webhook that includes content needs a key with `memory-read` and `context-read`: leave out `include`, or use another key";
        return Err(ApiError::forbidden(detail));
    }
    Ok(())
}

async fn found(app: &App, caller: &Caller, id: &str) -> Result<(Scope, Webhook), ApiError> {
    let scope = caller.scope()?;
    let webhook = app.store().webhook(&scope, parse_id(id, "webhook")?).await?;
    Ok((scope, webhook))
}

/// Makes a webhook: from now on it is told what happens. The answer has its secret, which is not shown again.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", params(("Idempotency-Key" = Option<String>, Header)), request_body = CreateWebhook, responses((status = 201, description = "Made; its version is the `ETag`. A repetition has no secret", body = WebhookJson)))]
async fn create_webhook(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<CreateWebhook>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let CreateWebhook { url, events, description, include } = body.value;
    check_url(&app, &url)?;
    check_description(&description)?;
    check_content(&caller, include.is_some())?;
    let events = events_of(&events)?;
    let derived = idempotency::derived_id(&headers, &caller, "webhook")?.map(WebhookId::from_uuid);
    if let Some(id) = derived {
        let is_same = |w: &Webhook| (&w.url, &w.events, w.include_content) == (&url, &events, include.is_some());
        if let Some(known) = idempotency::replayed(app.store().webhook(&scope, id).await, is_same)? {
            return Ok(WebhookJson::of(known, app.now()).answer(StatusCode::CREATED));
        }
    }
    let id = derived.unwrap_or_else(WebhookId::new);
    let (secret, secrets) = webhooks::added(app.vault()?, &scope, id, &[], app.now(), Duration::ZERO).await?;
    let webhook = Webhook {
        id,
        url,
        description,
        events,
        include_content: include.is_some(),
        secrets,
        state: WebhookState::Enabled,
        disabled_because: None,
        failing_since: None,
        not_before: None,
        version: 0,
        created_at: app.now(),
        updated_at: app.now(),
    };
    let sealed = webhook.secrets.clone();
    let made = app.store().create_webhook(&scope, webhook, app.config().webhooks.per_tenant).await?;
    // Somebody with the same key may have been faster: then this secret is not the one.
    let is_own = made.secrets == sealed;
    let made = WebhookJson::of(made, app.now());
    Ok(if is_own { made.with_secret(&secret) } else { made }.answer(StatusCode::CREATED))
}

/// All webhooks of the tenant, oldest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", responses((status = 200, description = "All of them, without their secrets", body = List<WebhookJson>)))]
async fn list_webhooks(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<WebhookJson>>, ApiError> {
    let found = app.store().webhooks(&caller.scope()?).await?;
    let now = app.now();
    Ok(axum::Json(List { items: found.into_iter().map(|w| WebhookJson::of(w, now)).collect(), next: None }))
}

/// One webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 200, description = "The webhook; its version is the `ETag`", body = WebhookJson)))]
async fn get_webhook(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let (_, webhook) = found(&app, &caller, &id).await?;
    Ok(WebhookJson::of(webhook, app.now()).answer(StatusCode::OK))
}

/// Changes a webhook; fields that are left out stay.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The version that was read")), request_body = ChangeWebhook, responses((status = 200, description = "The webhook as it is now", body = WebhookJson)))]
async fn change_webhook(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<ChangeWebhook>,
) -> Result<Response, ApiError> {
    let (scope, known) = found(&app, &caller, &id).await?;
    let expected = if_match(&headers)?;
    let ChangeWebhook { url, events, description, include, enabled } = body.value;
    if let Some(url) = &url {
        check_url(&app, url)?;
    }
    if let Some(description) = &description {
        check_description(description)?;
    }
    let include_content = include.map_or(known.include_content, |include| include.is_some());
    check_content(&caller, include_content)?;
    let state = match enabled {
        Some(true) => WebhookState::Enabled,
        Some(false) => WebhookState::Disabled,
        None => known.state,
    };
    let is_switched_off = state == WebhookState::Disabled && known.state == WebhookState::Enabled;
    let webhook = Webhook {
        url: url.unwrap_or(known.url),
        events: events.map_or(Ok(known.events), |events| events_of(&events))?,
        description: description.unwrap_or(known.description),
        include_content,
        state,
        disabled_because: if is_switched_off { Some("it was switched off".into()) } else { known.disabled_because },
        version: expected.unwrap_or(known.version),
        ..known
    };
    let put = precondition(app.store().put_webhook(&scope, webhook).await, expected)?;
    Ok(WebhookJson::of(put, app.now()).answer(StatusCode::OK))
}

/// Forgets a webhook, with its deliveries.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 204, description = "Gone")))]
async fn delete_webhook(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.store().drop_webhook(&caller.scope()?, parse_id(&id, "webhook")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook a fresh secret, which is shown once. For a while deliveries are signed with the ones before it as well, so that receivers
/// can be changed in their own time.
#[utoipa::path(post, path = "/webhooks/{id}/rotate", tag = "webhooks", params(("id" = String, Path)), request_body = RotateWebhook, responses((status = 200, description = "With the fresh secret", body = WebhookJson)))]
async fn rotate_webhook(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<RotateWebhook>,
) -> Result<Response, ApiError> {
    let overlap = body.value.overlap_s.unwrap_or(OVERLAP_S);
    if overlap > LONGEST_OVERLAP_S {
        return Err(ApiError::bad_request(format!("`overlap_s` must be at most {LONGEST_OVERLAP_S}: 31 days")));
    }
    let (scope, known) = found(&app, &caller, &id).await?;
    let overlap = Duration::from_secs(overlap);
    let (secret, secrets) = webhooks::added(app.vault()?, &scope, known.id, &known.secrets, app.now(), overlap).await?;
    let put = app.store().put_webhook(&scope, Webhook { secrets, ..known }).await?;
    Ok(WebhookJson::of(put, app.now()).with_secret(&secret).answer(StatusCode::OK))
}

/// Sends `webhook.test` to a webhook, whatever events it hears.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 202, description = "The delivery, on its way", body = DeliveryJson)))]
async fn test_webhook(State(app): State<App>, caller: Caller, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let derived = idempotency::derived_id(&headers, &caller, "delivery")?.map(DeliveryId::from_uuid);
    let scope = caller.scope()?;
    let delivery = app.store().test_webhook(&scope, parse_id(&id, "webhook")?, derived.unwrap_or_else(DeliveryId::new)).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(DeliveryJson::from(delivery))).into_response())
}
