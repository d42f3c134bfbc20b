//! The audit log: who read or wrote whose memory.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sid_store::{AuditEntry, AuditFilter};
use sid_types::{AgentId, KeyId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::Names;
use super::wire::{List, Paging};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Query;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

/// One thing that was done, or refused. It names things, and holds nothing of what is in them.
#[derive(Debug, Serialize, ToSchema)]
struct AuditJson {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The operation, as in the OpenAPI document; `none` where there is no such route.
    operation: String,
    /// The key that was shown; of a token, an id that stands for its issuer and subject.
    #[schema(value_type = String)]
    key: KeyId,
    /// The person who acted, or for whom an assistant did.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// The assistant that acted.
    #[schema(value_type = Option<String>)]
    agent: Option<AgentId>,
    /// Whose memory it was, where that is one person's.
    #[schema(value_type = Option<String>)]
    subject: Option<UserId>,
    /// What the path named: ids and names.
    resource: Option<String>,
    /// How it was answered; 499 = nobody waited for the answer.
    status: u16,
    /// `X-Request-Id`.
    request: Option<String>,
}

impl From<AuditEntry> for AuditJson {
    fn from(e: AuditEntry) -> Self {
        let AuditEntry { tenant: _, at, key, user, agent, operation, subject, resource, status, request } = e;
        Self { at, operation, key, user, agent, subject, resource, status, request }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only by this person, or about this person's memory (id or `@handle`).
    about: Option<String>,
    /// Only this operation.
    operation: Option<String>,
    /// Only from this moment on.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// The audit log of the tenant, newest first: who read or wrote whose memory, and who was refused. A user sees what it did, and what was
/// done with its memory.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "audit", params(AuditQuery), responses((status = 200, description = "A page of entries", body = List<AuditJson>)))]
async fn list_audit(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<axum::Json<List<AuditJson>>, ApiError> {
    let scope = caller.scope()?;
    let about = match &query.about {
        Some(user) => Some(Names::new(app.store(), &scope).user(user).await?),
        None => None,
    };
    caller.about(about);
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    // Whoever asks sees what was done before, here.
    app.audit().flush().await;
    let filter = AuditFilter { about, operation: query.operation, since: query.since };
    Ok(axum::Json(List::of(app.store().audit(&scope, &filter, page).await?)))
}
