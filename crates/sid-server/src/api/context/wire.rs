//! Items on the wire.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_context::{Edit, HandoffState, Outcome, Proposed};
use sid_store::SeenItem;
use sid_types::{Item, ItemKind, ShareLevel, Timestamp};
use utoipa::ToSchema;

use super::super::names::check_text;
use super::super::wire::{OwnerJson, ProvenanceJson, parse_id};
use crate::error::ApiError;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ItemKindJson {
    /// Loaded whole whenever an assistant starts.
    Note,
    /// Something to remember.
    Memory,
    /// How somebody likes things to be.
    Preference,
    /// A category of hints, or a hint in one.
    Hint,
    /// A contact of an assistant with its user.
    Session,
    /// Work that one assistant leaves for another.
    Handoff,
    /// A project.
    Project,
    /// A part of a project.
    Section,
    /// A page of a wiki.
    Page,
    /// A change that waits for the user's consent.
    Proposal,
}

impl ItemKindJson {
    /// Keys and secrets have no place here.
    pub(crate) fn of(kind: ItemKind) -> Option<Self> {
        Some(match kind {
            ItemKind::Note => Self::Note,
            ItemKind::Memory => Self::Memory,
            ItemKind::Preference => Self::Preference,
            ItemKind::Hint => Self::Hint,
            ItemKind::Session => Self::Session,
            ItemKind::Handoff => Self::Handoff,
            ItemKind::Project => Self::Project,
            ItemKind::Section => Self::Section,
            ItemKind::Page => Self::Page,
            ItemKind::Proposal => Self::Proposal,
            ItemKind::Secret | ItemKind::DataKey => return None,
        })
    }
}

impl From<ItemKindJson> for ItemKind {
    fn from(kind: ItemKindJson) -> Self {
        match kind {
            ItemKindJson::Note => Self::Note,
            ItemKindJson::Memory => Self::Memory,
            ItemKindJson::Preference => Self::Preference,
            ItemKindJson::Hint => Self::Hint,
            ItemKindJson::Session => Self::Session,
            ItemKindJson::Handoff => Self::Handoff,
            ItemKindJson::Project => Self::Project,
            ItemKindJson::Section => Self::Section,
            ItemKindJson::Page => Self::Page,
            ItemKindJson::Proposal => Self::Proposal,
        }
    }
}

/// What may be done with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShareLevelJson {
    /// Read it.
    Read,
    /// Change it, and add to it.
    Edit,
    /// Delete it, too.
    Full,
}

impl From<ShareLevel> for ShareLevelJson {
    fn from(level: ShareLevel) -> Self {
        match level {
            ShareLevel::Read => Self::Read,
            ShareLevel::Edit => Self::Edit,
            ShareLevel::Full => Self::Full,
        }
    }
}

impl From<ShareLevelJson> for ShareLevel {
    fn from(level: ShareLevelJson) -> Self {
        match level {
            ShareLevelJson::Read => Self::Read,
            ShareLevelJson::Edit => Self::Edit,
            ShareLevelJson::Full => Self::Full,
        }
    }
}

/// What only hand-offs have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HandoffJson {
    /// The assistant that left it; `null` = the user.
    from: Option<String>,
    /// The assistant that works on it.
    claimed_by: Option<String>,
    /// Until when it is kept for that one.
    #[schema(value_type = Option<String>, format = DateTime)]
    claimed_until: Option<Timestamp>,
    /// What came of it.
    result: Option<String>,
}

/// A change of an item: what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemEditJson {
    /// One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// All tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    /// Of projects: `planning`, `active`, `on_hold`, `evolving`, `complete` or `archived`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Order among the parts of one parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<i32>,
    /// Another parent in the same tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

impl ItemEditJson {
    pub(crate) fn read(self) -> Result<Edit, ApiError> {
        check_words(self.title.as_deref(), self.body.as_deref(), self.tags.as_deref())?;
        let parent = self.parent.as_deref().map(|id| parse_id(id, "item")).transpose()?;
        let Self { title, body, tags, state, position, .. } = self;
        Ok(Edit { title, body, tags, state, position, parent })
    }
}

impl From<Edit> for ItemEditJson {
    fn from(edit: Edit) -> Self {
        let Edit { title, body, tags, state, position, parent } = edit;
        Self { title, body, tags, state, position, parent: parent.map(|id| id.to_string()) }
    }
}

