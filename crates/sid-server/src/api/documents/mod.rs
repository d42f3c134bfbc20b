//! Documents: texts from outside that are read in parts, and cited.

mod wire;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sid_core::{Bring, DocumentSearch};
use sid_store::DocumentFilter;
use sid_types::{ConversationId, Document, DocumentFormat, DocumentId, Owner, Provenance, Scope};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name};
use super::wire::{List, OwnerJson, OwnerType, Paging, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, read_body_within};
use crate::idempotency;

pub(crate) use wire::{CitationJson, DocumentJson};
use wire::{DocumentHitsJson, FormatJson, PartsJson, part_json};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(add_document, list_documents))
        .routes(routes!(search_documents))
        .routes(routes!(describe_document, replace_document, remove_document))
        .routes(routes!(read_document))
        .routes(routes!(download_document))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AddQuery {
    /// What it is called, and cited as, such as the file's name. 1 to 200 characters.
    title: String,
    /// What its bytes are. When left out: as `Content-Type` says, else as the title ends (`.txt`, `.md`, `.html`, `.pdf`).
    #[param(inline)]
    format: Option<FormatJson>,
    /// `tenant`, `team`, `user`, `agent` or `pair`. When left out: what the caller is, a user, an assistant of a user, or the tenant.
    #[param(inline)]
    owner_type: Option<OwnerType>,
    /// For `team`: id or `@name`.
    team: Option<String>,
    /// For `user` and `pair`: id or `@handle`.
    user: Option<String>,
    /// For `agent` and `pair`: id or `@name`.
    agent: Option<String>,
}

/// What the request's headers say of its bytes.
fn told(headers: &HeaderMap) -> Option<DocumentFormat> {
    DocumentFormat::of_media_type(headers.get(header::CONTENT_TYPE)?.to_str().ok()?)
}

fn format_of(given: Option<FormatJson>, headers: &HeaderMap, title: &str) -> Result<DocumentFormat, ApiError> {
    let found = given.map(Into::into).or_else(|| told(headers)).or_else(|| DocumentFormat::of_name(title));
    found.ok_or_else(|| {
        let read = "text/plain, text/markdown, text/html and application/pdf are read";
        ApiError::bad_request(format!("it is not known what the bytes are: say `format`, or a `Content-Type` ({read})"))
    })
}

/// What the request's body is to become.
struct Upload {
    id: DocumentId,
    owner: Owner,
    /// With which it goes.
    conversation: Option<ConversationId>,
    title: String,
    format: DocumentFormat,
    content: Vec<u8>,
}

async fn bring(app: &App, caller: &Caller, scope: &Scope, upload: Upload) -> Result<Document, ApiError> {
    let Upload { id, owner, conversation, title, format, content } = upload;
    check_name("title", &title, Document::TITLE_CHARS)?;
    if content.is_empty() {
        return Err(ApiError::bad_request("the body is empty: send the document's bytes"));
    }
    let provenance = Provenance { user: caller.user(), conversation, channel: "api".into(), ..Provenance::default() };
    let bring = Bring { id, owner, title, format, origin: None, content, provenance };
    Ok(app.engine().library().bring(scope, bring).await?)
}

async fn body_of(app: &App, request: Request) -> Result<Vec<u8>, ApiError> {
    let limit = usize::try_from(app.engine().library().most_bytes()).unwrap_or(usize::MAX);
    Ok(read_body_within(request, limit, "documents.max_bytes").await?.to_vec())
}

