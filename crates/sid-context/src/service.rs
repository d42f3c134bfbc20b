//! Making, changing and deleting items, by the rules of their kind and the policy of who decides.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_store::{
    Directory, ItemChange, ItemFilter, ItemStore, ItemWrite, NewItem, Page, PageRequest, SeenItem, StoreError, Whose, Written,
};
use sid_types::{AgentId, Channel, Clock, Item, ItemId, ItemKind, Owner, Principal, Provenance, Scope, ShareLevel, Source, UserId};

use crate::error::{ContextError, Result};
use crate::proposals;
use crate::rules::{Reach, rules};

/// Who decides what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Kinds that assistants add to freely, and whose changes and deletions wait for the user. Default: notes, memories, preferences.
    pub needs_approval: Vec<ItemKind>,
    /// How long a claimed hand-off stays with who claimed it, in seconds. Default 900.
    pub claim_s: u32,
    /// After how many seconds without contact a session is a new one. Default 1,800.
    pub session_gap_s: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { needs_approval: vec![ItemKind::Note, ItemKind::Memory, ItemKind::Preference], claim_s: 900, session_gap_s: 1_800 }
    }
}

/// An item that somebody wants to be made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// Its id, for requests that may be repeated; a fresh one when `None`.
    pub id: Option<ItemId>,
    /// Whose; by the rules of its kind when `None`.
    pub owner: Option<Owner>,
    /// What it is a part of.
    pub parent: Option<ItemId>,
    /// Order among the parts of one parent.
    pub position: i32,
    /// One line.
    pub title: String,
    /// The text.
    pub body: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// Where it stands; the first state of its kind when `None`.
    pub state: Option<String>,
}

/// A change that somebody wants: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// All tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Order among the parts of one parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i32>,
    /// Another parent in the same tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ItemId>,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done; the item as it is now, or (after a deletion) `None`.
    Done(Option<Box<Item>>),
    /// It waits for the user; this is the proposal.
    Proposed(Box<Item>),
}

/// The context service over a store.
///
/// Cheap to clone. Nothing is kept here: any number of processes may work on one store.
#[derive(Clone)]
pub struct ContextService {
    pub(crate) items: Arc<dyn ItemStore>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Policy,
}

impl ContextService {
    /// The service over `items`; users' time zones are in `directory`, which usually is the same store.
    #[must_use]
    pub fn new(items: Arc<dyn ItemStore>, directory: Arc<dyn Directory>, clock: Arc<dyn Clock>, policy: Policy) -> Self {
        Self { items, directory, clock, policy }
    }

    /// Makes an item. Assistants add freely: nothing is lost by it.
    ///
    /// Errors: `Invalid` (a kind with calls of its own, a place or state that the kind does not have), and those of
    /// [`ItemStore::write_items`].
    pub async fn make(&self, scope: &Scope, kind: ItemKind, draft: Draft) -> Result<Item> {
        let rule = rules(kind);
        if !rule.is_plain {
            return Err(ContextError::Invalid(format!("a {kind} is not made as a plain item: it has calls of its own")));
        }
        let owner = match draft.parent {
            Some(parent) => {
                let above = self.items.item(scope, parent).await?.item;
                if !rule.parents.contains(&above.kind) {
                    return Err(ContextError::Invalid(format!("a {kind} does not stand below a {}", above.kind)));
                }
                above.owner
            }
            None if !rule.may_be_top => {
                let parents: Vec<&str> = rule.parents.iter().map(|p| p.as_str()).collect();
                return Err(ContextError::Invalid(format!("a {kind} needs a `parent`: a {}", parents.join(" or a "))));
            }
            None => match draft.owner {
                Some(owner) => owner,
                None => usual_owner(scope, rule.reach)?,
            },
        };
        let state = match draft.state {
            Some(state) => checked_state(kind, state)?,
            None => rule.states.first().copied().unwrap_or_default().to_owned(),
        };
        let new = NewItem {
            id: draft.id.unwrap_or_else(ItemId::new),
            parent: draft.parent,
            position: draft.position,
            body: draft.body,
            tags: draft.tags,
            state,
            provenance: by(scope, "api"),
            ..NewItem::new(kind, owner, draft.title)
        };
        self.write_one(scope, ItemWrite::Make(Box::new(new))).await
    }

