//! `AuditLog`: entries by time, by who acted and by whose memory it was. Servers add to it by a function and change nothing.

use async_trait::async_trait;
use sid_store::{AuditEntry, AuditFilter, AuditLog, Page, PageRequest, StoreError};
use sid_types::{Principal, Scope, TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean};
use crate::error::{Fault, Result};

/// The columns of [`read`].
const COLUMNS: &str = "x.entry, x.at, x.key, x.user_id, x.agent_id, x.operation, x.subject, x.resource, x.status, x.request";

/// An entry and its number.
fn read(row: &PgRow, tenant: TenantId) -> Result<(i64, AuditEntry)> {
    let entry = AuditEntry {
        tenant,
        at: row.time(1)?,
        key: row.id(2)?,
        user: row.maybe_id(3)?,
        agent: row.maybe_id(4)?,
        operation: row.text(5)?,
        subject: row.maybe_id(6)?,
        resource: row.maybe_text(7)?,
        status: u16::try_from(row.number(8)?).unwrap_or_default(),
        request: row.maybe_text(9)?,
    };
    Ok((row.int(0)?, entry))
}

#[async_trait]
impl AuditLog for PgStore {
    async fn record(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let maybe_clean = |text: &Option<String>| text.as_deref().map(|text| clean(text).into_owned());
        let call = self
            .call("SELECT sid.record_audit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(entries.iter().map(|e| e.tenant.uuid()).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| At(e.at)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.key.uuid()).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.user.map(Id::raw)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.agent.map(Id::raw)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| clean(&e.operation).into_owned()).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| e.subject.map(Id::raw)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| maybe_clean(&e.resource)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| i32::from(e.status)).collect::<Vec<_>>())
            .bind(entries.iter().map(|e| maybe_clean(&e.request)).collect::<Vec<_>>());
        self.timely(call.fetch_all()).await?;
        Ok(())
    }

    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let me = match scope.principal() {
            Principal::Tenant { .. } => None,
            Principal::User { user } => Some(user),
            Principal::Turn { .. } => return Ok(Page { items: Vec::new(), next: None }),
        };
        let (at, entry) = match page.after.as_deref().map(place) {
            None => (Timestamp::MAX, i64::MAX),
            Some(place) => place.ok_or_else(|| StoreError::Invalid("this is not a cursor: start the list again".into()))?,
        };
        let limit = page.limit.clamp(1, 1_000);
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        // $3 is whose entries are looked up, $4 who may see them beside that.
        let newest = |whose: &str| {
            format!(
                "(SELECT {COLUMNS} FROM sid.audit x WHERE x.tenant = $1 AND {whose} AND (x.at, x.entry) < ($5, $6) AND x.at >= $7
                    AND ($2::text IS NULL OR x.operation = $2) AND ($4::uuid IS NULL OR x.user_id = $4 OR x.subject = $4)
                 ORDER BY x.at DESC, x.entry DESC LIMIT $8)"
            )
        };
        let (first, second) = if me.is_some() { (me, filter.about) } else { (filter.about, None) };
        let found = if first.is_some() {
            format!("{} UNION ALL {}", newest("x.user_id = $3"), newest("x.subject = $3 AND x.user_id IS DISTINCT FROM $3"))
        } else {
            newest("$3::uuid IS NULL")
        };
        let query = tx.query_of(format!("SELECT * FROM ({found}) f ORDER BY f.at DESC, f.entry DESC LIMIT $8"));
        let query = query.bind(tx.tenant).bind(filter.operation.as_deref().map(|o| clean(o).into_owned()));
        let query = query.bind(first.map(Id::raw)).bind(second.map(Id::raw)).bind(At(at)).bind(entry);
        let query = query.bind(At(filter.since.unwrap_or(Timestamp::MIN))).bind(limit as i64 + 1);
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut entries: Vec<(i64, AuditEntry)> = rows.iter().map(|row| read(row, scope.tenant())).collect::<Result<_>>()?;
        let is_more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| is_more).map(|(number, last)| format!("{}.{number}", last.at.as_microsecond()));
        Ok(Page { items: entries.into_iter().map(|(_, entry)| entry).collect(), next })
    }
}

/// The entry that a cursor names: when, and its number.
fn place(cursor: &str) -> Option<(Timestamp, i64)> {
    let (at, entry) = cursor.split_once('.')?;
    Some((Timestamp::from_microsecond(at.parse().ok()?).ok()?, entry.parse().ok()?))
}
