//! What a write does to an item: one set of rules for every store, without IO.

use jiff::SignedDuration;
use sid_types::{AgentId, Item, ItemId, NewPassage, PassageId, Principal, Provenance, Scope, ShareLevel, Source, Timestamp};

use crate::{ITEM_CHANNEL, ItemChange, NewItem, SeenItem, StoreError, check_item, distinct_tags, item_text};

/// The item that is made: at the top of its own tree, or in that of `above`, the parent as the scope sees it. `levels`: how many items
/// the line from the top down to the parent has.
///
/// Errors: `TooLarge`, `Forbidden`, `Invalid`.
pub fn made_item(scope: &Scope, new: NewItem, above: Option<(&SeenItem, usize)>, now: Timestamp) -> Result<Item, StoreError> {
    let NewItem { id, kind, owner, parent, position, title, body, tags, state, recipient, data, provenance } = new;
    check_item(&title, &body, &tags, &data)?;
    if let Some((above, levels)) = above {
        if above.level < ShareLevel::Edit {
            return Err(forbidden("only its owner, or somebody with an edit share, adds to it"));
        }
        if above.item.owner != owner {
            return Err(StoreError::Invalid("a part belongs to whom its parent belongs".into()));
        }
        check_depth(levels + 1)?;
    }
    Ok(Item {
        id,
        kind,
        owner,
        parent,
        root: above.map_or(id, |(above, _)| above.item.root),
        position,
        title,
        body,
        tags: distinct_tags(tags),
        state,
        recipient,
        data,
        version: 1,
        written_by: writer(scope),
        provenance,
        created_at: now,
        updated_at: now,
    })
}

/// The item after a change. Where it may move is the store's to check: see [`check_move`].
///
/// Errors: `Forbidden`, `Conflict`, `TooLarge`, `Invalid`.
pub fn changed_item(
    scope: &Scope,
    seen: SeenItem,
    expected_version: Option<u64>,
    change: ItemChange,
    now: Timestamp,
) -> Result<Item, StoreError> {
    let SeenItem { mut item, level } = seen;
    if level < ShareLevel::Edit {
        return Err(forbidden("only its owner, or somebody with an edit share, changes it"));
    }
    check_version(&item, expected_version)?;
    let ItemChange { title, body, tags, state, position, parent, recipient, data, provenance } = change;
    // What is left of the words before still comes from where they came from.
    let is_rewritten = title.is_some() && (body.is_some() || item.body.is_empty());
    let before = std::mem::take(&mut item.provenance.untrusted);
    item.parent = parent.or(item.parent);
    item.title = title.unwrap_or(item.title);
    item.body = body.unwrap_or(item.body);
    item.tags = tags.map_or(item.tags, distinct_tags);
    item.state = state.unwrap_or(item.state);
    item.position = position.unwrap_or(item.position);
    item.recipient = recipient.unwrap_or(item.recipient);
    item.data = data.unwrap_or(item.data);
    check_item(&item.title, &item.body, &item.tags, &item.data)?;
    item.version += 1;
    item.written_by = writer(scope);
    item.provenance = provenance;
    if !is_rewritten {
        Source::add(&mut item.provenance.untrusted, &before);
    }
    // Lists are paged by it: two writes at one moment still have an order.
    item.updated_at = now.max(item.updated_at + SignedDuration::from_micros(1));
    Ok(item)
}

/// Whether an item may move below a parent of the same tree. `above`: the parent and those above it, from the inside out; empty when it is
/// not in the tree. `height`: how many levels are below the item.
///
/// Errors: `Invalid`.
pub fn check_move(item: ItemId, is_top: bool, above: &[ItemId], height: usize) -> Result<(), StoreError> {
    if is_top || above.is_empty() || above.contains(&item) {
        return Err(StoreError::Invalid("an item moves to another place in its own tree, not below itself; a top does not move".into()));
    }
    check_depth(above.len() + 1 + height)
}

/// Whether the scope may delete an item. `is_own`: it may write the owner's items without any share.
///
/// Errors: `Forbidden`, `Conflict`.
pub fn check_deletion(seen: &SeenItem, is_own: bool, expected_version: Option<u64>) -> Result<(), StoreError> {
    if seen.level < ShareLevel::Full || (seen.item.parent.is_none() && !is_own) {
        return Err(forbidden("only its owner deletes it; with a full share, what is below the top"));
    }
    check_version(&seen.item, expected_version)
}

/// The passage that a searchable item is, too.
#[must_use]
pub fn item_passage(item: &Item) -> Option<NewPassage> {
    let (text, id) = (item_text(item)?, PassageId::from_uuid(item.id.uuid()));
    let provenance = Provenance { channel: ITEM_CHANNEL.into(), ..item.provenance.clone() };
    Some(NewPassage { id, owner: item.owner, text, tags: item.tags.clone(), at: item.updated_at, provenance })
}

/// It may be read and not be changed; `why` says who may.
#[must_use]
pub const fn forbidden(why: &'static str) -> StoreError {
    StoreError::Forbidden { what: "item", why }
}

fn check_depth(levels: usize) -> Result<(), StoreError> {
    if levels > Item::DEPTH {
        return Err(StoreError::Invalid(format!("a tree of items has at most {} levels", Item::DEPTH)));
    }
    Ok(())
}

const fn check_version(item: &Item, expected: Option<u64>) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != item.version => Err(StoreError::Conflict { expected, found: item.version }),
        _ => Ok(()),
    }
}

/// The assistant that writes, if one does.
const fn writer(scope: &Scope) -> Option<AgentId> {
    match scope.principal() {
        Principal::Turn { agent, .. } => Some(agent),
        Principal::Tenant { .. } | Principal::User { .. } => None,
    }
}
