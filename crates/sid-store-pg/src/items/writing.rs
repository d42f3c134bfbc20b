//! Making, changing and deleting items, each with the passage that it is, too.
//!
//! Whoever changes the shape of a tree holds its top meanwhile: two who add, move and delete in one tree come one after the other.

use sid_store::item_rules::{changed_item, check_deletion, check_move, forbidden, item_passage, made_item};
use sid_store::{ItemChange, ItemWrite, NewItem, StoreError, Written, check_channel};
use sid_types::{Item, ItemId, Owner, PassageId, ShareLevel};
use uuid::Uuid;

use super::rows::{seen, seen_and_held};
use crate::archival;
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean, kept, to_json};
use crate::error::{Result, missing};
use crate::tx::{Statement, Tx};
use crate::visibility::{Viewer, columns};

pub(super) async fn write(store: &PgStore, tx: &mut Tx, viewer: &Viewer, write: ItemWrite) -> Result<Written> {
    match write {
        ItemWrite::Make(new) => make(store, tx, viewer, *new).await,
        ItemWrite::Change { item, expected_version, change } => self::change(store, tx, viewer, item, expected_version, *change).await,
        ItemWrite::Delete { item, expected_version } => {
            hold_tree(tx, item).await?;
            let seen = seen_and_held(tx, viewer, item).await?;
            let is_own = viewer.level_of_item(tx, seen.item.owner).await? == Some(ShareLevel::Full);
            check_deletion(&seen, is_own, expected_version)?;
            let gone = drop_rows(tx, vec![item.uuid()]).await?;
            remove_passages(store, tx, &gone).await?;
            Ok(Written::Deleted(gone.len() as u64))
        }
    }
}

async fn make(store: &PgStore, tx: &mut Tx, viewer: &Viewer, new: NewItem) -> Result<Written> {
    let above = match new.parent {
        Some(parent) => {
            hold_tree(tx, parent).await?;
            Some((seen(tx, viewer, parent).await?, line(tx, parent).await?.len()))
        }
        None => match viewer.item_level(tx, new.owner).await? {
            Some(ShareLevel::Full) => {
                hold_owner(tx, new.owner).await?;
                None
            }
            Some(_) => return Err(forbidden("only its owner adds to it").into()),
            None => return Err(missing("owner").into()),
        },
    };
    let now = kept(tx.now);
    let item = made_item(&viewer.scope, new, above.as_ref().map(|(above, levels)| (above, *levels)), now)?;
    let taken = || StoreError::Exists { what: "item", name: item.id.to_string() };
    // A passage of its own may have the id, too.
    let query = tx
        .query("SELECT 1 FROM sid.items WHERE tenant = $1 AND id = $2 UNION ALL SELECT 1 FROM sid.passages WHERE tenant = $1 AND id = $2");
    if query.bind(tx.tenant).bind(item.id.uuid()).fetch_optional(tx.conn()).await?.is_some() {
        return Err(taken().into());
    }
    let (kind, a, b) = columns(item.owner);
    let query = tx.query(
        "INSERT INTO sid.items (tenant, id, parent, position, version, state, recipient, written_by, source_conv, updated_at, title, tags,
            provenance, data, body, kind, owner_kind, a, b, of_user, root, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
    );
    let query = bind(query, tx.tenant, &item)?.bind(item.kind.as_str().to_owned()).bind(kind).bind(a).bind(b);
    let query = query.bind(item.owner.user().map(Id::raw)).bind(item.root.uuid()).bind(At(item.created_at));
    let outcome = async {
        query.execute(tx.conn()).await?;
        put_passage(store, tx, &item).await
    }
    .await;
    // Another may have taken it after this look: the unique row decides.
    outcome.map_err(|fault: crate::error::Fault| match fault.broken_rule() {
        Some("items_pkey" | "passages_pkey") => taken().into(),
        _ => fault,
    })?;
    Ok(Written::Item(Box::new(item)))
}

async fn change(
    store: &PgStore,
    tx: &mut Tx,
    viewer: &Viewer,
    id: ItemId,
    expected_version: Option<u64>,
    change: ItemChange,
) -> Result<Written> {
    if change.parent.is_some() {
        hold_tree(tx, id).await?;
    }
    let (seen, parent) = (seen_and_held(tx, viewer, id).await?, change.parent);
    let (is_top, root) = (seen.item.parent.is_none(), seen.item.root);
    let item = changed_item(&viewer.scope, seen, expected_version, change, kept(tx.now))?;
    if let Some(parent) = parent {
        let above = line(tx, parent).await?;
        let above = if above.last() == Some(&root) { above } else { Vec::new() };
        check_move(id, is_top, &above, height(tx, id).await?)?;
    }
    let query = tx.query(
        "UPDATE sid.items SET parent = $3, position = $4, version = $5, state = $6, recipient = $7, written_by = $8, source_conv = $9,
            updated_at = $10, title = $11, tags = $12, provenance = $13, data = $14, body = $15 WHERE tenant = $1 AND id = $2",
    );
    bind(query, tx.tenant, &item)?.execute(tx.conn()).await?;
    put_passage(store, tx, &item).await?;
    Ok(Written::Item(Box::new(item)))
}

