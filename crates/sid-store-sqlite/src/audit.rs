//! `AuditLog`: entries by time, by who acted and by whose memory it was.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{AuditEntry, AuditFilter, AuditLog, Page, PageRequest, StoreError};
use sid_types::{Principal, Scope, TenantId};
use sqlx::sqlite::SqliteRow;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos};
use crate::error::{Fault, Result, missing};

/// The columns of [`read`].
const COLUMNS: &str = "x.entry, x.at, x.key, x.user, x.agent, x.operation, x.subject, x.resource, x.status, x.request";

/// An entry and its number.
fn read(row: &SqliteRow, tenant: TenantId) -> Result<(i64, AuditEntry)> {
    let entry = AuditEntry {
        tenant,
        at: row.time(1)?,
        key: row.id(2)?,
        user: row.maybe_id(3)?,
        agent: row.maybe_id(4)?,
        operation: row.text(5)?,
        subject: row.maybe_id(6)?,
        resource: row.maybe_text(7)?,
        status: u16::try_from(row.int(8)?).unwrap_or_default(),
        request: row.maybe_text(9)?,
    };
    Ok((row.int(0)?, entry))
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn record(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        let mut numbered = Vec::with_capacity(entries.len());
        for entry in entries {
            numbered.push((self.tenant(entry.tenant).await?, entry));
        }
        self.write(move |tx| {
            async move {
                // A tenant that is not there has no log.
                for (tenant, entry) in numbered.into_iter().filter(|(tenant, _)| *tenant >= 0) {
                    tx.later(
                        "INSERT INTO audit (tenant, at, key, user, agent, operation, subject, resource, status, request)
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(tenant)
                    .bind(nanos(entry.at))
                    .bind(entry.key.blob())
                    .bind(entry.user.map(Id::blob))
                    .bind(entry.agent.map(Id::blob))
                    .bind(entry.operation)
                    .bind(entry.subject.map(Id::blob))
                    .bind(entry.resource)
                    .bind(i64::from(entry.status))
                    .bind(entry.request);
                    tx.relieve().await?;
                }
                tx.flush().await
            }
            .boxed()
        })
        .await
    }

    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let tenant = self.tenant(scope.tenant()).await?;
        let me = match scope.principal() {
            Principal::Tenant { .. } => None,
            Principal::User { user } => Some(user),
            Principal::Turn { .. } => return Ok(Page { items: Vec::new(), next: None }),
        };
        if tenant < 0 {
            return Err(missing("tenant"));
        }
        let (at, entry) = match page.after.as_deref().map(place) {
            None => (i64::MAX, i64::MAX),
            Some(place) => place.ok_or_else(|| StoreError::Invalid("this is not a cursor: start the list again".into()))?,
        };
        let limit = page.limit.clamp(1, 1_000);
        // ?3 is whose entries are looked up, ?4 who may see them beside that.
        let newest = |index: &str, whose: &str| {
            format!(
                "SELECT * FROM (SELECT {COLUMNS} FROM audit x INDEXED BY {index} WHERE x.tenant = ?1{whose} AND (x.at, x.entry) < (?5, ?6)
                    AND x.at >= ?7 AND (?2 IS NULL OR x.operation = ?2) AND (?4 IS NULL OR x.user = ?4 OR x.subject = ?4)
                 ORDER BY x.at DESC, x.entry DESC LIMIT ?8)"
            )
        };
        let (first, second) = if me.is_some() { (me, filter.about) } else { (filter.about, None) };
        let found = if first.is_some() {
            let by = newest("audit_by_user", " AND x.user = ?3");
            let about = newest("audit_by_subject", " AND x.subject = ?3 AND x.user IS NOT ?3");
            format!("{by} UNION ALL {about}")
        } else {
            newest("audit_by_time", " AND ?3 IS NULL")
        };
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM ({found}) ORDER BY at DESC, entry DESC LIMIT ?8")))
            .bind(tenant)
            .bind(filter.operation.as_deref())
            .bind(first.map(Id::blob))
            .bind(second.map(Id::blob))
            .bind(at)
            .bind(entry)
            .bind(filter.since.map_or(i64::MIN, nanos))
            .bind(limit as i64 + 1)
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        let mut entries: Vec<(i64, AuditEntry)> = rows.iter().map(|row| read(row, scope.tenant())).collect::<Result<_>>()?;
        let is_more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| is_more).map(|(number, last)| format!("{}.{number}", nanos(last.at)));
        Ok(Page { items: entries.into_iter().map(|(_, entry)| entry).collect(), next })
    }
}

/// The entry that a cursor names: when, and its number.
fn place(cursor: &str) -> Option<(i64, i64)> {
    let (at, entry) = cursor.split_once('.')?;
    Some((at.parse().ok()?, entry.parse().ok()?))
}
