//! The REST API, `/api/v1`: one module per resource.

mod agents;
mod approvals;
mod audit;
mod backup;
mod blocks;
pub(crate) mod client_calls;
mod colleagues;
mod context;
mod conversations;
mod deliveries;
mod document;
mod documents;
mod drive;
mod egos;
mod erase;
mod export;
mod generations;
mod images;
mod initiative;
mod keys;
pub(crate) mod logins;
pub(crate) mod messages;
mod models;
mod names;
mod passages;
mod runs;
mod search;
mod sources;
mod tasks;
mod teams;
mod tenants;
mod timers;
mod tool_rules;
mod tools;
mod users;
mod webhooks;
pub(crate) mod wire;

pub(crate) use document::{blank, finish};
pub(crate) use names::{check_key, check_name};
use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// All resources, below `/api/v1`.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(tenants::router())
        .merge(keys::router())
        .merge(users::router())
        .merge(teams::router())
        .merge(agents::router())
        .merge(initiative::router())
        .merge(egos::router())
        .merge(conversations::router())
        .merge(messages::router())
        .merge(runs::router())
        .merge(approvals::router())
        .merge(sources::router())
        .merge(blocks::router())
        .merge(passages::router())
        .merge(search::router())
        .merge(documents::router())
        .merge(drive::router())
        .merge(context::router())
        .merge(images::router())
        .merge(timers::router())
        .merge(tools::router())
        .merge(logins::router())
        .merge(tasks::router())
        .merge(webhooks::router())
        .merge(deliveries::router())
        .merge(models::router())
        .merge(backup::router())
        .merge(audit::router())
        .merge(export::router())
        .merge(generations::router())
}