/// What only proposals have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProposalJson {
    /// The item that is to be changed.
    item: String,
    /// The version that the assistant had read.
    version: u64,
    /// The change; `null` = the item is to be deleted.
    edit: Option<ItemEditJson>,
}

/// An item of the context service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemJson {
    id: String,
    kind: ItemKindJson,
    owner: OwnerJson,
    /// What it is a part of.
    parent: Option<String>,
    /// The top of its tree.
    root: String,
    /// Order among the parts of one parent.
    position: i32,
    title: String,
    /// Left out of lists that were not asked for bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    tags: Vec<String>,
    /// Where it stands in its life; empty for kinds without one.
    state: String,
    /// For which assistant a hand-off is.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handoff: Option<HandoffJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal: Option<ProposalJson>,
    /// What the caller may do with it.
    level: ShareLevelJson,
    /// Counts changes, from 1; the `ETag` of the answer.
    version: u64,
    /// The assistant that changed it last; `null` = a person or the application.
    written_by: Option<String>,
    provenance: ProvenanceJson,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl ItemJson {
    pub(crate) fn whole(item: Item, level: ShareLevel) -> Self {
        let handoff = (item.kind == ItemKind::Handoff).then(|| {
            let HandoffState { from, claimed_by, claimed_until, result } = HandoffState::read(&item);
            HandoffJson { from: from.map(|id| id.to_string()), claimed_by: claimed_by.map(|id| id.to_string()), claimed_until, result }
        });
        let proposal = Proposed::read(&item).map(|Proposed { item, version, edit }| ProposalJson {
            item: item.to_string(),
            version,
            edit: edit.map(Into::into),
        });
        Self {
            id: item.id.to_string(),
            kind: ItemKindJson::of(item.kind).unwrap_or(ItemKindJson::Note),
            owner: item.owner.into(),
            parent: item.parent.map(|id| id.to_string()),
            root: item.root.to_string(),
            position: item.position,
            title: item.title,
            body: Some(item.body),
            tags: item.tags,
            state: item.state,
            recipient: item.recipient.map(|id| id.to_string()),
            handoff,
            proposal,
            level: level.into(),
            version: item.version,
            written_by: item.written_by.map(|id| id.to_string()),
            provenance: item.provenance.into(),
            created_at: item.created_at,
            updated_at: item.updated_at,
        }
    }

    /// Without the body that a list did not read.
    pub(crate) fn head(seen: SeenItem) -> Self {
        Self { body: None, ..Self::whole(seen.item, seen.level) }
    }
}

impl From<SeenItem> for ItemJson {
    fn from(seen: SeenItem) -> Self {
        Self::whole(seen.item, seen.level)
    }
}

/// What became of a wish.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutcomeJson {
    /// `done`, or `proposed`: it waits for the user's consent.
    outcome: &'static str,
    /// The item as it is now; `null` after a deletion. When `proposed`: the proposal.
    item: Option<ItemJson>,
}

/// An item with its version as `ETag`.
pub(crate) fn answer(status: StatusCode, item: Item, level: ShareLevel) -> Response {
    let tag = format!("\"{}\"", item.version);
    (status, [(header::ETAG, tag)], axum::Json(ItemJson::whole(item, level))).into_response()
}

/// 200 when it is done, 202 when it waits.
pub(crate) fn outcome(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Done(Some(item)) => {
            let tag = format!("\"{}\"", item.version);
            let body = OutcomeJson { outcome: "done", item: Some(ItemJson::whole(*item, ShareLevel::Edit)) };
            (StatusCode::OK, [(header::ETAG, tag)], axum::Json(body)).into_response()
        }
        Outcome::Done(None) => axum::Json(OutcomeJson { outcome: "done", item: None }).into_response(),
        Outcome::Proposed(proposal) => {
            let body = OutcomeJson { outcome: "proposed", item: Some(ItemJson::whole(*proposal, ShareLevel::Full)) };
            (StatusCode::ACCEPTED, axum::Json(body)).into_response()
        }
    }
}

/// Checks what the store's own checks leave out.
pub(crate) fn check_words(title: Option<&str>, body: Option<&str>, tags: Option<&[String]>) -> Result<(), ApiError> {
    check_text("title", title.unwrap_or_default(), usize::MAX)?;
    check_text("body", body.unwrap_or_default(), usize::MAX)?;
    tags.unwrap_or_default().iter().try_for_each(|tag| check_text("tags", tag, usize::MAX))
}
