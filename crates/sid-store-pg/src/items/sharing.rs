//! With whom items are shared.

use sid_store::item_rules::forbidden;
use sid_store::{Right, StoreError, is_shareable};
use sid_types::{Item, ItemId, Owner, Share, ShareLevel, Sharee};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::rows::{level, level_number, seen};
use crate::codec::{At, Columns};
use crate::directory;
use crate::error::{Result, damaged, missing};
use crate::tx::Tx;
use crate::visibility::Viewer;

/// A sharee as columns: kind and id.
const fn columns(with: Sharee) -> (i16, Uuid) {
    match with {
        Sharee::User { user } => (0, user.uuid()),
        Sharee::Team { team } => (1, team.uuid()),
    }
}

/// An item that the viewer may share.
async fn own(tx: &mut Tx, viewer: &Viewer, item: ItemId) -> Result<Item> {
    let item = seen(tx, viewer, item).await?.item;
    if Right::to_share(&viewer.scope, item.owner) { Ok(item) } else { Err(forbidden("only its owner shares it").into()) }
}

/// Fails if the viewer may not know of the sharee, or it is the owner.
async fn check_sharee(tx: &mut Tx, viewer: &Viewer, item: &Item, with: Sharee) -> Result<()> {
    match with {
        Sharee::User { user } => {
            let is_there =
                item.owner.user() != Some(user) && directory::find_user(tx, user).await?.is_some() && viewer.knows(tx, user).await?;
            if is_there { Ok(()) } else { Err(missing("user").into()) }
        }
        Sharee::Team { team } => {
            if viewer.sees(tx, Owner::Team { team }).await? {
                Ok(())
            } else {
                Err(missing("team").into())
            }
        }
    }
}

pub(super) async fn share(tx: &mut Tx, viewer: &Viewer, id: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<()> {
    let item = own(tx, viewer, id).await?;
    if !is_shareable(item.kind) || item.parent.is_some() {
        let why = "only the top of a tree is shared, and no session, hand-off, secret or proposal";
        return Err(StoreError::Invalid(why.into()).into());
    }
    let (kind, sharee) = columns(with);
    let Some(level) = level else {
        // Who has become a stranger since can still be shut out.
        let query = tx.query("DELETE FROM sid.item_shares WHERE tenant = $1 AND root = $2 AND with_kind = $3 AND with_id = $4");
        query.bind(tx.tenant).bind(id.uuid()).bind(kind).bind(sharee).execute(tx.conn()).await?;
        return Ok(());
    };
    check_sharee(tx, viewer, &item, with).await?;
    // The item is held, so that no share is left of one that goes meanwhile.
    let query = tx.query(
        "INSERT INTO sid.item_shares (tenant, root, with_kind, with_id, level, created_at)
         SELECT i.tenant, i.id, $3, $4, $5, $6 FROM sid.items i WHERE i.tenant = $1 AND i.id = $2 FOR NO KEY UPDATE OF i
         ON CONFLICT (tenant, root, with_kind, with_id) DO UPDATE SET level = excluded.level",
    );
    let query = query.bind(tx.tenant).bind(id.uuid()).bind(kind).bind(sharee).bind(level_number(level)).bind(At(tx.now));
    let shared = query.execute(tx.conn()).await?;
    if shared.rows_affected() == 0 { Err(missing("item").into()) } else { Ok(()) }
}

pub(super) async fn list(tx: &mut Tx, viewer: &Viewer, item: ItemId) -> Result<Vec<Share>> {
    own(tx, viewer, item).await?;
    let query = tx.query(
        "SELECT with_kind, with_id, level, created_at FROM sid.item_shares WHERE tenant = $1 AND root = $2
         ORDER BY created_at, with_kind, with_id",
    );
    let rows = query.bind(tx.tenant).bind(item.uuid()).fetch_all(tx.conn()).await?;
    let share = |row: &PgRow| -> Result<Share> {
        let with = match row.small(0)? {
            0 => Sharee::User { user: row.id(1)? },
            1 => Sharee::Team { team: row.id(1)? },
            other => return Err(damaged(format!("an item is shared with kind {other}")).into()),
        };
        Ok(Share { item, with, level: level(row.small(2)?)?, created_at: row.time(3)? })
    };
    rows.iter().map(share).collect()
}
