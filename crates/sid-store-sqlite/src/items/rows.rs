//! Rows of items, and what the scope may do with each.

use std::collections::HashMap;

use sid_store::SeenItem;
use sid_types::{AgentId, Item, ItemId, Owner, Principal, ShareLevel, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, Id};
use crate::error::{Fault, Result, damaged, missing};
use crate::visibility::{Viewer, owner};

/// The columns of [`read`] before the body, of table `i` (items).
pub(super) const HEAD: &str = "i.id, i.kind, i.owner_kind, i.a, i.b, i.parent, i.root, i.position, i.version, i.state, i.recipient,
    i.written_by, i.created_at, i.updated_at, i.title, i.tags, i.provenance, i.data";

/// The highest level at which a row `i` of items is shared with ?2, a user, in turns of ?3, an agent or null. ?1 is the tenant.
pub(super) const SHARED: &str = "(SELECT max(s.level) FROM item_shares s WHERE s.tenant = ?1 AND s.root = i.root AND (
    (s.with_kind = 0 AND s.with_id = ?2)
    OR (s.with_kind = 1 AND EXISTS (SELECT 1 FROM team_members m WHERE m.tenant = ?1 AND m.user = ?2 AND m.team = s.with_id)
        AND (?3 IS NULL OR EXISTS (SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?3 AND g.team = s.with_id)))))";

/// An item from a row of [`HEAD`] and its body, with the level of [`SHARED`] after that.
fn read(row: &SqliteRow) -> Result<(Item, Option<ShareLevel>)> {
    let item = Item {
        id: row.id(0)?,
        kind: row.text(1)?.parse().map_err(|why: String| Fault::Store(damaged(why)))?,
        owner: owner(row, 2)?,
        parent: row.maybe_id(5)?,
        root: row.id(6)?,
        position: i32::try_from(row.int(7)?).unwrap_or_default(),
        version: row.count(8)?,
        state: row.text(9)?,
        recipient: row.maybe_id(10)?,
        written_by: row.maybe_id(11)?,
        created_at: row.time(12)?,
        updated_at: row.time(13)?,
        title: row.text(14)?,
        tags: row.json(15)?,
        provenance: row.json(16)?,
        data: row.json(17)?,
        body: row.text(18)?,
    };
    Ok((item, row.maybe_int(19)?.map(level).transpose()?))
}

pub(super) const fn level_number(level: ShareLevel) -> i64 {
    match level {
        ShareLevel::Read => 0,
        ShareLevel::Edit => 1,
        ShareLevel::Full => 2,
    }
}

pub(super) fn level(number: i64) -> Result<ShareLevel> {
    Ok(match number {
        0 => ShareLevel::Read,
        1 => ShareLevel::Edit,
        2 => ShareLevel::Full,
        other => return Err(damaged(format!("an item is shared at level {other}")).into()),
    })
}

/// With whom something must be shared so that the viewer has part in it.
pub(super) fn sharee(viewer: &Viewer) -> (Option<UserId>, Option<AgentId>) {
    match viewer.scope.principal() {
        Principal::Tenant { .. } => (None, None),
        Principal::User { user } => (Some(user), None),
        Principal::Turn { agent, user } => (user, Some(agent)),
    }
}

/// What the viewer may do with items, owner by owner: each owner is looked at once.
#[derive(Default)]
pub(super) struct Levels(HashMap<Owner, Option<ShareLevel>>);

impl Levels {
    /// `shared`: what a share allows.
    async fn of(
        &mut self,
        conn: &mut SqliteConnection,
        viewer: &Viewer,
        owner: Owner,
        shared: Option<ShareLevel>,
    ) -> Result<Option<ShareLevel>> {
        let own = match self.0.get(&owner) {
            Some(known) => *known,
            None => {
                let level = viewer.level_of_item(conn, owner).await?;
                self.0.insert(owner, level);
                level
            }
        };
        Ok(own.max(shared))
    }

    /// The items of rows as [`seen`] reads them, those that the viewer sees.
    pub(super) async fn apply(&mut self, conn: &mut SqliteConnection, viewer: &Viewer, rows: &[SqliteRow]) -> Result<Vec<SeenItem>> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let (item, shared) = read(row)?;
            if let Some(level) = self.of(conn, viewer, item.owner, shared).await? {
                items.push(SeenItem { item, level });
            }
        }
        Ok(items)
    }
}

/// The item, if the viewer may see it.
pub(super) async fn seen(conn: &mut SqliteConnection, viewer: &Viewer, id: ItemId) -> Result<SeenItem> {
    let (user, agent) = sharee(viewer);
    let sql = format!("SELECT {HEAD}, i.body, {SHARED} FROM items i WHERE i.tenant = ?1 AND i.id = ?4");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(viewer.tenant)
        .bind(user.map(Id::blob))
        .bind(agent.map(Id::blob))
        .bind(id.blob())
        .fetch_all(&mut *conn)
        .await?;
    Ok(Levels::default().apply(conn, viewer, &rows).await?.pop().ok_or(missing("item"))?)
}