/// Keeps a document, whose bytes are the body. It is read in the background: `status` says when what it says can be found. The owner's document with
/// the same bytes is the answer if there is one. Who may: as for passages.
#[utoipa::path(post, path = "/documents", tag = "documents", params(AddQuery, ("Idempotency-Key" = Option<String>, Header)), request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The bytes; `Content-Type` may say what they are"), responses((status = 201, description = "Kept", body = DocumentJson)))]
async fn add_document(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AddQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, axum::Json<DocumentJson>), ApiError> {
    let scope = caller.scope()?;
    let AddQuery { title, format, owner_type, team, user, agent } = query;
    let owner = match owner_type {
        Some(r#type) => OwnerJson { r#type, team, user, agent }.resolve(&Names::new(app.store(), &scope)).await?,
        None if team.is_some() || user.is_some() || agent.is_some() => {
            return Err(ApiError::bad_request("say whose it is with `owner_type`, too"));
        }
        None => match (caller.agent(), caller.user()) {
            (Some(agent), user) => Owner::of_conversation(agent, user),
            (None, Some(user)) => Owner::User { user },
            (None, None) => Owner::Tenant,
        },
    };
    caller.about(owner.user());
    let format = format_of(format, &headers, &title)?;
    let derived = idempotency::derived_id(&headers, &caller, "document")?.map(DocumentId::from_uuid);
    let content = body_of(&app, request).await?;
    if let Some(id) = derived {
        let digest = sid_documents::digest(&content);
        let is_same = |known: &Document| known.owner == owner && known.title == title.trim() && known.digest == digest;
        if let Some(known) = idempotency::replayed(app.store().document(&scope, id).await, is_same)? {
            return Ok((StatusCode::CREATED, axum::Json(known.into())));
        }
    }
    let id = derived.unwrap_or_else(DocumentId::new);
    let document = bring(&app, &caller, &scope, Upload { id, owner, conversation: None, title, format, content }).await?;
    Ok((StatusCode::CREATED, axum::Json(document.into())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReplaceQuery {
    /// A new title; the one that it has when left out.
    title: Option<String>,
    /// What the bytes are. When left out: as `Content-Type` says, else what they were.
    #[param(inline)]
    format: Option<FormatJson>,
}

/// Puts new bytes in the place of a document's: its new version. What the bytes before said is found until the new ones were read.
#[utoipa::path(put, path = "/documents/{id}", tag = "documents", params(("id" = String, Path), ReplaceQuery), request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The bytes"), responses((status = 200, description = "The document as it is now", body = DocumentJson)))]
async fn replace_document(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ReplaceQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<DocumentJson>, ApiError> {
    let scope = caller.scope()?;
    let known = app.store().document(&scope, parse_id(&id, "document")?).await?;
    caller.about(known.owner.user());
    let title = query.title.unwrap_or_else(|| known.title.clone());
    let format = match query.format {
        Some(given) => given.into(),
        None => told(&headers).unwrap_or(known.format),
    };
    let content = body_of(&app, request).await?;
    let Document { id, owner, provenance, .. } = known;
    let upload = Upload { id, owner, conversation: provenance.conversation, title, format, content };
    Ok(axum::Json(bring(&app, &caller, &scope, upload).await?.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only of this owner: `tenant`, `team`, `user`, `agent` or `pair`.
    #[param(inline)]
    owner_type: Option<OwnerType>,
    /// For `team`: id or `@name`.
    team: Option<String>,
    /// For `user` and `pair`: id or `@handle`.
    user: Option<String>,
    /// For `agent` and `pair`: id or `@name`.
    agent: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Documents that the caller sees, newest first.
#[utoipa::path(get, path = "/documents", tag = "documents", params(ListQuery), responses((status = 200, description = "A page of documents", body = List<DocumentJson>)))]
async fn list_documents(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<List<DocumentJson>>, ApiError> {
    let scope = caller.scope()?;
    let ListQuery { owner_type, team, user, agent, after, limit } = query;
    let owner = match owner_type {
        Some(r#type) => Some(OwnerJson { r#type, team, user, agent }.resolve(&Names::new(app.store(), &scope)).await?),
        None => None,
    };
    caller.about(owner.and_then(|owner| owner.user()));
    let page = Paging { after, limit }.request()?;
    Ok(axum::Json(List::of(app.store().documents(&scope, &DocumentFilter { owner }, page).await?)))
}

/// The document that the path names, for those who see it.
async fn named(app: &App, caller: &Caller, id: &str) -> Result<(Scope, Document), ApiError> {
    let scope = caller.scope()?;
    let document = app.store().document(&scope, parse_id(id, "document")?).await?;
    caller.about(document.owner.user());
    Ok((scope, document))
}

/// One document, and how far its reading has come.
#[utoipa::path(get, path = "/documents/{id}", tag = "documents", params(("id" = String, Path)), responses((status = 200, description = "The document", body = DocumentJson)))]
async fn describe_document(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<DocumentJson>, ApiError> {
    Ok(axum::Json(named(&app, &caller, &id).await?.1.into()))
}

/// A document's bytes as they came. Never shown by a browser in this server's name.
#[utoipa::path(get, path = "/documents/{id}/content", tag = "documents", params(("id" = String, Path)), responses((status = 200, description = "The bytes", content((Vec<u8> = "text/plain"), (Vec<u8> = "text/markdown"), (Vec<u8> = "text/html"), (Vec<u8> = "application/pdf")))))]
async fn download_document(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let (scope, document) = named(&app, &caller, &id).await?;
    let content = app.store().document_content(&scope, document.id).await?;
    // A page of a stranger's must not run where keys may be kept.
    let headers = [
        (header::CONTENT_TYPE, document.format.media_type()),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ];
    Ok((headers, content).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReadQuery {
    /// The first part, from 1. Default 1.
    part: Option<u32>,
    /// Instead: the first part on this page.
    page: Option<u32>,
    /// Most parts, 1 to 100. Default 10.
    limit: Option<u32>,
}

/// What a document says, part by part.
#[utoipa::path(get, path = "/documents/{id}/text", tag = "documents", params(("id" = String, Path), ReadQuery), responses((status = 200, description = "Parts", body = PartsJson)))]
async fn read_document(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Result<axum::Json<PartsJson>, ApiError> {
    let (scope, document) = named(&app, &caller, &id).await?;
    let library = app.engine().library();
    let count = document.parts.map_or(0, |parts| parts.count);
    let first = match (query.part, query.page) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("give `part` or `page`, not both")),
        (None, Some(page)) => library.first_on(&scope, &document, page).await?.unwrap_or(count.saturating_add(1)),
        (part, None) => part.unwrap_or(1),
    };
    if first == 0 {
        return Err(ApiError::bad_request("`part` counts from 1"));
    }
    let last = first.saturating_add(query.limit.unwrap_or(10).clamp(1, 100) - 1).min(count);
    let mut items = Vec::new();
    for number in first..=last {
        items.extend(library.part(&scope, &document, number).await?.and_then(part_json));
    }
    Ok(axum::Json(PartsJson { items, next: (last < count && first <= count).then_some(last + 1) }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchDocuments {
    /// The words; natural language.
    query: String,
    /// Only in this document.
    #[serde(default)]
    document: Option<String>,
    /// Most hits, 1 to 50. Default 10.
    #[serde(default)]
    k: Option<usize>,
}

/// Parts of documents that answer, by words and by meaning, best first.
#[utoipa::path(post, path = "/documents/search", tag = "documents", request_body = SearchDocuments, responses((status = 200, description = "What was found", body = DocumentHitsJson)))]
async fn search_documents(
    State(app): State<App>,
    caller: Caller,
    body: Json<SearchDocuments>,
) -> Result<axum::Json<DocumentHitsJson>, ApiError> {
    let scope = caller.scope()?;
    let SearchDocuments { query, document, k } = body.value;
    let k = k.unwrap_or(10);
    if !(1..=50).contains(&k) {
        return Err(ApiError::bad_request("`k` must be 1 to 50"));
    }
    let document = document.map(|id| parse_id(&id, "document")).transpose()?;
    let search = DocumentSearch { query, document, k, now: app.now() };
    let hits = app.engine().library().search(&scope, &search).await?;
    Ok(axum::Json(DocumentHitsJson { hits: hits.into_iter().map(Into::into).collect() }))
}

/// Forgets a document with its bytes and all that it says. Answers that quote it stay.
#[utoipa::path(delete, path = "/documents/{id}", tag = "documents", params(("id" = String, Path)), responses((status = 204, description = "Gone")))]
async fn remove_document(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let (scope, document) = named(&app, &caller, &id).await?;
    app.store().drop_document(&scope, document.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
