//! Making, changing and deleting items, each with the passage that it is, too.

use sid_store::item_rules::{changed_item, check_deletion, check_move, forbidden, item_passage, made_item};
use sid_store::{ItemChange, ItemWrite, NewItem, StoreError, Told, Written, check_channel};
use sid_types::{Item, ItemId, PassageId, ShareLevel};

use super::rows::seen;
use crate::archival;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::{Result, missing};
use crate::visibility::{Viewer, columns};
use crate::webhooks;
use crate::writer::Tx;

pub(super) async fn write(tx: &mut Tx, viewer: &Viewer, write: ItemWrite) -> Result<Written> {
    match write {
        ItemWrite::Make(new) => make(tx, viewer, *new).await,
        ItemWrite::Change { item, expected_version, change } => self::change(tx, viewer, item, expected_version, *change).await,
        ItemWrite::Delete { item, expected_version } => {
            let seen = seen(&mut tx.conn, viewer, item).await?;
            let is_own = viewer.level_of_item(&mut tx.conn, seen.item.owner).await? == Some(ShareLevel::Full);
            check_deletion(&seen, is_own, expected_version)?;
            Ok(Written::Deleted(remove_tree(tx, viewer.tenant, item).await?))
        }
    }
}

async fn make(tx: &mut Tx, viewer: &Viewer, new: NewItem) -> Result<Written> {
    let above = match new.parent {
        Some(parent) => Some((seen(&mut tx.conn, viewer, parent).await?, line(tx, viewer.tenant, parent).await?.len())),
        None => match viewer.item_level(&mut tx.conn, new.owner).await? {
            Some(ShareLevel::Full) => None,
            Some(_) => return Err(forbidden("only its owner adds to it").into()),
            None => return Err(missing("owner").into()),
        },
    };
    let item = made_item(&viewer.scope, new, above.as_ref().map(|(above, levels)| (above, *levels)), tx.now)?;
    // A passage of its own may have the id, too.
    let taken =
        sqlx::query("SELECT 1 FROM items WHERE tenant = ?1 AND id = ?2 UNION ALL SELECT 1 FROM passages WHERE tenant = ?1 AND id = ?2");
    if taken.bind(viewer.tenant).bind(item.id.blob()).fetch_optional(&mut tx.conn).await?.is_some() {
        return Err(StoreError::Exists { what: "item", name: item.id.to_string() }.into());
    }
    let (kind, a, b) = columns(item.owner);
    sqlx::query(
        "INSERT INTO items (tenant, id, kind, owner_kind, a, b, of_user, parent, root, position, version, state, recipient, written_by,
            source_conv, created_at, updated_at, title, tags, provenance, data, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(viewer.tenant)
    .bind(item.id.blob())
    .bind(item.kind.as_str())
    .bind(kind)
    .bind(a)
    .bind(b)
    .bind(item.owner.user().map(Id::blob))
    .bind(item.parent.map(Id::blob))
    .bind(item.root.blob())
    .bind(item.position)
    .bind(item.version as i64)
    .bind(item.state.as_str())
    .bind(item.recipient.map(Id::blob))
    .bind(item.written_by.map(Id::blob))
    .bind(item.provenance.conversation.map(Id::blob))
    .bind(nanos(item.created_at))
    .bind(nanos(item.updated_at))
    .bind(item.title.as_str())
    .bind(tag_lines(&item.tags)?)
    .bind(to_json(&item.provenance)?)
    .bind(to_json(&item.data)?)
    .bind(item.body.as_str())
    .execute(&mut tx.conn)
    .await?;
    put_passage(tx, viewer.tenant, &item).await?;
    if let Some(told) = Told::of_item(&item) {
        webhooks::tell(tx, viewer.tenant, &told)?;
    }
    Ok(Written::Item(Box::new(item)))
}

async fn change(tx: &mut Tx, viewer: &Viewer, id: ItemId, expected_version: Option<u64>, change: ItemChange) -> Result<Written> {
    let (seen, parent) = (seen(&mut tx.conn, viewer, id).await?, change.parent);
    let (is_top, root) = (seen.item.parent.is_none(), seen.item.root);
    let item = changed_item(&viewer.scope, seen, expected_version, change, tx.now)?;
    if let Some(parent) = parent {
        let above = line(tx, viewer.tenant, parent).await?;
        let above = if above.last() == Some(&root) { above } else { Vec::new() };
        check_move(id, is_top, &above, height(tx, viewer.tenant, id).await?)?;
    }
    sqlx::query(
        "UPDATE items SET parent = ?, position = ?, version = ?, state = ?, recipient = ?, written_by = ?, source_conv = ?, updated_at = ?,
            title = ?, tags = ?, provenance = ?, data = ?, body = ? WHERE tenant = ? AND id = ?",
    )
    .bind(item.parent.map(Id::blob))
    .bind(item.position)
    .bind(item.version as i64)
    .bind(item.state.as_str())
    .bind(item.recipient.map(Id::blob))
    .bind(item.written_by.map(Id::blob))
    .bind(item.provenance.conversation.map(Id::blob))
    .bind(nanos(item.updated_at))
    .bind(item.title.as_str())
    .bind(tag_lines(&item.tags)?)
    .bind(to_json(&item.provenance)?)
    .bind(to_json(&item.data)?)
    .bind(item.body.as_str())
    .bind(viewer.tenant)
    .bind(id.blob())
    .execute(&mut tx.conn)
    .await?;
    put_passage(tx, viewer.tenant, &item).await?;
    Ok(Written::Item(Box::new(item)))
}

/// Stores the passage of a searchable item. Who may write the item need not be one who may write the owner's passages.
async fn put_passage(tx: &mut Tx, tenant: i64, item: &Item) -> Result<()> {
    if let Some(passage) = item_passage(item) {
        let replaced = archival::known(tx, tenant, passage.id).await?;
        archival::store(tx, tenant, passage, replaced).await?;
    }
    Ok(())
}

/// Removes an item with all that is below it, without asking; answers how many.
pub(crate) async fn remove_tree(tx: &mut Tx, tenant: i64, top: ItemId) -> Result<u64> {
    let rows = sqlx::query(
        "WITH RECURSIVE gone (item, id) AS (
            SELECT item, id FROM items WHERE tenant = ?1 AND id = ?2
            UNION ALL SELECT c.item, c.id FROM gone CROSS JOIN items c INDEXED BY items_by_parent ON c.tenant = ?1 AND c.parent = gone.id)
         SELECT item, id FROM gone",
    )
    .bind(tenant)
    .bind(top.blob())
    .fetch_all(&mut tx.conn)
    .await?;
    for row in &rows {
        let (number, id): (i64, ItemId) = (row.int(0)?, row.id(1)?);
        sqlx::query("DELETE FROM items WHERE item = ?1; DELETE FROM item_shares WHERE tenant = ?2 AND root = ?3")
            .bind(number)
            .bind(tenant)
            .bind(id.blob())
            .execute(&mut tx.conn)
            .await?;
        let passage = archival::known(tx, tenant, PassageId::from_uuid(id.uuid())).await?;
        if let Some(known) = passage.filter(|known| check_channel(&known.provenance).is_err()) {
            archival::remove(tx, &known).await?;
        }
    }
    Ok(rows.len() as u64)
}

