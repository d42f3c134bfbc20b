//! What an assistant reads when it starts: the overview, the time, its session.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sid_context::{BUDGETS, Contact, Grounding, Head, Overview, USUAL_BUDGET};
use sid_types::{Timestamp, Tokens};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::user_of;
use super::wire::ShareLevelJson;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Query;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_overview)).routes(routes!(get_time)).routes(routes!(begin_session))
}

/// A contact of an assistant with its user.
#[derive(Debug, Serialize, ToSchema)]
struct ContactJson {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Which assistant; `null` = the user or the application itself.
    agent: Option<String>,
    /// How long ago, in seconds.
    gap_s: i64,
    /// How long ago, in words: `9 days`.
    gap: String,
}

impl From<Contact> for ContactJson {
    fn from(contact: Contact) -> Self {
        let Contact { at, agent, gap_s, gap } = contact;
        Self { at, agent: agent.map(|id| id.to_string()), gap_s, gap }
    }
}

/// The present moment, as the user lives it.
#[derive(Debug, Serialize, ToSchema)]
struct TimeJson {
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// The user's IANA time zone.
    timezone: String,
    /// The same moment there, with its offset.
    local: String,
    weekday: String,
    /// The last contact of any assistant with the user.
    last_contact: Option<ContactJson>,
    /// All of it in a sentence.
    words: String,
}

impl From<Grounding> for TimeJson {
    fn from(grounding: Grounding) -> Self {
        let Grounding { now, timezone, local, weekday, last_contact, words } = grounding;
        Self { now, timezone, local, weekday, last_contact: last_contact.map(Into::into), words }
    }
}

/// One line of the overview.
#[derive(Debug, Serialize, ToSchema)]
struct HeadJson {
    /// Read it whole by this: `GET /context/items/{id}`.
    id: String,
    kind: &'static str,
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    /// Of notes: the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Whether the text was cut to fit the budget.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_cut: bool,
    /// Left out where everything is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<ShareLevelJson>,
    /// Whether somebody else shares it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_shared: bool,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Head> for HeadJson {
    fn from(head: Head) -> Self {
        let level = ShareLevelJson::from(head.level);
        Self {
            id: head.id.to_string(),
            kind: head.kind.as_str(),
            title: head.title,
            state: head.state,
            body: head.body,
            is_cut: head.is_cut,
            level: (level != ShareLevelJson::Full).then_some(level),
            is_shared: head.is_shared,
            updated_at: head.updated_at,
        }
    }
}

/// What an assistant should know before the first word.
#[derive(Debug, Serialize, ToSchema)]
struct OverviewJson {
    time: TimeJson,
    /// Notes whole, of everything else the titles. By kind; inside a kind the last changed first.
    items: Vec<HeadJson>,
    /// Changes that wait for the user's consent.
    open_proposals: usize,
    /// Kinds of which there is more than is shown.
    more: Vec<&'static str>,
    /// What this costs in tokens, about; never more than the budget.
    tokens: u32,
    budget_tokens: u32,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContextQuery {
    /// Most tokens, 200 to 32000. Default 2000.
    budget_tokens: Option<u32>,
}

/// What an assistant reads when it starts: the time, always-load notes whole, the titles of everything else; within a token budget, however much there is.
#[utoipa::path(get, path = "/context", tag = "context", params(ContextQuery), responses((status = 200, description = "The overview", body = OverviewJson)))]
async fn get_overview(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ContextQuery>,
) -> Result<axum::Json<OverviewJson>, ApiError> {
    user_of(&caller)?;
    let budget = query.budget_tokens.unwrap_or(USUAL_BUDGET.0);
    if !BUDGETS.contains(&budget) {
        return Err(ApiError::bad_request(format!("`budget_tokens` must be {} to {}, not {budget}", BUDGETS.start(), BUDGETS.end())));
    }
    let Overview { grounding, heads, open_proposals, more, tokens } =
        app.context().overview(&caller.scope()?, Tokens(budget), &sid_memory::count_bytes).await?;
    Ok(axum::Json(OverviewJson {
        time: grounding.into(),
        items: heads.into_iter().map(Into::into).collect(),
        open_proposals,
        more: more.into_iter().map(sid_types::ItemKind::as_str).collect(),
        tokens: tokens.0,
        budget_tokens: budget,
    }))
}

/// What day it is for the user, and how long ago the last contact was.
#[utoipa::path(get, path = "/context/time", tag = "context", responses((status = 200, description = "The time", body = TimeJson)))]
async fn get_time(State(app): State<App>, caller: Caller) -> Result<axum::Json<TimeJson>, ApiError> {
    user_of(&caller)?;
    Ok(axum::Json(app.context().grounding(&caller.scope()?).await?.into()))
}

/// A session, and what day it is.
#[derive(Debug, Serialize, ToSchema)]
struct SessionJson {
    /// The session's id: the last one of this assistant, or a new one after a gap.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// `last_contact` is the one before this.
    time: TimeJson,
}

/// Says that the assistant is in contact with its user, and learns how long ago the last contact was.
#[utoipa::path(post, path = "/context/sessions", tag = "context", responses((status = 200, description = "The session", body = SessionJson)))]
async fn begin_session(State(app): State<App>, caller: Caller) -> Result<axum::Json<SessionJson>, ApiError> {
    user_of(&caller)?;
    let (session, time) = app.context().begin_session(&caller.scope()?).await?;
    Ok(axum::Json(SessionJson { id: session.id.to_string(), started_at: session.created_at, time: time.into() }))
}
