//! All that is held, as NDJSON: one `{"kind": ..., ...}` a line.

use std::collections::BTreeSet;
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use sid_context::secrets::SecretInfo;
use sid_store::{
    ApprovalFilter, DiaryQuery, DocumentFilter, ITEM_CHANNEL, ItemFilter, Order, PageRequest, PairFilter, StoreError, TaskFilter, Whose,
};
use sid_types::{Agent, AgentId, ConversationId, ItemKind, Owner, Scope, Seq, Team, User, UserId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::agents::AgentJson;
use super::approvals::ApprovalJson;
use super::blocks::BlockJson;
use super::context::{ItemJson, SecretJson};
use super::conversations::ConversationJson;
use super::documents::DocumentJson;
use super::egos::EgoJson;
use super::images::ImageJson;
use super::names::Names;
use super::passages::PassageJson;
use super::search::DiaryJson;
use super::tasks::TaskJson;
use super::teams::TeamJson;
use super::timers::TimerJson;
use super::users::UserJson;
use super::wire::MessageJson;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Query;
use crate::toolbox::source::Source;

const PAGE: usize = 500;
/// Lines that wait for a slow reader at most.
const AHEAD: usize = 64;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Id or `@handle`: only this user's. Left out by a tenant key: the whole tenant.
    user: Option<String>,
}

/// One line.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    User(UserJson),
    Team {
        team: TeamJson,
        members: Vec<String>,
    },
    Agent(Box<AgentJson>),
    /// Functions that agents were given; secrets stand in it by name only.
    Toolset {
        name: String,
        default: bool,
        source: Option<Source>,
    },
    /// Agents that meet people as one.
    Ego(EgoJson),
    Conversation(ConversationJson),
    Message(Box<MessageJson>),
    /// A call that waits, or waited, for somebody's word.
    Approval(Box<ApprovalJson>),
    Timer(Box<TimerJson>),
    Document(Box<DocumentJson>),
    /// An image that an agent had made, with its bytes in base64.
    Image {
        image: Box<ImageJson>,
        data: String,
    },
    Block(BlockJson),
    Passage(PassageJson),
    Item {
        item: Box<ItemJson>,
    },
    /// Never with its value.
    Secret {
        secret: SecretJson,
    },
    Diary(DiaryJson),
    Task {
        task: Box<TaskJson>,
    },
    /// Always last: without it the export broke off.
    End {
        lines: u64,
    },
    /// The export broke off.
    Error {
        code: &'static str,
        detail: String,
    },
}

/// All that is held about a tenant or one user: users, teams, agents, toolsets, egos, conversations, messages, approvals, timers, documents (without their bytes), images, blocks, passages, items, names of secrets, diary, tasks.
///
/// NDJSON, one `{"kind": …}` a line; the last line is `{"kind": "end", "lines": n}`, or `{"kind": "error", …}` if it broke off.
#[utoipa::path(get, path = "/export", operation_id = "export_data", tag = "operations", params(ExportQuery), responses((status = 200, description = "NDJSON", content_type = "application/x-ndjson")))]
async fn export(State(app): State<App>, caller: Caller, Query(query): Query<ExportQuery>) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let only = match &query.user {
        Some(user) => {
            let user = Names::new(app.store(), &scope).user(user).await?;
            Some(app.store().user(&scope, user).await?.id)
        }
        None => caller.user(),
    };
    caller.about(only);
    let (sender, receiver) = mpsc::channel::<Bytes>(AHEAD);
    tokio::spawn(async move {
        let mut out = Out { sender, lines: 0 };
        let end = match write_all(&app, &scope, only, &mut out).await {
            Ok(()) => Line::End { lines: out.lines },
            Err(Stop::Gone) => return,
            Err(Stop::Store(e)) => {
                tracing::error!(code = e.code(), "an export broke off: {e}");
                Line::Error { code: e.code(), detail: "the store failed; the server's log says more".into() }
            }
        };
        // Nobody is left to tell if this fails.
        let _ = out.put(&end).await;
    });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Why an export ends early.
