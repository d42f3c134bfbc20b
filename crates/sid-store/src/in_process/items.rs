//! `ItemStore`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sid_types::{Item, ItemId, Owner, PassageId, Scope, Share, ShareLevel, Sharee, Timestamp, UserId};

use super::directory::paged;
use super::room::Room;
use super::{InProcess, missing};
use crate::item_rules::{changed_item, check_deletion, check_move, forbidden, item_passage, made_item};
use crate::{
    Below, ITEM_CHANNEL, ItemChange, ItemFilter, ItemStore, ItemWrite, NewItem, Order, Page, PageRequest, RecordId, Right, SeenItem,
    StoreError, Whose, Written, is_shareable,
};

#[async_trait]
impl ItemStore for InProcess {
    async fn write_items(&self, scope: &Scope, writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "item")?;
            let before = room.items.clone();
            let written: Result<Vec<Written>, StoreError> = writes.into_iter().map(|write| room.write_item(scope, write, now)).collect();
            if written.is_err() {
                room.items = before;
                return written;
            }
            room.settle_items(&before);
            room.tell_proposals(&before, now);
            written
        })
    }

    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        self.read().room(scope, "item")?.seen_item(scope, item)
    }

    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "item")?;
        let is_asked = room.place_of(scope, filter)?;
        let is_asked = |item: &&Item| {
            is_asked(item)
                && (filter.kinds.is_empty() || filter.kinds.contains(&item.kind))
                && (filter.states.is_empty() || filter.states.contains(&item.state))
                && filter.tag.as_ref().is_none_or(|tag| item.tags.contains(tag))
                && filter.recipient.is_none_or(|recipient| item.recipient == Some(recipient))
                && room.item_level(scope, item).is_some()
        };
        let found = paged(room.items.values().filter(is_asked), Order::Descending, &page, |item| (item.updated_at, item.id))?;
        let seen = |mut item: Item| {
            if !filter.bodies {
                item.body = String::new();
            }
            Some(SeenItem { level: room.item_level(scope, &item)?, item })
        };
        Ok(Page { items: found.items.into_iter().filter_map(seen).collect(), next: found.next })
    }

    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "item")?;
            let shared = room.own_item(scope, item)?;
            if !is_shareable(shared.kind) || shared.parent.is_some() {
                return Err(StoreError::Invalid("only the top of a tree is shared, and no session, hand-off, secret or proposal".into()));
            }
            let is_there = match with {
                Sharee::User { user } => shared.owner.user() != Some(user) && room.users.contains_key(&user) && room.knows(scope, user),
                Sharee::Team { team } => room.seen_team(scope, team).is_ok(),
            };
            // Who has become a stranger since can still be shut out.
            if level.is_some() && !is_there {
                return Err(missing(if matches!(with, Sharee::User { .. }) { "user" } else { "team" }));
            }
            match level {
                Some(level) => room.shares.entry((item, with)).or_insert(Share { item, with, level, created_at: now }).level = level,
                None => {
                    room.shares.remove(&(item, with));
                }
            }
            Ok(())
        })
    }

    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "item")?;
        room.own_item(scope, item)?;
        let mut shares: Vec<Share> = room.shares.values().filter(|share| share.item == item).cloned().collect();
        shares.sort_by_key(|share| (share.created_at, share.with));
        Ok(shares)
    }
}

/// Whether an item lies where a filter looks.
type InPlace<'r> = Box<dyn Fn(&Item) -> bool + 'r>;

impl Room {
    /// What the scope may do with an item, if it sees it at all.
    fn item_level(&self, scope: &Scope, item: &Item) -> Option<ShareLevel> {
        if self.has(Right::to_write_item(scope, item.owner), item.owner) {
            return Some(ShareLevel::Full);
        }
        let own = self.has(Right::to_read_item(scope, item.owner), item.owner).then_some(ShareLevel::Read);
        let shared = self.shares.values().filter(|s| s.item == item.root && self.is_sharee(scope, s.with)).map(|s| s.level).max();
        own.max(shared)
    }