    /// Changes an item; what the policy keeps for the user becomes a proposal.
    pub async fn change(&self, scope: &Scope, item: ItemId, expected_version: Option<u64>, edit: Edit) -> Result<Outcome> {
        let SeenItem { item: known, level } = self.plain(scope, item).await?;
        if level < ShareLevel::Edit {
            return Err(may_not("change"));
        }
        check_expected(&known, expected_version)?;
        let state = edit.state.clone().map(|state| checked_state(known.kind, state)).transpose()?;
        if let Some(parent) = edit.parent {
            let above = self.items.item(scope, parent).await?.item;
            if !rules(known.kind).parents.contains(&above.kind) {
                return Err(ContextError::Invalid(format!("a {} does not stand below a {}", known.kind, above.kind)));
            }
        }
        if edit == Edit::default() {
            return Ok(Outcome::Done(Some(Box::new(known))));
        }
        if self.asks_first(scope, known.kind) {
            return Ok(Outcome::Proposed(Box::new(self.propose(scope, &known, Some(&edit)).await?)));
        }
        let change = change_of(edit, state, by(scope, "api"));
        let write = ItemWrite::Change { item, expected_version, change: Box::new(change) };
        Ok(Outcome::Done(Some(Box::new(self.write_one(scope, write).await?))))
    }

    /// Deletes an item with all that is below it; what the policy keeps for the user becomes a proposal.
    pub async fn delete(&self, scope: &Scope, item: ItemId, expected_version: Option<u64>) -> Result<Outcome> {
        let SeenItem { item: known, level } = self.plain(scope, item).await?;
        if level < ShareLevel::Full {
            return Err(may_not("delete"));
        }
        check_expected(&known, expected_version)?;
        if self.asks_first(scope, known.kind) {
            return Ok(Outcome::Proposed(Box::new(self.propose(scope, &known, None).await?)));
        }
        self.items.write_items(scope, vec![ItemWrite::Delete { item, expected_version }]).await?;
        Ok(Outcome::Done(None))
    }

    /// One item that people and assistants see: never a key, never a sealed value.
    pub async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem> {
        let seen = self.items.item(scope, item).await?;
        if matches!(seen.item.kind, ItemKind::DataKey | ItemKind::Secret) {
            return Err(StoreError::NotFound { what: "item" }.into());
        }
        Ok(seen)
    }

    /// Items, the last changed first. Keys and secrets are not among them.
    pub async fn items(&self, scope: &Scope, mut filter: ItemFilter, page: PageRequest) -> Result<Page<SeenItem>> {
        filter.kinds.retain(|kind| !matches!(kind, ItemKind::DataKey | ItemKind::Secret));
        if filter.kinds.is_empty() {
            filter.kinds = ItemKind::ALL.into_iter().filter(|kind| !matches!(kind, ItemKind::DataKey | ItemKind::Secret)).collect();
        }
        Ok(self.items.items(scope, &filter, page).await?)
    }