enum Stop {
    /// The reader is gone.
    Gone,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

struct Out {
    sender: mpsc::Sender<Bytes>,
    lines: u64,
}

impl Out {
    async fn put(&mut self, line: &Line) -> Result<(), Stop> {
        let mut text = serde_json::to_vec(line).map_err(|e| StoreError::Invalid(format!("a line cannot be written: {e}")))?;
        text.push(b'\n');
        self.lines += 1;
        self.sender.send(text.into()).await.map_err(|_| Stop::Gone)
    }
}

async fn write_all(app: &App, scope: &Scope, only: Option<UserId>, out: &mut Out) -> Result<(), Stop> {
    let users = users(app, scope, only).await?;
    for user in &users {
        out.put(&Line::User(user.clone().into())).await?;
    }
    let mut teams: Vec<Team> = Vec::new();
    for team in app.store().teams(scope).await? {
        let members: Vec<UserId> = app.store().team_members(scope, team.id).await?.into_iter().map(|m| m.user.id).collect();
        if let Some(user) = only {
            // Of one user's teams only the fact of the membership is the user's.
            if members.contains(&user) {
                out.put(&Line::Team { team: team.into(), members: vec![user.to_string()] }).await?;
            }
            continue;
        }
        out.put(&Line::Team { team: team.clone().into(), members: members.iter().map(ToString::to_string).collect() }).await?;
        teams.push(team);
    }
    let agents = agents(app, scope).await?;
    if only.is_none() {
        for agent in &agents {
            out.put(&Line::Agent(Box::new(agent.clone().into()))).await?;
        }
        for toolset in app.store().toolsets(scope).await? {
            out.put(&Line::Toolset { source: Source::of(&toolset.spec).ok(), default: toolset.spec.is_default, name: toolset.name })
                .await?;
        }
    }
    if only.is_none() {
        for ego in app.store().egos(scope).await? {
            out.put(&Line::Ego(ego.into())).await?;
        }
    }
    let met = conversations(app, scope, only, out).await?;
    tasks(app, scope, only, out).await?;
    timers(app, scope, only, out).await?;
    images(app, scope, only, out).await?;
    let mut owners: Vec<Owner> = Vec::new();
    if only.is_none() {
        owners.push(Owner::Tenant);
        owners.extend(teams.iter().map(|t| Owner::Team { team: t.id }));
        owners.extend(agents.iter().map(|a| Owner::Agent { agent: a.id }));
    }
    for user in &users {
        owners.push(Owner::User { user: user.id });
        owners.extend(agents.iter().map(|a| Owner::Pair { agent: a.id, user: user.id }));
    }
    for owner in owners {
        memory(app, scope, owner, &met, out).await?;
    }
    Ok(())
}

async fn users(app: &App, scope: &Scope, only: Option<UserId>) -> Result<Vec<User>, StoreError> {
    if let Some(user) = only {
        return Ok(vec![app.store().user(scope, user).await?]);
    }
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = app.store().users(scope, PageRequest { after, limit: PAGE }).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

async fn agents(app: &App, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = app.store().agents(scope, PageRequest { after, limit: PAGE }).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Writes conversations with their messages; answers which pairs have met.
async fn conversations(app: &App, scope: &Scope, only: Option<UserId>, out: &mut Out) -> Result<BTreeSet<(AgentId, UserId)>, Stop> {
    let mut met = BTreeSet::new();
    let mut after = None;
    loop {
        let page = app.store().conversations(scope, None, only, PageRequest { after, limit: PAGE }).await?;
        for conversation in page.items {
            let id = conversation.id;
            met.extend(conversation.user.map(|user| (conversation.agent, user)));
            out.put(&Line::Conversation(conversation.into())).await?;
            let mut from: Option<Seq> = None;
            loop {
                let messages = app.store().page(scope, id, from, Order::Ascending, PAGE).await?;
                let Some(last) = messages.last() else { break };
                from = Some(last.seq);
                for message in messages {
                    out.put(&Line::Message(Box::new(message.into()))).await?;
                }
            }
            approvals(app, scope, id, out).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(met);
        }
    }
}

/// Writes what was asked in a conversation.
async fn approvals(app: &App, scope: &Scope, conversation: ConversationId, out: &mut Out) -> Result<(), Stop> {
    let filter = ApprovalFilter { state: None, conversation: Some(conversation) };
    let mut after = None;
    loop {
        let page = app.store().approvals(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for approval in page.items {
            out.put(&Line::Approval(Box::new(approval.into()))).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Writes tasks: all, or those of one user.
async fn tasks(app: &App, scope: &Scope, only: Option<UserId>, out: &mut Out) -> Result<(), Stop> {
    let filter = TaskFilter { user: only, ..TaskFilter::default() };
    let mut after = None;
    loop {
        let page = app.store().tasks(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for task in page.items {
            out.put(&Line::Task { task: Box::new(task.into()) }).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn images(app: &App, scope: &Scope, only: Option<UserId>, out: &mut Out) -> Result<(), Stop> {
    let filter = PairFilter { user: only, ..PairFilter::default() };
    let mut after = None;
    loop {
        let page = app.store().images(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for image in page.items {
            match app.store().image_bytes(scope, image.id).await {
                Ok(bytes) => out.put(&Line::Image { data: STANDARD.encode(bytes), image: Box::new(image.into()) }).await?,
                // It was deleted between the two.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn timers(app: &App, scope: &Scope, only: Option<UserId>, out: &mut Out) -> Result<(), Stop> {
    let filter = PairFilter { user: only, ..PairFilter::default() };
    let mut after = None;
    loop {
        let page = app.store().timers(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for timer in page.items {
            out.put(&Line::Timer(Box::new(timer.into()))).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Writes one owner's passages, blocks and diary.
async fn memory(app: &App, scope: &Scope, owner: Owner, met: &BTreeSet<(AgentId, UserId)>, out: &mut Out) -> Result<(), Stop> {
    let mut has_passages = false;
    let mut after = None;
    loop {
        let page = app.store().list(scope, owner, PageRequest { after, limit: PAGE }).await?;
        for passage in page.items {
            has_passages = true;
            // What is an item comes as one. Parts of documents come, too: they are what a document says.
            if passage.provenance.channel != ITEM_CHANNEL {
                out.put(&Line::Passage(passage.into())).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    documents(app, scope, owner, out).await?;
    items(app, scope, owner, out).await?;
    // Reading the blocks of a pair that has never met would make them.
    let has_blocks = match owner {
        Owner::Pair { agent, user } => has_passages || met.contains(&(agent, user)),
        _ => true,
    };
    if has_blocks {
        for block in app.store().blocks(scope, owner).await? {
            out.put(&Line::Block(block.into())).await?;
        }
    }
    if matches!(owner, Owner::Pair { .. } | Owner::Agent { .. }) {
        for entry in app.store().diary(scope, owner, &DiaryQuery { limit: 1_000_000, ..DiaryQuery::default() }).await? {
            out.put(&Line::Diary(entry.into())).await?;
        }
    }
    Ok(())
}

/// Writes one owner's documents.
async fn documents(app: &App, scope: &Scope, owner: Owner, out: &mut Out) -> Result<(), Stop> {
    let filter = DocumentFilter { owner: Some(owner) };
    let mut after = None;
    loop {
        let page = app.store().documents(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for document in page.items {
            out.put(&Line::Document(Box::new(document.into()))).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Writes one owner's items, and what secrets it has.
async fn items(app: &App, scope: &Scope, owner: Owner, out: &mut Out) -> Result<(), Stop> {
    let filter = ItemFilter { bodies: true, ..ItemFilter::of(Whose::Owner(owner)) };
    let mut after = None;
    loop {
        let page = app.store().items(scope, &filter, PageRequest { after, limit: PAGE }).await?;
        for seen in page.items {
            match seen.item.kind {
                ItemKind::DataKey => {}
                ItemKind::Secret => out.put(&Line::Secret { secret: SecretInfo::from(seen.item).into() }).await?,
                _ => out.put(&Line::Item { item: Box::new(seen.into()) }).await?,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
