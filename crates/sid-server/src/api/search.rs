//! Search, the diary, and how far the index has come.

use std::time::Duration;

use axum::extract::State;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sid_core::{IndexReport, SearchHit, SearchRequest};
use sid_store::{Channels, DiaryQuery, RecordId, RecordKinds, TimeRange};
use sid_types::{DiaryEntry, DiaryLevel, Owner, Role, Scope, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_text};
use super::wire::{List, OwnerJson, SourceJson, WhyJson, limit_of, parse_id, role_name, trust_of};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Query};

/// Longest wait for the index, in milliseconds.
const MAX_INDEX_WAIT_MS: u64 = 600_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search_memory)).routes(routes!(read_diary)).routes(routes!(get_index))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KindJson {
    /// Recall memory.
    Message,
    /// Archival memory.
    Passage,
    /// The diary.
    Diary,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SearchRole {
    User,
    Assistant,
}

const fn ten() -> usize {
    10
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    /// Natural language, dates included.
    query: String,
    /// Most hits, 1 to 200. Default 10.
    #[serde(default = "ten")]
    k: usize,
    /// Id or `@name`: see what a turn of this agent (with `user`) sees. Left out: all that the caller sees.
    #[serde(default)]
    agent: Option<String>,
    /// Id or `@handle`: see what this user sees.
    #[serde(default)]
    user: Option<String>,
    /// All kinds when left out.
    #[serde(default)]
    kinds: Option<Vec<KindJson>>,
    /// Only messages of this conversation.
    #[serde(default)]
    conversation: Option<String>,
    /// Only messages with this role.
    #[serde(default)]
    role: Option<SearchRole>,
    /// Only what was said from then on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Only what was said before.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// The moment that "yesterday" in the query is counted from.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    now: Option<Timestamp>,
    /// Wait this long at most until all that was written before has its vectors. Default 0.
    #[serde(default)]
    wait_for_index_ms: u64,
}

/// Raw scores; 0 where the channel has nothing to say.
#[derive(Debug, Serialize, ToSchema)]
struct ChannelsJson {
    /// Words of speaker and text.
    bm25: f32,
    /// Words of the text together with the message before it.
    context_bm25: f32,
    /// Nearness of meaning.
    dense: f32,
}

impl From<Channels> for ChannelsJson {
    fn from(c: Channels) -> Self {
        Self { bm25: c.bm25, context_bm25: c.context_bm25, dense: c.dense }
    }
}

/// A found memory.
#[derive(Debug, Serialize, ToSchema)]
struct HitJson {
    kind: KindJson,
    id: String,
    /// The whole text.
    text: String,
    /// The part that answers best; the whole text when it is short.
    excerpt: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who said it, for messages.
    speaker: Option<String>,
    /// The role, for messages.
    role: Option<&'static str>,
    /// Larger is better; comparable inside one answer only.
    score: f32,
    channels: ChannelsJson,
    /// What each signal added to the score.
    why: Vec<WhyJson>,
    /// Where it was said, for messages.
    conversation: Option<String>,
    /// Its place there.
    seq: Option<u64>,
    owner: OwnerJson,
}

impl From<SearchHit> for HitJson {
    fn from(h: SearchHit) -> Self {
        let kind = match h.id {
            RecordId::Message(_) => KindJson::Message,
            RecordId::Passage(_) => KindJson::Passage,
            RecordId::Diary(_) => KindJson::Diary,
        };
        Self {
            kind,
            id: h.id.to_string(),
            text: h.text,
            excerpt: h.excerpt,
            at: h.at,
            speaker: h.speaker,
            role: h.role.map(role_name),
            score: h.score,
            channels: h.channels.into(),
            why: h.why.into_iter().map(Into::into).collect(),
            conversation: h.conversation.map(|c| c.to_string()),
            seq: h.seq.map(|s| s.0),
            owner: h.owner.into(),
        }
    }
}

/// How far embedding has come.
#[derive(Debug, Serialize, ToSchema)]
struct IndexJson {
    /// The embedding generation; `null` without an embedder.
    generation: Option<String>,
    /// Whether nearness means likeness of meaning.
    is_semantic: bool,
    /// Records with vectors.
    indexed: u64,
    /// Records that wait for theirs; they are found by their words.
    pending: u64,
}

impl From<IndexReport> for IndexJson {
    fn from(r: IndexReport) -> Self {
        Self { generation: r.generation, is_semantic: r.is_semantic, indexed: r.indexed, pending: r.pending }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct SearchAnswer {
    /// Best first.
    hits: Vec<HitJson>,
    /// How many records were looked at.
    searched: u64,
    index: IndexJson,
}

/// The scope in which a caller may look through an agent's or a user's eyes.
async fn through(app: &App, caller: &Caller, agent: Option<&str>, user: Option<&str>) -> Result<Scope, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let user = match user {
        Some(user) => Some(app.store().user(&scope, names.user(user).await?).await?.id),
        None => caller.user(),
    };
    let Some(agent) = agent else { return user.map_or(Ok(scope), |user| caller.scope_for(user)) };
    let agent = app.store().agent(&scope, names.agent(agent).await?).await?.id;
    caller.turn_scope(agent, user)
}

/// Ranked as a turn's recall is. A message is found by its words the moment it is stored.
#[utoipa::path(post, path = "/search", tag = "search", request_body = SearchBody, responses((status = 200, description = "What was found, best first", body = SearchAnswer)))]
async fn search_memory(State(app): State<App>, caller: Caller, body: Json<SearchBody>) -> Result<axum::Json<SearchAnswer>, ApiError> {
    let body = body.value;
    check_text("query", &body.query, 100_000)?;
    if body.query.trim().is_empty() {
        return Err(ApiError::bad_request("`query` must not be empty"));
    }
    if !(1..=200).contains(&body.k) {
        return Err(ApiError::bad_request(format!("`k` must be 1 to 200, not {}", body.k)));
    }
    let scope = through(&app, &caller, body.agent.as_deref(), body.user.as_deref()).await?;
    let kinds = body.kinds.map_or(RecordKinds::ALL, |kinds| RecordKinds {
        messages: kinds.contains(&KindJson::Message),
        passages: kinds.contains(&KindJson::Passage),
        diary: kinds.contains(&KindJson::Diary),
    });
    let conversation = match &body.conversation {
        // Looked up as the caller, so that a foreign one is 404 and not an empty answer.
        Some(id) => Some(app.store().conversation(&caller.scope()?, parse_id(id, "conversation")?).await?.id),
        None => None,
    };
    let within = match (body.from, body.to) {
        (None, None) => None,
        (from, to) => Some(TimeRange { from: from.unwrap_or(Timestamp::MIN), to: to.unwrap_or(Timestamp::MAX) }),
    };
    let request = SearchRequest {
        query: body.query,
        k: body.k,
        kinds,
        conversation,
        role: body.role.map(|r| match r {
            SearchRole::User => Role::User,
            SearchRole::Assistant => Role::Assistant,
        }),
        within,
        now: body.now,
        wait_for_index: Duration::from_millis(body.wait_for_index_ms.min(MAX_INDEX_WAIT_MS)),
    };
    let found = app.engine().search(&scope, &request).await?;
    let index = app.engine().index(&scope, Duration::ZERO).await?;
    Ok(axum::Json(SearchAnswer { hits: found.hits.into_iter().map(Into::into).collect(), searched: found.searched, index: index.into() }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IndexQuery {
    /// Wait this long at most until nothing is pending. Default 0.
    #[serde(default)]
    wait_ms: u64,
}

/// How far embedding has come for all that the caller sees.
#[utoipa::path(get, path = "/index", tag = "search", params(IndexQuery), responses((status = 200, description = "How far it has come", body = IndexJson)))]
async fn get_index(State(app): State<App>, caller: Caller, Query(query): Query<IndexQuery>) -> Result<axum::Json<IndexJson>, ApiError> {
    let wait = Duration::from_millis(query.wait_ms.min(MAX_INDEX_WAIT_MS));
    Ok(axum::Json(app.engine().index(&caller.scope()?, wait).await?.into()))
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LevelJson {
    Day,
    Week,
    Month,
}

/// One page of the diary.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiaryJson {
    id: String,
    owner: OwnerJson,
    level: LevelJson,
    /// The first day it tells of, in the user's zone.
    start: String,
    text: String,
    /// For days: the messages it was made from.
    messages: Vec<MessageSpan>,
    /// Whether it was written without a model, because none could.
    is_floor: bool,
    /// `trusted`, or `untrusted` where it tells of `untrusted`.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
    #[schema(value_type = String, format = DateTime)]
    written_at: Timestamp,
}

/// Messages of one conversation, both ends included.
#[derive(Debug, Serialize, ToSchema)]
struct MessageSpan {
    conversation: String,
    from: u64,
    to: u64,
}

impl From<DiaryEntry> for DiaryJson {
    fn from(d: DiaryEntry) -> Self {
        let level = match d.level {
            DiaryLevel::Day => LevelJson::Day,
            DiaryLevel::Week => LevelJson::Week,
            DiaryLevel::Month => LevelJson::Month,
        };
        Self {
            id: d.id.to_string(),
            owner: d.owner.into(),
            level,
            start: d.start.to_string(),
            text: d.text,
            messages: d
                .messages
                .into_iter()
                .map(|(c, from, to)| MessageSpan { conversation: c.to_string(), from: from.0, to: to.0 })
                .collect(),
            is_floor: d.is_floor,
            trust: trust_of(&d.untrusted),
            untrusted: d.untrusted.into_iter().map(Into::into).collect(),
            written_at: d.written_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiaryRange {
    /// Id or `@name`.
    agent: String,
    /// Id or `@handle`; the caller itself for user keys. Left out by a tenant key: the agent's own diary.
    user: Option<String>,
    /// Only this level.
    #[param(inline)]
    level: Option<LevelJson>,
    /// Periods that start on or after this day, such as `2026-05-01`.
    #[param(value_type = Option<String>)]
    from: Option<Date>,
    /// Periods that start before this day.
    #[param(value_type = Option<String>)]
    to: Option<Date>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Diary pages, newest first.
#[utoipa::path(get, path = "/diary", tag = "search", params(DiaryRange), responses((status = 200, description = "Pages of the diary", body = List<DiaryJson>)))]
async fn read_diary(
    State(app): State<App>,
    caller: Caller,
    Query(range): Query<DiaryRange>,
) -> Result<axum::Json<List<DiaryJson>>, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let agent = names.agent(&range.agent).await?;
    let user = match &range.user {
        Some(user) => Some(names.user(user).await?),
        None => caller.user(),
    };
    caller.about(user);
    let query = DiaryQuery {
        level: range.level.map(|l| match l {
            LevelJson::Day => DiaryLevel::Day,
            LevelJson::Week => DiaryLevel::Week,
            LevelJson::Month => DiaryLevel::Month,
        }),
        from: range.from,
        to: range.to,
        limit: limit_of(range.limit)?,
    };
    let pages = app.store().diary(&scope, Owner::of_conversation(agent, user), &query).await?;
    Ok(axum::Json(List::whole(pages)))
}
