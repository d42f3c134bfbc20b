//! An online copy of the embedded store.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(backup))
}

/// A copy of the whole store as it is now, while it goes on working. Operators only.
///
/// The answer is the database file: put it as `sid.db` into an empty data folder to restore it. Stores without an online copy (the
/// in-process one) answer 501.
#[utoipa::path(post, path = "/backup", operation_id = "backup_store", tag = "operations", responses((status = 200, description = "The database file", content_type = "application/octet-stream")))]
async fn backup(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.operator()?;
    let Some(copy) = app.backend().backup().await? else {
        let detail = format!("the {} store has no online copy", app.config().store.kind.name());
        return Err(ApiError::new(ApiCode::Unsupported, detail));
    };
    let unreadable = |e: std::io::Error| {
        tracing::error!("the backup cannot be read back: {e}");
        ApiError::new(ApiCode::Internal, "the backup cannot be read back; the server's log says more")
    };
    let file = tokio::fs::File::open(copy.path()).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    // The open file outlives its name, and the copy's name goes right here, whatever becomes of the connection.
    drop(copy);
    let name = format!("attachment; filename=\"sid-{}.db\"", app.now().strftime("%Y%m%dT%H%M%SZ"));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}
