//! Google Drive: a person connects it, searches it, imports from it, and takes the yes back.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sid_types::{Owner, Scope, UserId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::DocumentJson;
use super::names::Names;
use super::wire::OwnerJson;
use crate::App;
use crate::auth::Caller;
use crate::drive::{ConnectionError, Connections, NOT_SET_UP, Place};
use crate::error::{ApiCode, ApiError};
use crate::extract::{Confidential, Json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_drive, disconnect_drive))
        .routes(routes!(connect_drive))
        .routes(routes!(finish_drive))
        .routes(routes!(search_drive))
        .routes(routes!(import_drive_file))
}

impl From<ConnectionError> for ApiError {
    fn from(error: ConnectionError) -> Self {
        use sid_assistant::DriveError;
        match error {
            ConnectionError::Context(error) => error.into(),
            ConnectionError::Core(error) => error.into(),
            ConnectionError::Drive(DriveError::NoFile) => Self::not_found("file"),
            ConnectionError::Drive(error @ (DriveError::Unreachable(_) | DriveError::NoTokens(_) | DriveError::Refused { .. })) => {
                Self::new(ApiCode::Upstream, error.to_string())
            }
            ConnectionError::Busy => Self::new(ApiCode::Upstream, error.to_string()),
            error => Self::bad_request(error.to_string()),
        }
    }
}

/// The person whose Drive it is, and the connections.
fn of<'a>(app: &'a App, caller: &Caller) -> Result<(&'a Connections, Scope, UserId), ApiError> {
    let user =
        caller.user().ok_or_else(|| ApiError::bad_request("a Drive is a person's: act as a user, with a user's key or `X-Sid-User`"))?;
    caller.about(Some(user));
    let connections = app.drive().ok_or_else(|| ApiError::bad_request(NOT_SET_UP))?;
    Ok((connections, caller.scope()?, user))
}

/// Whether a person's Drive is connected.
#[derive(Debug, Serialize, ToSchema)]
struct DriveJson {
    /// Whether an operator has set Google Drive up on this server.
    available: bool,
    /// Whether the person has said yes.
    connected: bool,
}

/// Whether the caller's Google Drive is connected.
#[utoipa::path(get, path = "/drive", tag = "documents", responses((status = 200, description = "Whether it is", body = DriveJson)))]
async fn get_drive(State(app): State<App>, caller: Caller) -> Result<axum::Json<DriveJson>, ApiError> {
    if app.drive().is_none() {
        return Ok(axum::Json(DriveJson { available: false, connected: false }));
    }
    let (connections, scope, user) = of(&app, &caller)?;
    Ok(axum::Json(DriveJson { available: true, connected: connections.is_connected(&scope, user).await? }))
}

/// Where to send the person.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectDriveJson {
    /// Google's page, where the person says yes. It sends the browser to `google.redirect_url` with `state` and `code`.
    authorization_url: String,
}

/// Begins to connect the caller's Google Drive.
#[utoipa::path(post, path = "/drive/connect", tag = "documents", responses((status = 200, description = "Where to send the person", body = ConnectDriveJson)))]
async fn connect_drive(State(app): State<App>, caller: Caller) -> Result<axum::Json<ConnectDriveJson>, ApiError> {
    let (connections, scope, user) = of(&app, &caller)?;
    Ok(axum::Json(ConnectDriveJson { authorization_url: connections.begin(&scope, user).await? }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FinishDrive {
    /// As it came back.
    state: String,
    /// As it came back.
    code: String,
}

/// Ends it, with what Google has sent the person's browser back with. The same caller who began: nobody connects a Drive for somebody else.
#[utoipa::path(post, path = "/drive/callback", tag = "documents", request_body = FinishDrive, responses((status = 204, description = "Connected")))]
async fn finish_drive(State(app): State<App>, caller: Caller, body: Confidential<FinishDrive>) -> Result<StatusCode, ApiError> {
    let (connections, scope, user) = of(&app, &caller)?;
    connections.finish(&scope, user, &body.0.state, &body.0.code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the yes back, at Google, too. Documents that were imported stay.
#[utoipa::path(delete, path = "/drive", tag = "documents", responses((status = 204, description = "Disconnected")))]
async fn disconnect_drive(State(app): State<App>, caller: Caller) -> Result<StatusCode, ApiError> {
    let (connections, scope, user) = of(&app, &caller)?;
    connections.disconnect(&scope, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchDrive {
    /// Words of its name or its text.
    query: String,
    /// Most files, 1 to 100. Default 10.
    #[serde(default)]
    k: Option<usize>,
}

/// A file of Google Drive.
#[derive(Debug, Serialize, ToSchema)]
struct DriveFileJson {
    /// As `POST /drive/import` takes it.
    id: String,
    name: String,
    media_type: String,
    /// Whether it can be read here.
    readable: bool,
    modified_at: Option<String>,
    /// Where a person sees it.
    link: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
struct DriveFilesJson {
    files: Vec<DriveFileJson>,
}

/// Files of the caller's Google Drive.
#[utoipa::path(post, path = "/drive/search", tag = "documents", request_body = SearchDrive, responses((status = 200, description = "What was found", body = DriveFilesJson)))]
async fn search_drive(State(app): State<App>, caller: Caller, body: Json<SearchDrive>) -> Result<axum::Json<DriveFilesJson>, ApiError> {
    let (connections, scope, user) = of(&app, &caller)?;
    let SearchDrive { query, k } = body.value;
    let found = connections.search(&scope, user, &query, k.unwrap_or(10)).await?;
    let shown = |file: sid_assistant::DriveFile| DriveFileJson {
        readable: file.format().is_some(),
        id: file.id,
        name: file.name,
        media_type: file.mime_type,
        modified_at: file.modified_time,
        link: file.web_view_link,
    };
    Ok(axum::Json(DriveFilesJson { files: found.into_iter().map(shown).collect() }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ImportDriveFile {
    /// Its id.
    file: String,
    /// Whose the document will be; the caller's when left out.
    #[serde(default)]
    owner: Option<OwnerJson>,
}

/// Keeps a file of the caller's Google Drive as a document; a Google Doc as Markdown. The same file again is the document's new version.
#[utoipa::path(post, path = "/drive/import", tag = "documents", request_body = ImportDriveFile, responses((status = 201, description = "Kept", body = DocumentJson)))]
async fn import_drive_file(
    State(app): State<App>,
    caller: Caller,
    body: Json<ImportDriveFile>,
) -> Result<(StatusCode, axum::Json<DocumentJson>), ApiError> {
    let (connections, scope, user) = of(&app, &caller)?;
    let ImportDriveFile { file, owner } = body.value;
    let owner = match owner {
        Some(owner) => owner.resolve(&Names::new(app.store(), &scope)).await?,
        None => Owner::User { user },
    };
    let to = Place { owner, conversation: None, run: None, channel: "import" };
    let document = connections.import(app.engine().library(), &scope, user, &file, to).await?;
    Ok((StatusCode::CREATED, axum::Json(document.into())))
}
