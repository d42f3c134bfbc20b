//! `ApprovalStore`.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{ApprovalFilter, ApprovalStore, Decide, DecidedApproval, Lease, Page, PageRequest, StoreError, Told, asked, decided};
use sid_types::{Approval, ApprovalId, NewApproval, Owner, Principal, Scope};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json, word};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::state::accept;
use crate::visibility::{Conv, Viewer};
use crate::webhooks;
use crate::writer::Tx;

/// Notes a question that a commit asks.
pub(crate) fn ask(tx: &mut Tx, conv: &Conv, lease: &Lease, new: NewApproval) -> Result<()> {
    let Some(approval) = asked(new, lease, tx.now) else { return Ok(()) };
    tx.later("INSERT OR IGNORE INTO approvals (tenant, id, conv, agent, user, state, asked_at, expires_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(conv.tenant)
        .bind(approval.id.blob())
        .bind(conv.conv)
        .bind(approval.agent.blob())
        .bind(approval.user.map(Id::blob))
        .bind(word(&approval.state)?)
        .bind(nanos(approval.asked_at))
        .bind(nanos(approval.expires_at))
        .bind(to_json(&approval)?);
    Ok(())
}

async fn find(conn: &mut SqliteConnection, viewer: &Viewer, id: ApprovalId) -> Result<Approval> {
    let query = sqlx::query("SELECT doc FROM approvals WHERE tenant = ? AND id = ?").bind(viewer.tenant).bind(id.blob());
    let found: Option<Approval> = query.fetch_optional(conn).await?.map(|row| row.json(0)).transpose()?;
    Ok(found.filter(|a| viewer.sees_conversation(a.agent, a.user)).ok_or(missing("approval"))?)
}

async fn decide_in(tx: &mut Tx, viewer: Viewer, decide: Decide) -> Result<DecidedApproval> {
    let known = find(&mut tx.conn, &viewer, decide.approval).await?;
    let Some((approval, accept)) = decided(&viewer.scope, &known, &decide, tx.now)? else {
        return Ok(DecidedApproval { approval: known, run: None, lease: None });
    };
    let tenant = viewer.tenant;
    let accepted = accept::accept(tx, viewer, accept).await?;
    sqlx::query("UPDATE approvals SET state = ?, doc = ? WHERE tenant = ? AND id = ?")
        .bind(word(&approval.state)?)
        .bind(to_json(&approval)?)
        .bind(viewer.tenant)
        .bind(approval.id.blob())
        .execute(&mut tx.conn)
        .await?;
    webhooks::tell(tx, tenant, &Told::of_approval(&approval))?;
    Ok(DecidedApproval { approval, run: Some(accepted.run), lease: accepted.lease })
}

#[async_trait]
impl ApprovalStore for SqliteStore {
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let cursor = Cursor::descending::<ApprovalId>(&page)?;
        let mut conn = self.reader().await?;
        let conv = match filter.conversation {
            Some(id) => Some(Conv::get(&mut conn, &viewer, id).await?.conv),
            None => None,
        };
        let (agent, user, with_alone) = match scope.principal() {
            Principal::Tenant { .. } => (None, None, false),
            Principal::User { user } => (None, Some(user), false),
            Principal::Turn { agent, user } => (Some(agent), user, true),
        };
        let state = filter.state.map(|s| word(&s)).transpose()?;
        let rows = sqlx::query(
            "SELECT doc FROM approvals WHERE tenant = ?1 AND (asked_at, id) < (?2, ?3) AND (?4 IS NULL OR state = ?4)
             AND (?5 IS NULL OR conv = ?5) AND (?6 IS NULL OR agent = ?6)
             AND (?7 IS NULL OR user = ?7 OR (?8 AND user IS NULL)) AND (NOT ?9 OR user IS NULL)
             ORDER BY asked_at DESC, id DESC LIMIT ?10",
        )
        .bind(viewer.tenant)
        .bind(cursor.at)
        .bind(cursor.id.clone())
        .bind(state)
        .bind(conv)
        .bind(agent.map(Id::blob))
        .bind(user.map(Id::blob))
        .bind(with_alone)
        // A turn without a human sees conversations without a human only.
        .bind(with_alone && user.is_none())
        .bind(cursor.fetch())
        .fetch_all(&mut *conn)
        .await
        .map_err(Fault::Sql)?;
        let approvals: Vec<Approval> = rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(approvals, |a| (a.asked_at, a.id)))
    }

    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(find(&mut *self.reader().await?, &viewer, approval).await?)
    }

    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| decide_in(tx, viewer, decide).boxed()).await
    }

    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError> {
        let query = sqlx::query(
            "SELECT t.id, a.id FROM approvals a JOIN tenants t ON t.tenant = a.tenant WHERE a.state = 'pending' AND a.expires_at <= ?
             ORDER BY a.expires_at, a.id LIMIT ?",
        );
        let query = query.bind(nanos(self.now())).bind(most as i64);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        let one = |row: &sqlx::sqlite::SqliteRow| Ok((engine_scope(row.id(0)?, Owner::Tenant), row.id(1)?));
        Ok(rows.iter().map(one).collect::<Result<_>>()?)
    }
}