/// Removes the items that a statement names by tenant (?1) and an id (?2), with all that is below them; answers how many.
pub(crate) async fn erase_items(tx: &mut Tx, tenant: i64, which: &'static str, id: Vec<u8>) -> Result<u64> {
    let mut gone = 0;
    for row in sqlx::query(which).bind(tenant).bind(id).fetch_all(&mut tx.conn).await? {
        gone += remove_tree(tx, tenant, row.id(0)?).await?;
    }
    Ok(gone)
}

/// An item and those above it, from the inside out.
async fn line(tx: &mut Tx, tenant: i64, item: ItemId) -> Result<Vec<ItemId>> {
    let rows = sqlx::query(
        "WITH RECURSIVE above (id, parent, n) AS (
            SELECT id, parent, 0 FROM items WHERE tenant = ?1 AND id = ?2
            UNION ALL SELECT p.id, p.parent, n + 1 FROM above CROSS JOIN items p ON p.tenant = ?1 AND p.id = above.parent)
         SELECT id FROM above ORDER BY n",
    )
    .bind(tenant)
    .bind(item.blob())
    .fetch_all(&mut tx.conn)
    .await?;
    rows.iter().map(|row| row.id(0)).collect()
}

/// How many levels are below an item.
async fn height(tx: &mut Tx, tenant: i64, item: ItemId) -> Result<usize> {
    let row = sqlx::query(
        "WITH RECURSIVE below (id, n) AS (
            VALUES (?2, 0)
            UNION ALL SELECT c.id, n + 1 FROM below CROSS JOIN items c INDEXED BY items_by_parent ON c.tenant = ?1 AND c.parent = below.id)
         SELECT max(n) FROM below",
    )
    .bind(tenant)
    .bind(item.blob())
    .fetch_one(&mut tx.conn)
    .await?;
    Ok(usize::try_from(row.int(0)?).unwrap_or(usize::MAX))
}

/// Tags as their column holds them: JSON, each on a line of its own. No tag contains a line break as it is, for JSON escapes it, so a tag is
/// found by its line without taking the document apart.
fn tag_lines(tags: &[String]) -> Result<String> {
    Ok(serde_json::to_string_pretty(tags)?)
}

/// What [`tag_lines`] writes for one tag.
pub(super) fn tag_line(tag: &str) -> Result<String> {
    Ok(format!("\n  {}", to_json(tag)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_by_its_line_and_no_other() {
        let tags = ["a", "b\"c", ",", "\n  \"d\"", "\0", "e\\", "\",\n  \"f"].map(str::to_owned);
        let lines = tag_lines(&tags).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<String>>(&lines).expect("JSON"), tags);
        for tag in &tags {
            assert!(lines.contains(&tag_line(tag).expect("JSON")), "{tag:?}");
        }
        for tag in ["", "b", "c", "d", "f", "\"", "\\", "a\",", "e", "A"] {
            assert!(!lines.contains(&tag_line(tag).expect("JSON")), "{tag:?}");
        }
    }
}
