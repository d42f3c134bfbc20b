//! Items of the context service: trees of titled texts with an owner, a version, and people they are shared with.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_types::{AgentId, Item, ItemId, ItemKind, Owner, Provenance, Scope, Share, ShareLevel, Sharee, UserId};

use crate::{DOCUMENT_CHANNEL, Page, PageRequest, StoreError};

/// The [`Provenance::channel`] of passages that are items: they change with their item, never as passages.
pub const ITEM_CHANNEL: &str = "item";

/// An item to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    /// Its id, made by the caller.
    pub id: ItemId,
    /// What it is.
    pub kind: ItemKind,
    /// Whose it is; below a parent, whose the parent is.
    pub owner: Owner,
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
    /// Where it stands in its life.
    pub state: String,
    /// For whom it is.
    pub recipient: Option<AgentId>,
    /// What its kind has besides.
    pub data: Map<String, Value>,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl NewItem {
    /// An item with a title and nothing else, at the top of its own tree.
    #[must_use]
    pub fn new(kind: ItemKind, owner: Owner, title: impl Into<String>) -> Self {
        Self {
            id: ItemId::new(),
            kind,
            owner,
            parent: None,
            position: 0,
            title: title.into(),
            body: String::new(),
            tags: Vec::new(),
            state: String::new(),
            recipient: None,
            data: Map::new(),
            provenance: Provenance { channel: "api".into(), ..Provenance::default() },
        }
    }
}

/// A change of an item: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemChange {
    /// The title.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// Where it stands in its life.
    pub state: Option<String>,
    /// Order among the parts of one parent.
    pub position: Option<i32>,
    /// Another parent in the same tree.
    pub parent: Option<ItemId>,
    /// For whom it is.
    pub recipient: Option<Option<AgentId>>,
    /// All of `data`.
    pub data: Option<Map<String, Value>>,
    /// Where the change comes from.
    pub provenance: Provenance,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemWrite {
    /// Makes an item.
    Make(Box<NewItem>),
    /// Changes an item.
    Change {
        /// Which.
        item: ItemId,
        /// The version that was read; `None` = whatever is there.
        expected_version: Option<u64>,
        /// What changes.
        change: Box<ItemChange>,
    },
    /// Deletes an item with all that is below it.
    Delete {
        /// Which.
        item: ItemId,
        /// The version that was read; `None` = whatever is there.
        expected_version: Option<u64>,
    },
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The item as it is now.
    Item(Box<Item>),
    /// How many items are gone.
    Deleted(u64),
}

impl Written {
    /// The item, if there is one.
    #[must_use]
    pub fn item(self) -> Option<Item> {
        match self {
            Self::Item(item) => Some(*item),
            Self::Deleted(_) => None,
        }
    }
}

/// An item and what the scope may do with it; [`ShareLevel::Full`] for who may write its owner's items.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenItem {
    /// The item.
    pub item: Item,
    /// What may be done with it.
    pub level: ShareLevel,
}

/// Whose items to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A user's, and those of every assistant with this user.
    User(UserId),
    /// One owner's.
    Owner(Owner),
    /// Tops of trees that others share with this user, or with a team that the user is in.
    SharedWith(UserId),
    /// All of the tenant's: for its application.
    Everybody,
}

/// Where in trees to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// Tops only.
    Tops,
    /// Direct parts of this item.
    Parent(ItemId),
    /// Everything in this tree, its top included.
    Tree(ItemId),
}

/// Which items to list.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemFilter {
    /// Whose. `Parent` and `Tree` below go by the item, whoever owns it.
    pub whose: Whose,
    /// Only these kinds; empty = all.
    pub kinds: Vec<ItemKind>,
    /// Only these places in trees.
    pub below: Option<Below>,
    /// Only items with this tag.
    pub tag: Option<String>,
    /// Only items in one of these states; empty = all.
    pub states: Vec<String>,
    /// Only items for this assistant.
    pub recipient: Option<AgentId>,
    /// With their bodies; without, `body` is empty.
    pub bodies: bool,
}

impl ItemFilter {
    /// All items of `whose`, without their bodies.
    #[must_use]
    pub const fn of(whose: Whose) -> Self {
        Self { whose, kinds: Vec::new(), below: None, tag: None, states: Vec::new(), recipient: None, bodies: false }
    }

    /// Only of this kind.
    #[must_use]
    pub fn kind(mut self, kind: ItemKind) -> Self {
        self.kinds.push(kind);
        self
    }
}

