//! Approvals: calls of agents that wait for somebody's word.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sid_store::{ApprovalFilter, Verdict};
use sid_types::{AgentId, Approval, ApprovalId, ApprovalState, ConversationId, Principal, RunId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::check_text;
use super::wire::{List, Paging, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_approvals)).routes(routes!(get_approval, decide_approval))
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApprovalStatus {
    /// Nobody has said anything yet.
    Pending,
    /// Somebody said yes: the call was made, or is being made.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody said anything in time.
    Expired,
}

impl From<ApprovalState> for ApprovalStatus {
    fn from(state: ApprovalState) -> Self {
        match state {
            ApprovalState::Pending => Self::Pending,
            ApprovalState::Approved => Self::Approved,
            ApprovalState::Denied => Self::Denied,
            ApprovalState::Expired => Self::Expired,
        }
    }
}

impl From<ApprovalStatus> for ApprovalState {
    fn from(status: ApprovalStatus) -> Self {
        match status {
            ApprovalStatus::Pending => Self::Pending,
            ApprovalStatus::Approved => Self::Approved,
            ApprovalStatus::Denied => Self::Denied,
            ApprovalStatus::Expired => Self::Expired,
        }
    }
}

/// A call that waits, or waited, for somebody's word.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalJson {
    #[schema(value_type = String)]
    id: ApprovalId,
    #[schema(value_type = String)]
    conversation: ConversationId,
    #[schema(value_type = String)]
    agent: AgentId,
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// The run that asked.
    #[schema(value_type = String)]
    run: RunId,
    /// The function.
    tool: String,
    /// What it is called with, as it is shown and as it is made.
    #[schema(value_type = Object)]
    arguments: serde_json::Map<String, serde_json::Value>,
    /// Why it is asked.
    reason: String,
    status: ApprovalStatus,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// From then on nobody can say yes any more.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// Id of the user or key that decided; `null` when it expired.
    decided_by: Option<String>,
    /// What whoever decided said to it.
    note: Option<String>,
    /// The run that made the call, or that told the agent that it must not.
    #[schema(value_type = Option<String>)]
    answered_by: Option<RunId>,
}

impl From<Approval> for ApprovalJson {
    fn from(a: Approval) -> Self {
        let decided_by = a.decided_by.map(|by| match by {
            Principal::User { user } => user.to_string(),
            Principal::Tenant { key } => key.to_string(),
            Principal::Turn { agent, .. } => agent.to_string(),
        });
        Self {
            id: a.id,
            conversation: a.conversation,
            agent: a.agent,
            user: a.user,
            run: a.run,
            tool: a.call.name,
            arguments: a.call.arguments,
            reason: a.reason,
            status: a.state.into(),
            asked_at: a.asked_at,
            expires_at: a.expires_at,
            decided_at: a.decided_at,
            decided_by,
            note: a.note,
            answered_by: a.answered_by,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ApprovalQuery {
    /// Only these.
    #[param(inline)]
    status: Option<ApprovalStatus>,
    /// Only of this conversation.
    conversation: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Calls that wait, or waited, for somebody's word, newest first: of the conversations that the caller sees.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalQuery), responses((status = 200, description = "A page of approvals", body = List<ApprovalJson>)))]
async fn list_approvals(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ApprovalQuery>,
) -> Result<axum::Json<List<ApprovalJson>>, ApiError> {
    let conversation = query.conversation.map(|id| parse_id(&id, "conversation")).transpose()?;
    let filter = ApprovalFilter { state: query.status.map(Into::into), conversation };
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    Ok(axum::Json(List::of(app.engine().approvals(&caller.scope()?, &filter, page).await?)))
}

/// One of them.
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals", params(("id" = String, Path)), responses((status = 200, description = "The approval", body = ApprovalJson)))]
async fn get_approval(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<ApprovalJson>, ApiError> {
    let id = parse_id(&id, "approval")?;
    Ok(axum::Json(app.store().approval(&caller.scope()?, id).await?.into()))
}

/// Yes or no.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Decision {
    /// The call is made, with the arguments that were shown.
    Approve,
    /// It is not.
    Deny,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecideApproval {
    decision: Decision,
    /// What the agent is told beside it: at most 1000 characters.
    #[serde(default)]
    note: Option<String>,
}

/// Says yes or no. The agent is told by a run in the conversation (`answered_by`), which begins with the call if it was approved. The same
/// again changes nothing; another decision is a 409, and so is a yes to what has expired. For people, not for assistants.
#[utoipa::path(post, path = "/approvals/{id}", tag = "approvals", params(("id" = String, Path)), request_body = DecideApproval, responses((status = 200, description = "As it is now", body = ApprovalJson)))]
async fn decide_approval(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<DecideApproval>,
) -> Result<axum::Json<ApprovalJson>, ApiError> {
    let id = parse_id(&id, "approval")?;
    let DecideApproval { decision, note } = body.value;
    if let Some(note) = &note {
        check_text("note", note, sid_store::MOST_NOTE_CHARS)?;
    }
    let verdict = match decision {
        Decision::Approve => Verdict::Approve,
        Decision::Deny => Verdict::Deny,
    };
    Ok(axum::Json(app.engine().decide(&caller.scope()?, id, verdict, note).await?.into()))
}