/// Binds $1 to $15: the key, and what a change may change.
fn bind(query: Statement, tenant: Uuid, item: &Item) -> Result<Statement> {
    Ok(query
        .bind(tenant)
        .bind(item.id.uuid())
        .bind(item.parent.map(Id::raw))
        .bind(item.position)
        .bind(item.version as i64)
        .bind(clean(&item.state).into_owned())
        .bind(item.recipient.map(Id::raw))
        .bind(item.written_by.map(Id::raw))
        .bind(item.provenance.conversation.map(Id::raw))
        .bind(At(item.updated_at))
        .bind(clean(&item.title).into_owned())
        .bind(item.tags.iter().map(|tag| clean(tag).into_owned()).collect::<Vec<_>>())
        .bind(to_json(&item.provenance)?)
        .bind(to_json(&item.data)?)
        .bind(clean(&item.body).into_owned()))
}

/// Stores the passage of a searchable item. Who may write the item need not be one who may write the owner's passages.
async fn put_passage(store: &PgStore, tx: &mut Tx, item: &Item) -> Result<()> {
    if let Some(passage) = item_passage(item) {
        let replaced = archival::known(tx, passage.id).await?;
        archival::store_passage(store, tx, passage, replaced).await?;
    }
    Ok(())
}

/// Keeps the user and the agent whose an item is to be from being erased until the end of the transaction.
async fn hold_owner(tx: &mut Tx, owner: Owner) -> Result<()> {
    let (user, agent) = match owner {
        Owner::Tenant | Owner::Team { .. } => (None, None),
        Owner::User { user } => (Some(user), None),
        Owner::Agent { agent } => (None, Some(agent)),
        Owner::Pair { agent, user } => (Some(user), Some(agent)),
    };
    for (sql, id) in [
        ("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR KEY SHARE", user.map(Id::raw)),
        ("SELECT 1 FROM sid.agents WHERE tenant = $1 AND id = $2 FOR KEY SHARE", agent.map(Id::raw)),
    ] {
        if let Some(id) = id
            && tx.query(sql).bind(tx.tenant).bind(id).fetch_optional(tx.conn()).await?.is_none()
        {
            return Err(missing("owner").into());
        }
    }
    Ok(())
}

/// Holds the top of an item's tree until the end of the transaction.
async fn hold_tree(tx: &mut Tx, item: ItemId) -> Result<()> {
    let query = tx.query(
        "SELECT 1 FROM sid.items WHERE tenant = $1 AND id = (SELECT i.root FROM sid.items i WHERE i.tenant = $1 AND i.id = $2) FOR UPDATE",
    );
    query.bind(tx.tenant).bind(item.uuid()).execute(tx.conn()).await?;
    Ok(())
}

/// Removes the rows of items with all that is below them, without asking; answers which. Their passages are left: see [`remove_passages`].
pub(crate) async fn drop_rows(tx: &mut Tx, tops: Vec<Uuid>) -> Result<Vec<ItemId>> {
    if tops.is_empty() {
        return Ok(Vec::new());
    }
    let query = tx.query("SELECT g FROM sid.drop_items($1, $2) g").bind(tx.tenant).bind(tops);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.id(0)).collect()
}

/// Removes the passages of items that are gone.
pub(crate) async fn remove_passages(store: &PgStore, tx: &mut Tx, gone: &[ItemId]) -> Result<()> {
    for id in gone {
        let known = archival::known(tx, PassageId::from_uuid(id.uuid())).await?;
        if let Some(known) = known.filter(|known| check_channel(&known.provenance).is_err()) {
            archival::remove(store, tx, &known).await?;
        }
    }
    Ok(())
}

/// An item and those above it, from the inside out.
async fn line(tx: &mut Tx, item: ItemId) -> Result<Vec<ItemId>> {
    let query = tx.query(
        "WITH RECURSIVE above (id, parent, n) AS (
            SELECT i.id, i.parent, 0 FROM sid.items i WHERE i.tenant = $1 AND i.id = $2
            UNION ALL SELECT p.id, p.parent, n + 1 FROM above JOIN sid.items p ON p.tenant = $1 AND p.id = above.parent)
         SELECT id FROM above ORDER BY n",
    );
    let rows = query.bind(tx.tenant).bind(item.uuid()).fetch_all(tx.conn()).await?;
    rows.iter().map(|row| row.id(0)).collect()
}

/// How many levels are below an item.
async fn height(tx: &mut Tx, item: ItemId) -> Result<usize> {
    let query = tx.query(
        "WITH RECURSIVE below (id, n) AS (
            SELECT $2::uuid, 0
            UNION ALL SELECT c.id, n + 1 FROM below JOIN sid.items c ON c.tenant = $1 AND c.parent = below.id)
         SELECT max(n) FROM below",
    );
    let row = query.bind(tx.tenant).bind(item.uuid()).fetch_one(tx.conn()).await?;
    Ok(usize::try_from(row.number(0)?).unwrap_or(usize::MAX))
}