    fn is_sharee(&self, scope: &Scope, with: Sharee) -> bool {
        match with {
            Sharee::User { user } => scope.user() == Some(user),
            Sharee::Team { team } => {
                let owner = Owner::Team { team };
                scope.user().is_some() && self.has(Right::to_read_item(scope, owner), owner)
            }
        }
    }

    fn seen_item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        let item = self.items.get(&item).ok_or(missing("item"))?;
        let level = self.item_level(scope, item).ok_or(missing("item"))?;
        Ok(SeenItem { item: item.clone(), level })
    }

    /// An item that the scope may share.
    fn own_item(&self, scope: &Scope, item: ItemId) -> Result<&Item, StoreError> {
        let level = self.items.get(&item).and_then(|item| self.item_level(scope, item));
        let item = self.items.get(&item).filter(|_| level.is_some()).ok_or(missing("item"))?;
        if Right::to_share(scope, item.owner) { Ok(item) } else { Err(forbidden("only its owner shares it")) }
    }

    /// Which items a filter looks at, before what it says of each.
    fn place_of(&self, scope: &Scope, filter: &ItemFilter) -> Result<InPlace<'_>, StoreError> {
        match filter.below {
            Some(Below::Parent(parent)) => {
                self.seen_item(scope, parent)?;
                return Ok(Box::new(move |item| item.parent == Some(parent)));
            }
            Some(Below::Tree(item)) => {
                let root = self.seen_item(scope, item)?.item.root;
                return Ok(Box::new(move |item| item.root == root));
            }
            Some(Below::Tops) | None => {}
        }
        let only_tops = filter.below == Some(Below::Tops);
        let in_place = move |item: &Item| !only_tops || item.parent.is_none();
        match filter.whose {
            Whose::User(user) => {
                self.check_human(scope, user)?;
                Ok(Box::new(move |item| item.owner.user() == Some(user) && in_place(item)))
            }
            Whose::Owner(owner) => {
                if !self.has(Right::to_read_item(scope, owner), owner) {
                    return Err(missing("owner"));
                }
                Ok(Box::new(move |item| item.owner == owner && in_place(item)))
            }
            Whose::Everybody if scope.is_tenant_wide() => Ok(Box::new(in_place)),
            Whose::Everybody => Err(missing("tenant")),
            Whose::SharedWith(user) => {
                self.check_human(scope, user)?;
                let scope = *scope;
                Ok(Box::new(move |item| {
                    let mut shares = self.shares.values().filter(|share| share.item == item.id);
                    item.owner.user() != Some(user)
                        && shares.any(|share| match share.with {
                            Sharee::User { user: with } => with == user,
                            Sharee::Team { team } => self.role_in(team, user).is_some() && self.seen_team(&scope, team).is_ok(),
                        })
                }))
            }
        }
    }

    /// Items are listed for the user whom the scope stands for, or by the application.
    fn check_human(&self, scope: &Scope, user: UserId) -> Result<(), StoreError> {
        if self.users.contains_key(&user) && (scope.is_tenant_wide() || scope.user() == Some(user)) { Ok(()) } else { Err(missing("user")) }
    }

    fn write_item(&mut self, scope: &Scope, write: ItemWrite, now: Timestamp) -> Result<Written, StoreError> {
        match write {
            ItemWrite::Make(new) => self.make_item(scope, *new, now),
            ItemWrite::Change { item, expected_version, change } => self.change_item(scope, item, expected_version, *change, now),
            ItemWrite::Delete { item, expected_version } => self.delete_item(scope, item, expected_version),
        }
    }

    fn make_item(&mut self, scope: &Scope, new: NewItem, now: Timestamp) -> Result<Written, StoreError> {
        let (id, owner) = (new.id, new.owner);
        let above = match new.parent {
            Some(parent) => Some((self.seen_item(scope, parent)?, self.ancestors(parent).len())),
            None if self.has(Right::to_write_item(scope, owner), owner) => None,
            None if self.has(Right::to_read_item(scope, owner), owner) => return Err(forbidden("only its owner adds to it")),
            None => return Err(missing("owner")),
        };
        let item = made_item(scope, new, above.as_ref().map(|(above, levels)| (above, *levels)), now)?;
        let passage = self.passages.get(&PassageId::from_uuid(id.uuid()));
        if self.items.contains_key(&id) || passage.is_some_and(|p| p.provenance.channel != ITEM_CHANNEL) {
            return Err(StoreError::Exists { what: "item", name: id.to_string() });
        }
        self.items.insert(id, item.clone());
        Ok(Written::Item(Box::new(item)))
    }

    fn change_item(
        &mut self,
        scope: &Scope,
        id: ItemId,
        expected_version: Option<u64>,
        change: ItemChange,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let (seen, parent) = (self.seen_item(scope, id)?, change.parent);
        let item = changed_item(scope, seen, expected_version, change, now)?;
        if let Some(parent) = parent {
            self.check_place(id, parent)?;
        }
        self.items.insert(id, item.clone());
        Ok(Written::Item(Box::new(item)))
    }

    fn check_place(&self, id: ItemId, parent: ItemId) -> Result<(), StoreError> {
        let item = self.items.get(&id).ok_or(missing("item"))?;
        let is_same_tree = self.items.get(&parent).is_some_and(|p| p.root == item.root);
        let above = if is_same_tree { self.ancestors(parent) } else { Vec::new() };
        let height = self.items.values().map(|i| self.ancestors(i.id)).filter_map(|line| line.iter().position(|at| *at == id)).max();
        check_move(id, item.parent.is_none(), &above, height.unwrap_or_default())
    }

    fn delete_item(&mut self, scope: &Scope, id: ItemId, expected_version: Option<u64>) -> Result<Written, StoreError> {
        let seen = self.seen_item(scope, id)?;
        let owner = seen.item.owner;
        check_deletion(&seen, self.has(Right::to_write_item(scope, owner), owner), expected_version)?;
        let gone = self.below(id);
        for id in &gone {
            self.items.remove(id);
        }
        Ok(Written::Deleted(gone.len() as u64))
    }

    /// Removes an item with all that is below it, without asking; answers how many.
    pub(super) fn remove_items(&mut self, id: ItemId) -> u64 {
        let before = self.items.clone();
        let gone = self.below(id);
        for id in &gone {
            self.items.remove(id);
        }
        self.settle_items(&before);
        gone.len() as u64
    }

    /// An item and those above it, from the inside out.
    fn ancestors(&self, item: ItemId) -> Vec<ItemId> {
        std::iter::successors(Some(item), |id| self.items.get(id)?.parent).collect()
    }

    fn below(&self, top: ItemId) -> Vec<ItemId> {
        self.items.keys().copied().filter(|id| self.ancestors(*id).contains(&top)).collect()
    }

    /// Brings passages and shares in line with what the items are now.
    fn settle_items(&mut self, before: &BTreeMap<ItemId, Item>) {
        for id in before.keys().filter(|id| !self.items.contains_key(id)).copied().collect::<Vec<_>>() {
            self.shares.retain(|(shared, _), _| *shared != id);
            let passage = PassageId::from_uuid(id.uuid());
            if self.passages.remove(&passage).is_some() {
                self.unshelve(RecordId::Passage(passage));
            }
        }
        let changed: Vec<Item> = self.items.values().filter(|item| before.get(&item.id) != Some(item)).cloned().collect();
        for item in changed {
            if let Some(passage) = item_passage(&item) {
                self.put_passage(passage, item.updated_at);
            }
        }
    }
}