/// Items.
///
/// Who may: [`Right::to_read_item`](crate::Right::to_read_item) and [`Right::to_write_item`](crate::Right::to_write_item) say it for an
/// owner; a share adds to it, for the whole tree below the shared top. What may not be read is `NotFound`; what may be read but not
/// written is `Forbidden`.
///
/// A searchable item ([`ItemKind::is_searchable`]) is a passage, too: same UUID and owner, text = title, a line break and the body (the
/// title alone where the body is empty), the item's tags, `at` = its last change, [`ITEM_CHANNEL`].
#[async_trait]
pub trait ItemStore: Send + Sync {
    /// Makes, changes and deletes; all or none, in this order. Answers one [`Written`] for each write.
    ///
    /// Errors: `Exists` (id), `Conflict`, `NotFound` (item, parent, owner), `Forbidden`, `TooLarge`, `Invalid` (an empty title; a parent in
    /// another tree, or below the item itself; a tree that is too deep).
    async fn write_items(&self, scope: &Scope, writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError>;

    /// One item, with its body.
    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError>;

    /// Items, the last changed first. Cost goes by the page, not by how many there are.
    ///
    /// Errors: `NotFound` (an owner, user or item that the scope may not see).
    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError>;

    /// Shares a tree, changes the level, or (`None`) ends it; again changes nothing. The owner alone may: the tenant's application, or
    /// the person whose it is; never an assistant, which somebody may have talked into it.
    ///
    /// Errors: `NotFound` (item, user, team), `Forbidden`, `Invalid` (no top of a tree; a kind that is never shared).
    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError>;

    /// With whom a tree is shared, oldest first; for who may share it.
    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError>;
}

/// Whether items of a kind can be shared at all.
#[must_use]
pub const fn is_shareable(kind: ItemKind) -> bool {
    !matches!(kind, ItemKind::Session | ItemKind::Handoff | ItemKind::Secret | ItemKind::DataKey | ItemKind::Proposal)
}

/// The text of the passage that an item is, too; `None` for kinds that are not searched.
#[must_use]
pub fn item_text(item: &Item) -> Option<String> {
    if !item.kind.is_searchable() {
        return None;
    }
    Some(if item.body.trim().is_empty() { item.title.clone() } else { format!("{}\n{}", item.title, item.body) })
}

/// Checks what can be checked without a store. Stores call it before they write.
///
/// Errors: `TooLarge`, `Invalid`.
pub fn check_item(title: &str, body: &str, tags: &[String], data: &Map<String, Value>) -> Result<(), StoreError> {
    let most = |what: &'static str, size: usize, limit: usize| {
        if size > limit { Err(StoreError::TooLarge { what, size: size as u64, limit: limit as u64 }) } else { Ok(()) }
    };
    if title.trim().is_empty() || title.contains(['\n', '\r']) {
        return Err(StoreError::Invalid("an item has a title: one line with at least one character that is not white space".into()));
    }
    most("title (characters)", title.chars().count(), Item::TITLE_CHARS)?;
    most("body (bytes)", body.len(), Item::BODY_BYTES)?;
    most("tags", tags.len(), Item::TAGS)?;
    for tag in tags {
        if tag.trim().is_empty() {
            return Err(StoreError::Invalid("a tag has at least one character that is not white space".into()));
        }
        most("tag (characters)", tag.chars().count(), Item::TAG_CHARS)?;
    }
    let size = serde_json::to_vec(data).map_or(usize::MAX, |bytes| bytes.len());
    most("data (bytes)", size, Item::DATA_BYTES)
}

/// Tags in their order, each once.
#[must_use]
pub fn distinct_tags(tags: Vec<String>) -> Vec<String> {
    let mut seen = Vec::with_capacity(tags.len());
    for tag in tags {
        if !seen.contains(&tag) {
            seen.push(tag);
        }
    }
    seen
}

/// Passages that are items, or parts of documents, change with these and in no other way. Stores call it for what is written and for what is there.
///
/// Errors: `Invalid`.
pub fn check_channel(provenance: &Provenance) -> Result<(), StoreError> {
    if provenance.channel == ITEM_CHANNEL {
        return Err(StoreError::Invalid("this passage is an item of the context service: change or delete the item".into()));
    }
    if provenance.channel == DOCUMENT_CHANNEL {
        return Err(StoreError::Invalid("this passage is a part of a document: change or delete the document".into()));
    }
    Ok(())
}
