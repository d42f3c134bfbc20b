//! Rows of items, and what the scope may do with each.

use std::collections::HashMap;

use sid_store::SeenItem;
use sid_types::{Item, ItemId, Owner, Principal, ShareLevel};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::codec::{Columns, Id};
use crate::error::{Fault, Result, damaged, missing};
use crate::tx::Tx;
use crate::visibility::{Viewer, owner};

/// The columns of [`read`] before the body, of table `i` (items).
pub(super) const HEAD: &str = "i.id, i.kind, i.owner_kind, i.a, i.b, i.parent, i.root, i.position, i.version, i.state, i.recipient,
    i.written_by, i.created_at, i.updated_at, i.title, i.tags, i.provenance, i.data";

/// The highest level at which a row `i` of items is shared with $2, a user, in turns of $3, an agent or null. $1 is the tenant.
pub(super) const SHARED: &str = "(SELECT max(s.level) FROM sid.item_shares s WHERE s.tenant = $1 AND s.root = i.root AND (
    (s.with_kind = 0 AND s.with_id = $2)
    OR (s.with_kind = 1 AND EXISTS (SELECT FROM sid.team_members m WHERE m.tenant = $1 AND m.user_id = $2 AND m.team_id = s.with_id)
        AND ($3::uuid IS NULL OR EXISTS (
            SELECT FROM sid.agent_teams g WHERE g.tenant = $1 AND g.agent_id = $3 AND g.team_id = s.with_id)))))";

/// An item from a row of [`HEAD`] and its body, with the level of [`SHARED`] after that.
fn read(row: &PgRow) -> Result<(Item, Option<ShareLevel>)> {
    let item = Item {
        id: row.id(0)?,
        kind: row.text(1)?.parse().map_err(|why: String| Fault::Store(damaged(why)))?,
        owner: owner(row, 2)?,
        parent: row.maybe_id(5)?,
        root: row.id(6)?,
        position: row.number(7)?,
        version: row.count(8)?,
        state: row.text(9)?,
        recipient: row.maybe_id(10)?,
        written_by: row.maybe_id(11)?,
        created_at: row.time(12)?,
        updated_at: row.time(13)?,
        title: row.text(14)?,
        tags: row.texts(15)?,
        provenance: row.json(16)?,
        data: row.json(17)?,
        body: row.text(18)?,
    };
    Ok((item, row.maybe_small(19)?.map(level).transpose()?))
}

pub(super) const fn level_number(level: ShareLevel) -> i16 {
    match level {
        ShareLevel::Read => 0,
        ShareLevel::Edit => 1,
        ShareLevel::Full => 2,
    }
}

pub(super) fn level(number: i16) -> Result<ShareLevel> {
    Ok(match number {
        0 => ShareLevel::Read,
        1 => ShareLevel::Edit,
        2 => ShareLevel::Full,
        other => return Err(damaged(format!("an item is shared at level {other}")).into()),
    })
}

/// With whom something must be shared so that the viewer has part in it: a user, and an agent for its turns.
pub(super) fn sharee(viewer: &Viewer) -> (Option<Uuid>, Option<Uuid>) {
    match viewer.scope.principal() {
        Principal::Tenant { .. } => (None, None),
        Principal::User { user } => (Some(user.raw()), None),
        Principal::Turn { agent, user } => (user.map(Id::raw), Some(agent.raw())),
    }
}

/// What the viewer may do with items, owner by owner: each owner is looked at once.
#[derive(Default)]
pub(super) struct Levels(HashMap<Owner, Option<ShareLevel>>);

impl Levels {
    /// `shared`: what a share allows.
    async fn of(&mut self, tx: &mut Tx, viewer: &Viewer, owner: Owner, shared: Option<ShareLevel>) -> Result<Option<ShareLevel>> {
        let own = match self.0.get(&owner) {
            Some(known) => *known,
            None => {
                let level = viewer.level_of_item(tx, owner).await?;
                self.0.insert(owner, level);
                level
            }
        };
        Ok(own.max(shared))
    }

    /// The items of rows as [`seen`] reads them, those that the viewer sees.
    pub(super) async fn apply(&mut self, tx: &mut Tx, viewer: &Viewer, rows: &[PgRow]) -> Result<Vec<SeenItem>> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let (item, shared) = read(row)?;
            if let Some(level) = self.of(tx, viewer, item.owner, shared).await? {
                items.push(SeenItem { item, level });
            }
        }
        Ok(items)
    }
}

/// The item, if the viewer may see it.
pub(super) async fn seen(tx: &mut Tx, viewer: &Viewer, id: ItemId) -> Result<SeenItem> {
    look(tx, viewer, id, "").await
}

/// [`seen`], and kept from others' changes until the end of the transaction.
pub(super) async fn seen_and_held(tx: &mut Tx, viewer: &Viewer, id: ItemId) -> Result<SeenItem> {
    look(tx, viewer, id, " FOR UPDATE OF i").await
}

async fn look(tx: &mut Tx, viewer: &Viewer, id: ItemId, hold: &str) -> Result<SeenItem> {
    let (user, agent) = sharee(viewer);
    let query = tx.query_of(format!("SELECT {HEAD}, i.body, {SHARED} FROM sid.items i WHERE i.tenant = $1 AND i.id = $4{hold}"));
    let rows = query.bind(tx.tenant).bind(user).bind(agent).bind(id.uuid()).fetch_all(tx.conn()).await?;
    Ok(Levels::default().apply(tx, viewer, &rows).await?.pop().ok_or(missing("item"))?)
}
