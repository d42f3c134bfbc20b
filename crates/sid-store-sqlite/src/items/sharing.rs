//! With whom items are shared.

use sid_store::item_rules::forbidden;
use sid_store::{Right, StoreError, is_shareable};
use sid_types::{Item, ItemId, Owner, Share, ShareLevel, Sharee};
use sqlx::sqlite::SqliteConnection;

use super::rows::{level, level_number, seen};
use crate::codec::{Columns, Id, nanos};
use crate::directory;
use crate::error::{Result, damaged, missing};
use crate::visibility::Viewer;
use crate::writer::Tx;

/// A sharee as columns: kind and id.
fn columns(with: Sharee) -> (i64, Vec<u8>) {
    match with {
        Sharee::User { user } => (0, user.blob()),
        Sharee::Team { team } => (1, team.blob()),
    }
}

/// An item that the viewer may share.
async fn own(conn: &mut SqliteConnection, viewer: &Viewer, item: ItemId) -> Result<Item> {
    let item = seen(conn, viewer, item).await?.item;
    if Right::to_share(&viewer.scope, item.owner) { Ok(item) } else { Err(forbidden("only its owner shares it").into()) }
}

/// Fails if the viewer may not know of the sharee, or it is the owner.
async fn check_sharee(conn: &mut SqliteConnection, viewer: &Viewer, item: &Item, with: Sharee) -> Result<()> {
    match with {
        Sharee::User { user } => {
            let is_there = item.owner.user() != Some(user)
                && directory::find_user(conn, viewer.tenant, user).await?.is_some()
                && viewer.knows(conn, user).await?;
            if is_there { Ok(()) } else { Err(missing("user").into()) }
        }
        Sharee::Team { team } => {
            if viewer.sees(conn, Owner::Team { team }).await? {
                Ok(())
            } else {
                Err(missing("team").into())
            }
        }
    }
}

pub(super) async fn share(tx: &mut Tx, viewer: &Viewer, id: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<()> {
    let item = own(&mut tx.conn, viewer, id).await?;
    if !is_shareable(item.kind) || item.parent.is_some() {
        let why = "only the top of a tree is shared, and no session, hand-off, secret or proposal";
        return Err(StoreError::Invalid(why.into()).into());
    }
    let (kind, sharee) = columns(with);
    let Some(level) = level else {
        // Who has become a stranger since can still be shut out.
        sqlx::query("DELETE FROM item_shares WHERE tenant = ? AND root = ? AND with_kind = ? AND with_id = ?")
            .bind(viewer.tenant)
            .bind(id.blob())
            .bind(kind)
            .bind(sharee)
            .execute(&mut tx.conn)
            .await?;
        return Ok(());
    };
    check_sharee(&mut tx.conn, viewer, &item, with).await?;
    sqlx::query(
        "INSERT INTO item_shares (tenant, root, with_kind, with_id, level, created_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, root, with_kind, with_id) DO UPDATE SET level = excluded.level",
    )
    .bind(viewer.tenant)
    .bind(id.blob())
    .bind(kind)
    .bind(sharee)
    .bind(level_number(level))
    .bind(nanos(tx.now))
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

pub(super) async fn list(conn: &mut SqliteConnection, viewer: &Viewer, item: ItemId) -> Result<Vec<Share>> {
    own(conn, viewer, item).await?;
    let rows = sqlx::query(
        "SELECT with_kind, with_id, level, created_at FROM item_shares WHERE tenant = ? AND root = ? ORDER BY created_at, with_kind, with_id",
    )
    .bind(viewer.tenant)
    .bind(item.blob())
    .fetch_all(conn)
    .await?;
    let share = |row| -> Result<Share> {
        let with = match Columns::int(row, 0)? {
            0 => Sharee::User { user: Columns::id(row, 1)? },
            1 => Sharee::Team { team: Columns::id(row, 1)? },
            other => return Err(damaged(format!("an item is shared with kind {other}")).into()),
        };
        Ok(Share { item, with, level: level(Columns::int(row, 2)?)?, created_at: Columns::time(row, 3)? })
    };
    rows.iter().map(share).collect()
}