    /// What search has found under this id, if it is an item that the scope may see.
    pub async fn found(&self, scope: &Scope, id: ItemId) -> Result<Option<SeenItem>> {
        match self.item(scope, id).await {
            Ok(seen) => Ok(Some(seen)),
            Err(ContextError::Store(StoreError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An item of this kind; anything else is as unknown as what is not there.
    pub(crate) async fn of_kind(&self, scope: &Scope, item: ItemId, kind: ItemKind, what: &'static str) -> Result<Item> {
        match self.items.item(scope, item).await {
            Ok(seen) if seen.item.kind == kind => Ok(seen.item),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(StoreError::NotFound { what }.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// An item of a kind that is changed by the plain calls.
    async fn plain(&self, scope: &Scope, item: ItemId) -> Result<SeenItem> {
        let seen = self.item(scope, item).await?;
        if !rules(seen.item.kind).is_plain {
            return Err(ContextError::Invalid(format!("a {} has calls of its own", seen.item.kind)));
        }
        Ok(seen)
    }

    fn asks_first(&self, scope: &Scope, kind: ItemKind) -> bool {
        agent_of(scope).is_some() && self.policy.needs_approval.contains(&kind)
    }

    async fn propose(&self, scope: &Scope, item: &Item, edit: Option<&Edit>) -> Result<Item> {
        let user = human_of(scope)?;
        let new = proposals::proposal(item, user, edit, by(scope, "api"));
        self.write_one(scope, ItemWrite::Make(Box::new(new))).await
    }

    pub(crate) async fn write_one(&self, scope: &Scope, write: ItemWrite) -> Result<Item> {
        let written = self.items.write_items(scope, vec![write]).await?;
        let item = written.into_iter().next().and_then(Written::item);
        Ok(item.expect("one write that makes or changes answers one item"))
    }

    /// All items of a list that is known to be short.
    pub(crate) async fn all(&self, scope: &Scope, filter: &ItemFilter, most: usize) -> Result<Vec<SeenItem>> {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page = self.items.items(scope, filter, PageRequest { after, limit: 1_000.min(most - items.len()) }).await?;
            items.extend(page.items);
            after = page.next;
            if after.is_none() || items.len() >= most {
                return Ok(items);
            }
        }
    }
}

/// The change that an edit asks for; `state` was checked.
pub(crate) fn change_of(edit: Edit, state: Option<String>, provenance: Provenance) -> ItemChange {
    let Edit { title, body, tags, state: _, position, parent } = edit;
    ItemChange { title, body, tags, state, position, parent, provenance, ..ItemChange::default() }
}

/// Where a write comes from. What an assistant writes is told to others, not followed by them.
pub(crate) fn by(scope: &Scope, channel: &str) -> Provenance {
    let untrusted = agent_of(scope).map(|agent| Source::new(Channel::Agent, agent.to_string())).into_iter().collect();
    Provenance { user: scope.user(), channel: channel.into(), untrusted, ..Provenance::default() }
}

/// The assistant that asks, if one does.
pub(crate) const fn agent_of(scope: &Scope) -> Option<AgentId> {
    match scope.principal() {
        Principal::Turn { agent, .. } => Some(agent),
        Principal::Tenant { .. } | Principal::User { .. } => None,
    }
}

/// The user for whom it is asked.
pub(crate) fn human_of(scope: &Scope) -> Result<UserId> {
    scope.user().ok_or_else(|| ContextError::Invalid("this needs a user: name one (X-Sid-User)".into()))
}

/// All of the scope's user's items.
pub(crate) fn of_user(scope: &Scope) -> Result<ItemFilter> {
    Ok(ItemFilter::of(Whose::User(human_of(scope)?)))
}

fn usual_owner(scope: &Scope, reach: Reach) -> Result<Owner> {
    let user = human_of(scope)?;
    Ok(match (reach, agent_of(scope)) {
        (Reach::Agent, Some(agent)) => Owner::Pair { agent, user },
        // What a person notes is for all of the person's assistants.
        (Reach::Agent, None) | (Reach::User, _) => Owner::User { user },
    })
}

fn checked_state(kind: ItemKind, state: String) -> Result<String> {
    let states = rules(kind).states;
    if states.contains(&state.as_str()) {
        return Ok(state);
    }
    Err(ContextError::Invalid(if states.is_empty() {
        format!("a {kind} has no state")
    } else {
        format!("the state of a {kind} is one of {}", states.join(", "))
    }))
}

fn check_expected(item: &Item, expected: Option<u64>) -> Result<()> {
    match expected {
        Some(expected) if expected != item.version => Err(StoreError::Conflict { expected, found: item.version }.into()),
        _ => Ok(()),
    }
}

fn may_not(what: &'static str) -> ContextError {
    let why = if what == "delete" {
        "only its owner, or somebody with a full share, deletes it"
    } else {
        "only its owner, or somebody with an edit share, changes it"
    };
    StoreError::Forbidden { what: "item", why }.into()
}

/// A text in an item's data; empty where there is none.
pub(crate) fn text_of<'d>(data: &'d Map<String, Value>, name: &str) -> &'d str {
    data.get(name).and_then(Value::as_str).unwrap_or_default()
}
