//! Trees: as a document, and hints made compact.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use sid_store::{Below, ItemFilter, ItemWrite, NewItem, SeenItem, Written};
use sid_types::{Item, ItemId, ItemKind, Scope, ShareLevel};

use crate::error::{ContextError, Result};
use crate::service::{ContextService, by, of_user};

/// Most items that a document is made of.
const MOST_PARTS: usize = 2_000;
/// Most bytes of a document; what comes after is named, not shown.
const MOST_BYTES: usize = 1_000_000;

impl ContextService {
    /// A tree, from this item down, in Markdown: titles as headings, bodies below them, parts in their order.
    pub async fn document(&self, scope: &Scope, item: ItemId) -> Result<String> {
        let top = self.item(scope, item).await?.item;
        let filter = ItemFilter { below: Some(Below::Tree(item)), bodies: true, ..of_user_or_owner(scope, &top) };
        let parts = self.all(scope, &filter, MOST_PARTS).await?;
        let mut below: BTreeMap<Option<ItemId>, Vec<Item>> = BTreeMap::new();
        for SeenItem { item, .. } in parts {
            below.entry(item.parent).or_default().push(item);
        }
        for children in below.values_mut() {
            children.sort_by_key(|child| (child.position, child.created_at, child.id));
        }
        let mut text = String::new();
        write_part(&mut text, &top, 1, &below);
        Ok(text)
    }

    /// Makes a category of hints compact: what stands below it becomes one hint, in one write.
    ///
    /// `text` is the new hint's body, written by the assistant that has read them. Without it, their lines are joined, the newest first,
    /// each once: nothing is lost, and nothing is made up.
    pub async fn compact_hints(&self, scope: &Scope, category: ItemId, text: Option<String>) -> Result<Item> {
        let SeenItem { item: top, level } = self.item(scope, category).await?;
        if top.kind != ItemKind::Hint {
            return Err(ContextError::Invalid("only hints are made compact: name a category of hints".into()));
        }
        if level < ShareLevel::Full {
            return Err(sid_store::StoreError::Forbidden {
                what: "item",
                why: "only its owner, or somebody with a full share, makes it compact",
            }
            .into());
        }
        let filter = ItemFilter { below: Some(Below::Parent(category)), bodies: true, ..of_user_or_owner(scope, &top) };
        let hints: Vec<Item> = self.all(scope, &filter, MOST_PARTS).await?.into_iter().map(|seen| seen.item).collect();
        if hints.is_empty() {
            return Err(ContextError::Invalid("there is nothing below this category".into()));
        }
        let body = text.unwrap_or_else(|| joined(&hints));
        let title = format!("{} hints in one", hints.len());
        let mut tags: Vec<String> = hints.iter().flat_map(|hint| hint.tags.iter().cloned()).collect();
        tags.truncate(Item::TAGS);
        let new = NewItem {
            parent: Some(category),
            body,
            tags,
            provenance: by(scope, "compact"),
            ..NewItem::new(ItemKind::Hint, top.owner, title)
        };
        let mut writes = vec![ItemWrite::Make(Box::new(new))];
        // By version: a hint that was changed while somebody thought about it is not thrown away.
        writes.extend(hints.iter().map(|hint| ItemWrite::Delete { item: hint.id, expected_version: Some(hint.version) }));
        let written = self.items.write_items(scope, writes).await?;
        Ok(written.into_iter().next().and_then(Written::item).expect("the first write makes an item"))
    }
}

/// A filter to put a place into; the place says which items.
fn of_user_or_owner(scope: &Scope, top: &Item) -> ItemFilter {
    of_user(scope).unwrap_or_else(|_| ItemFilter::of(sid_store::Whose::Owner(top.owner)))
}

fn write_part(text: &mut String, item: &Item, depth: usize, below: &BTreeMap<Option<ItemId>, Vec<Item>>) {
    if text.len() > MOST_BYTES {
        return;
    }
    // Markdown knows six levels.
    let _ = writeln!(text, "{} {}", "#".repeat(depth.min(6)), item.title);
    if !item.state.is_empty() {
        let _ = writeln!(text, "\n*{}*", item.state.replace('_', " "));
    }
    if !item.body.trim().is_empty() {
        let _ = writeln!(text, "\n{}", item.body.trim_end());
    }
    for child in below.get(&Some(item.id)).into_iter().flatten() {
        text.push('\n');
        if text.len() > MOST_BYTES {
            let _ = writeln!(text, "(Left out, the document is too long: {} and what follows.)", child.title);
            return;
        }
        write_part(text, child, depth + 1, below);
    }
}

/// Titles and lines of all, newest first, each once: lines that differ in case and white space only are the same.
fn joined(hints: &[Item]) -> String {
    let mut seen = HashSet::new();
    let mut text = String::new();
    for hint in hints {
        for line in std::iter::once(hint.title.as_str()).chain(hint.body.lines()) {
            let plain = line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            if !plain.is_empty() && seen.insert(plain) && text.len() + line.len() < Item::BODY_BYTES {
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
    }
    text
}
