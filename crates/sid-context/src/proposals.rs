//! Changes that wait for the user's consent.

use serde_json::{Map, Value, json};
use sid_store::{ItemChange, ItemWrite, NewItem, StoreError, Written};
use sid_types::{Item, ItemId, ItemKind, Owner, Provenance, Scope, UserId};

use crate::error::{ContextError, Result};
use crate::service::{ContextService, Edit, agent_of, by, change_of, text_of};

const OPEN: &str = "open";

/// What an assistant would like: `edit`, or that the item be deleted.
pub(crate) fn proposal(item: &Item, user: UserId, edit: Option<&Edit>, provenance: Provenance) -> NewItem {
    let verb = if edit.is_some() { "Change" } else { "Delete" };
    let room = Item::TITLE_CHARS - 20;
    let title: String = item.title.chars().take(room).collect();
    let mut data = Map::new();
    data.insert("item".into(), json!(item.id));
    data.insert("version".into(), json!(item.version));
    if let Some(edit) = edit {
        data.insert("edit".into(), serde_json::to_value(edit).unwrap_or_default());
    }
    NewItem { state: OPEN.into(), data, provenance, ..NewItem::new(ItemKind::Proposal, Owner::User { user }, format!("{verb}: {title}")) }
}

/// What a proposal asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// Which item.
    pub item: ItemId,
    /// The version that the assistant had read.
    pub version: u64,
    /// The change; `None` = the item is to be deleted.
    pub edit: Option<Edit>,
}

impl Proposed {
    /// What is in a proposal; `None` for other kinds.
    #[must_use]
    pub fn read(proposal: &Item) -> Option<Self> {
        if proposal.kind != ItemKind::Proposal {
            return None;
        }
        let item = text_of(&proposal.data, "item").parse().ok()?;
        let version = proposal.data.get("version").and_then(Value::as_u64)?;
        let edit = proposal.data.get("edit").map(|edit| serde_json::from_value(edit.clone())).transpose().ok()?;
        Some(Self { item, version, edit })
    }
}

impl ContextService {
    /// Says yes: the change is made, if the item is still as the assistant had read it. Answers the item as it is now, `None` where it was
    /// deleted.
    ///
    /// Errors: `NotForAssistants`; `Stale` (the proposal is closed then); `Taken` (it was decided already).
    pub async fn approve(&self, scope: &Scope, proposal: ItemId) -> Result<Option<Item>> {
        let (known, wish) = self.open_proposal(scope, proposal).await?;
        let target = match self.items.item(scope, wish.item).await {
            Ok(seen) if seen.item.version == wish.version => seen.item,
            Ok(_) | Err(StoreError::NotFound { .. }) => return self.went_stale(scope, &known).await,
            Err(error) => return Err(error.into()),
        };
        let expected_version = Some(wish.version);
        let write = match wish.edit {
            Some(edit) => {
                let state = edit.state.clone();
                let change = Box::new(change_of(edit, state, by(scope, "proposal")));
                ItemWrite::Change { item: target.id, expected_version, change }
            }
            None => ItemWrite::Delete { item: target.id, expected_version },
        };
        match self.items.write_items(scope, vec![decided(scope, &known, "approved"), write]).await {
            Ok(written) => Ok(written.into_iter().nth(1).and_then(Written::item)),
            // Which of the two was changed meanwhile shows at the next look.
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {
                let (known, _) = self.open_proposal(scope, proposal).await?;
                self.went_stale(scope, &known).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says no.
    pub async fn reject(&self, scope: &Scope, proposal: ItemId) -> Result<()> {
        let (known, _) = self.open_proposal(scope, proposal).await?;
        self.items.write_items(scope, vec![decided(scope, &known, "rejected")]).await?;
        Ok(())
    }

    async fn went_stale<T>(&self, scope: &Scope, proposal: &Item) -> Result<T> {
        self.items.write_items(scope, vec![decided(scope, proposal, "stale")]).await?;
        Err(ContextError::Stale)
    }

    async fn open_proposal(&self, scope: &Scope, proposal: ItemId) -> Result<(Item, Proposed)> {
        let known = self.of_kind(scope, proposal, ItemKind::Proposal, "proposal").await?;
        let wish = Proposed::read(&known).ok_or(StoreError::NotFound { what: "proposal" })?;
        if agent_of(scope).is_some() {
            return Err(ContextError::NotForAssistants("a proposal is decided by the user, not by an assistant"));
        }
        if known.state != OPEN {
            return Err(ContextError::Taken { state: known.state, detail: "it was decided already".into() });
        }
        Ok((known, wish))
    }
}

/// The write that closes a proposal.
fn decided(scope: &Scope, proposal: &Item, state: &str) -> ItemWrite {
    let change = ItemChange { state: Some(state.into()), provenance: by(scope, "api"), ..ItemChange::default() };
    ItemWrite::Change { item: proposal.id, expected_version: Some(proposal.version), change: Box::new(change) }
}
