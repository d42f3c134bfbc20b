//! `ApprovalStore`.

use async_trait::async_trait;
use sid_store::{ApprovalFilter, ApprovalStore, Decide, DecidedApproval, Lease, Page, PageRequest, StoreError, asked, decided};
use sid_types::{Approval, ApprovalId, NewApproval, Owner, Principal, Scope};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, to_json, word};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::rows::Conv;
use crate::state::accept;
use crate::tx::Tx;
use crate::visibility::Viewer;

/// Notes a question that a commit asks.
pub(crate) async fn ask(tx: &mut Tx, lease: &Lease, new: NewApproval) -> Result<()> {
    let Some(approval) = asked(new, lease, tx.now) else { return Ok(()) };
    let query = tx.query(
        "INSERT INTO sid.approvals (tenant, id, conv, agent_id, user_id, state, asked_at, expires_at, doc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, id) DO NOTHING",
    );
    let query = query.bind(tx.tenant).bind(approval.id.uuid()).bind(approval.conversation.uuid()).bind(approval.agent.uuid());
    let query = query.bind(approval.user.map(Id::raw)).bind(word(&approval.state)?).bind(At(approval.asked_at));
    query.bind(At(approval.expires_at)).bind(to_json(&approval)?).execute(tx.conn()).await?;
    Ok(())
}

async fn find(tx: &mut Tx, viewer: &Viewer, id: ApprovalId, lock: &str) -> Result<Approval> {
    let query = tx.query_of(format!("SELECT a.doc FROM sid.approvals a WHERE a.tenant = $1 AND a.id = $2 {lock}"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    let found: Option<Approval> = row.map(|row| row.json(0)).transpose()?;
    Ok(found.filter(|a| viewer.sees_conversation(a.agent, a.user)).ok_or(missing("approval"))?)
}

/// How often a decision that met another transaction in an unlucky order tries again at once.
const COLLISIONS: usize = 3;

async fn decide_once(store: &PgStore, scope: &Scope, decide: &Decide) -> Result<DecidedApproval> {
    let viewer = store.viewer(scope);
    let mut tx = store.begin(scope.tenant()).await?;
    let conversation = find(&mut tx, &viewer, decide.approval, "").await?.conversation;
    // The conversation first, as every write to it does.
    let query = tx.query("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR UPDATE");
    query.bind(tx.tenant).bind(conversation.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("approval"))?;
    let known = find(&mut tx, &viewer, decide.approval, "FOR UPDATE").await?;
    let Some((approval, accepting)) = decided(scope, &known, decide, tx.now)? else {
        return Ok(DecidedApproval { approval: known, run: None, lease: None });
    };
    let accepted = accept::accept_in(store, &mut tx, scope, &accepting).await?;
    let query = tx.query("UPDATE sid.approvals SET state = $3, doc = $4 WHERE tenant = $1 AND id = $2");
    let query = query.bind(tx.tenant).bind(approval.id.uuid()).bind(word(&approval.state)?).bind(to_json(&approval)?);
    query.execute(tx.conn()).await?;
    tx.commit().await?;
    Ok(DecidedApproval { approval, run: Some(accepted.run), lease: accepted.lease })
}

#[async_trait]
impl ApprovalStore for PgStore {
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError> {
        let viewer = self.viewer(scope);
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let cursor = Cursor::descending::<ApprovalId>(&page)?;
        if let Some(id) = filter.conversation {
            Conv::get(&mut tx, &viewer, id).await?;
        }
        let (agent, user, with_alone) = match scope.principal() {
            Principal::Tenant { .. } => (None, None, false),
            Principal::User { user } => (None, Some(user), false),
            Principal::Turn { agent, user } => (Some(agent), user, true),
        };
        let query = tx.query(
            "SELECT a.doc FROM sid.approvals a WHERE a.tenant = $1 AND (a.asked_at, a.id) < ($2, $3) AND ($4::text IS NULL OR a.state = $4)
             AND ($5::uuid IS NULL OR a.conv = $5) AND ($6::uuid IS NULL OR a.agent_id = $6)
             AND ($7::uuid IS NULL OR a.user_id = $7 OR ($8 AND a.user_id IS NULL)) AND (NOT $9 OR a.user_id IS NULL)
             ORDER BY a.asked_at DESC, a.id DESC LIMIT $10",
        );
        let query = query.bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(filter.state.map(|s| word(&s)).transpose()?);
        let query = query.bind(filter.conversation.map(Id::raw)).bind(agent.map(Id::raw)).bind(user.map(Id::raw)).bind(with_alone);
        // A turn without a human sees conversations without a human only.
        let query = query.bind(with_alone && user.is_none()).bind(cursor.fetch());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let approvals: Vec<Approval> = rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(approvals, |a| (a.asked_at, a.id)))
    }

    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(find(&mut tx, &self.viewer(scope), approval, "").await?)
    }

    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError> {
        for _ in 0..COLLISIONS {
            match decide_once(self, scope, &decide).await {
                Err(fault) if fault.broken_rule().is_some() || fault.is_collision() => {}
                answer => return Ok(answer?),
            }
        }
        Ok(decide_once(self, scope, &decide).await?)
    }

    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError> {
        let call = self.call("SELECT x.o_tenant, x.o_id FROM sid.expired_approvals($1, $2) x").bind(self.clock()).bind(most as i64);
        let rows = self.timely(call.fetch_all()).await?;
        let one = |row: &PgRow| Ok((engine_scope(row.id(0)?, Owner::Tenant), row.id(1)?));
        Ok(rows.iter().map(one).collect::<Result<_>>()?)
    }
}
