//! What agents begin by themselves: heartrate, quiet hours and caps, as the API knows them.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sid_types::{Caps, Heartrate, Held, Principal, QuietHours, TimerMaker, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::Names;
use super::timers::{TimerJson, answer};
use super::wire::parse_id;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(set_heartrate))
}

/// How often an agent wakes by itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartrateJson {
    /// Milliseconds from one heartbeat to the next; not below `engine.shortest_timer_ms`.
    every_ms: u64,
    /// Whether it wakes only while something is open: a task, a letter that was not delivered, a question that waits for an answer. Default `false`.
    #[serde(default)]
    only_when_open: bool,
}

impl From<Heartrate> for HeartrateJson {
    fn from(rate: Heartrate) -> Self {
        let Heartrate { every_ms, only_when_open } = rate;
        Self { every_ms, only_when_open }
    }
}

impl From<HeartrateJson> for Heartrate {
    fn from(rate: HeartrateJson) -> Self {
        let HeartrateJson { every_ms, only_when_open } = rate;
        Self { every_ms, only_when_open }
    }
}

/// Most of what is begun without anybody asking at that moment: by heartbeats, timers and tasks. Left out or null = as configured; 0 = no limit.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapsJson {
    /// Runs that begin in an hour (UTC).
    #[serde(default)]
    runs_per_hour: Option<u64>,
    /// Runs that begin in a day (UTC).
    #[serde(default)]
    runs_per_day: Option<u64>,
    /// Tokens that such runs use in a day (UTC), prompts and answers together.
    #[serde(default)]
    tokens_per_day: Option<u64>,
}

impl From<Caps> for CapsJson {
    fn from(caps: Caps) -> Self {
        let Caps { runs_per_hour, runs_per_day, tokens_per_day } = caps;
        Self { runs_per_hour, runs_per_day, tokens_per_day }
    }
}

impl From<CapsJson> for Caps {
    fn from(caps: CapsJson) -> Self {
        let CapsJson { runs_per_hour, runs_per_day, tokens_per_day } = caps;
        Self { runs_per_hour, runs_per_day, tokens_per_day }
    }
}

/// Why something did not begin at its moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeldJson {
    /// `late`, `quiet_hours`, `agent_runs_per_hour`, `agent_runs_per_day`, `agent_tokens_per_day`, `tenant_runs_per_hour`, `tenant_runs_per_day`,
    /// `tenant_tokens_per_day`, `nothing_open`, `asleep` or `still_awake`.
    by: &'static str,
    /// When it was held back.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// It waits until then; `null` = it was left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

impl From<Held> for HeldJson {
    fn from(held: Held) -> Self {
        Self { by: held.by.as_str(), at: held.at, until: held.until }
    }
}

/// Quiet hours as they are written, such as `22:00-07:00`.
pub(super) fn quiet_hours(text: Option<&str>) -> Result<Option<QuietHours>, ApiError> {
    text.map(|text| text.parse().map_err(|error| ApiError::bad_request(format!("`quiet_hours`: {error}")))).transpose()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetHeartrate {
    /// Id or `@handle`; the caller itself for user keys. Left out by a tenant key: of the agent alone.
    #[serde(default)]
    user: Option<String>,
    /// Where it is told; left out: where it was told before, or in the conversation with the key `autonomous`.
    #[serde(default)]
    conversation: Option<String>,
    /// Milliseconds from one heartbeat to the next.
    every_ms: u64,
    /// Whether it wakes only while something is open. Default `false`.
    #[serde(default)]
    only_when_open: bool,
}

/// Sets how often an agent wakes by itself for one user, whatever its own heartrate is; answers the heartbeat, which is a timer: paused it is off, and
/// once it is deleted the agent's own heartrate holds again.
#[utoipa::path(put, path = "/agents/{id}/heartrate", tag = "agents", params(("id" = String, Path, description = "Id or `@name`")), request_body = SetHeartrate, responses((status = 200, description = "The heartbeat", body = TimerJson)))]
async fn set_heartrate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<SetHeartrate>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let SetHeartrate { user, conversation, every_ms, only_when_open } = body.value;
    let names = Names::new(app.store(), &scope);
    let agent = names.agent(&id).await?;
    let user = match &user {
        Some(user) => Some(names.user(user).await?),
        None => caller.user(),
    };
    caller.about(user);
    let conversation = conversation.map(|id| parse_id(&id, "conversation")).transpose()?;
    let made_by = match scope.principal() {
        Principal::User { .. } => TimerMaker::User,
        Principal::Tenant { .. } | Principal::Turn { .. } => TimerMaker::Api,
    };
    let rate = Heartrate { every_ms, only_when_open };
    let timer = app.engine().set_heartrate(&scope, agent, user, conversation, rate, made_by).await?;
    Ok(answer(axum::http::StatusCode::OK, timer))
}
