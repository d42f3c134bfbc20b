//! `WebhookStore`: deliveries are rows, written with what they tell.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{
    DueDeliveries, DueDelivery, FinishDelivery, NO_DELIVERY, NO_WEBHOOK, Page, PageRequest, StoreError, TakeDeliveries, Told, WebhookStore,
    check_webhook, delivered_again, finished, is_disabled, next_webhook, too_many_webhooks, with_health,
};
use sid_types::{Delivery, DeliveryId, DeliveryState, Owner, Scope, TenantId, Webhook, WebhookEvent, WebhookId, WebhookState};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, from_word, nanos, to_json};
use crate::diary::engine_scope;
use crate::error::{Fault, Result};
use crate::journal::ttl_nanos;
use crate::paging::Cursor;
use crate::writer::Tx;

const DELIVERY: &str =
    "d.id, d.webhook, d.event, d.subject, d.agent, d.user, d.conv, d.facts, d.at, d.state, d.attempts, d.attempts_before,
    d.next_at, d.history, d.body";

fn delivery(row: &SqliteRow) -> Result<Delivery> {
    Ok(Delivery {
        id: row.id(0)?,
        webhook: row.id(1)?,
        event: from_word(&row.text(2)?)?,
        subject: row.id::<WebhookId>(3)?.uuid(),
        agent: row.maybe_id(4)?,
        user: row.maybe_id(5)?,
        conversation: row.maybe_id(6)?,
        facts: row.json(7)?,
        at: row.time(8)?,
        state: from_word(&row.text(9)?)?,
        attempts: u32::try_from(row.int(10)?).unwrap_or(u32::MAX),
        attempts_before: u32::try_from(row.int(11)?).unwrap_or(u32::MAX),
        next_attempt: row.maybe_time(12)?,
        history: row.json(13)?,
        body: row.maybe_text(14)?,
    })
}

/// Tells every webhook of the tenant that hears it, at the end of the job.
pub(crate) fn tell(tx: &mut Tx, tenant: i64, told: &Told) -> Result<()> {
    let now = nanos(tx.now);
    tx.later(
        "INSERT INTO deliveries (tenant, id, webhook, event, subject, agent, user, conv, facts, at, next_at)
         SELECT w.tenant, randomblob(16), w.id, ?, ?, ?, ?, ?, ?, ?, ? FROM webhooks w
         WHERE w.tenant = ? AND w.is_on AND (w.events = '' OR instr(w.events, ?) > 0)",
    )
    .bind(told.event.as_str())
    .bind(told.subject.as_bytes().to_vec())
    .bind(told.agent.map(Id::blob))
    .bind(told.user.map(Id::blob))
    .bind(told.conversation.map(Id::blob))
    .bind(to_json(&told.facts)?)
    .bind(now)
    .bind(now)
    .bind(tenant)
    .bind(format!(" {} ", told.event.as_str()));
    Ok(())
}

async fn find(conn: &mut SqliteConnection, tenant: i64, webhook: WebhookId) -> Result<Webhook> {
    let query = sqlx::query("SELECT doc FROM webhooks WHERE tenant = ? AND id = ?").bind(tenant).bind(webhook.blob());
    query.fetch_optional(conn).await?.ok_or(NO_WEBHOOK)?.json(0)
}

async fn find_enabled(conn: &mut SqliteConnection, tenant: i64, webhook: WebhookId) -> Result<Webhook> {
    let found = find(conn, tenant, webhook).await?;
    if found.state == WebhookState::Enabled { Ok(found) } else { Err(is_disabled().into()) }
}

async fn find_delivery(conn: &mut SqliteConnection, tenant: i64, id: DeliveryId) -> Result<Option<Delivery>> {
    let sql = format!("SELECT {DELIVERY} FROM deliveries d WHERE d.tenant = ? AND d.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    row.as_ref().map(delivery).transpose()
}

async fn find_of(conn: &mut SqliteConnection, tenant: i64, webhook: WebhookId, id: DeliveryId) -> Result<Delivery> {
    find(&mut *conn, tenant, webhook).await?;
    Ok(find_delivery(conn, tenant, id).await?.filter(|d| d.webhook == webhook).ok_or(NO_DELIVERY)?)
}

async fn put(tx: &mut Tx, tenant: i64, webhook: &Webhook) -> Result<()> {
    let events: String = webhook.events.iter().map(|event| format!(" {} ", event.as_str())).collect();
    sqlx::query(
        "INSERT OR REPLACE INTO webhooks (tenant, id, is_on, events, is_failing, not_before, created_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(webhook.id.blob())
    .bind(webhook.state == WebhookState::Enabled)
    .bind(events)
    .bind(webhook.failing_since.is_some())
    .bind(webhook.not_before.map(nanos))
    .bind(nanos(webhook.created_at))
    .bind(to_json(webhook)?)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

/// Puts a webhook in the place of itself; what waits for it is due when it is enabled, and never when it is not.
async fn replace(tx: &mut Tx, tenant: i64, known: &Webhook, next: &Webhook) -> Result<()> {
    put(tx, tenant, next).await?;
    if known.state != next.state {
        let due = Some(nanos(tx.now)).filter(|_| next.state == WebhookState::Enabled);
        sqlx::query("UPDATE deliveries SET next_at = ? WHERE tenant = ? AND webhook = ? AND state = 'pending'")
            .bind(due)
            .bind(tenant)
            .bind(next.id.blob())
            .execute(&mut tx.conn)
            .await?;
    }
    Ok(())
}

async fn save(tx: &mut Tx, tenant: i64, delivery: &Delivery) -> Result<()> {
    sqlx::query("UPDATE deliveries SET state = ?, next_at = ?, held_until = NULL, history = ?, body = ? WHERE tenant = ? AND id = ?")
        .bind(delivery.state.as_str())
        .bind(delivery.next_attempt.map(nanos))
        .bind(to_json(&delivery.history)?)
        .bind(delivery.body.as_deref())
        .bind(tenant)
        .bind(delivery.id.blob())
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

/// Webhooks with something due, those that answer first. Each is found by a look into an index, however much waits for it.
const DUE_WEBHOOKS: &str = "SELECT w.tenant, w.id, t.id, w.doc,
        (SELECT min(d.next_at) FROM deliveries d WHERE d.tenant = w.tenant AND d.webhook = w.id AND d.next_at IS NOT NULL) AS due,
        (SELECT count(*) FROM deliveries d WHERE d.tenant = w.tenant AND d.webhook = w.id AND d.held_until IS NOT NULL AND d.held_until > ?1)
    FROM webhooks w JOIN tenants t ON t.tenant = w.tenant
    WHERE w.is_on AND (w.not_before IS NULL OR w.not_before <= ?1) AND due <= ?1 ORDER BY w.is_failing, due, w.id";

/// Of one webhook: among the first thousand that are due, those that wait for none of their conversation.
const DUE: &str = "FROM (SELECT * FROM deliveries x WHERE x.tenant = ?1 AND x.webhook = ?2 AND x.next_at IS NOT NULL AND x.next_at <= ?3
            AND (x.held_until IS NULL OR x.held_until <= ?3) ORDER BY x.next_at LIMIT 1000) d
        WHERE NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.tenant = d.tenant AND o.webhook = d.webhook AND o.state = 'pending'
            AND o.conv = d.conv AND o.seq < d.seq AND o.attempts - o.attempts_before < ?4)
        ORDER BY d.seq LIMIT ?5";

async fn take(tx: &mut Tx, take: TakeDeliveries) -> Result<DueDeliveries> {
    let now = nanos(tx.now);
    let sql = format!("SELECT {DELIVERY}, d.seq {DUE}");
    let mut due = Vec::new();
    for hook in sqlx::query(DUE_WEBHOOKS).bind(now).fetch_all(&mut tx.conn).await? {
        let held = usize::try_from(hook.count(5)?).unwrap_or(usize::MAX);
        let most = take.per_webhook.saturating_sub(held).min(take.want - due.len());
        let scope = engine_scope(hook.id::<TenantId>(2)?, Owner::Tenant);
        let query = sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).bind(hook.int(0)?).bind(hook.id::<WebhookId>(1)?.blob()).bind(now);
        let query = query.bind(i64::from(take.patience)).bind(i64::try_from(most).unwrap_or(i64::MAX));
        for row in query.fetch_all(&mut tx.conn).await? {
            let mut delivery = delivery(&row)?;
            delivery.attempts += 1;
            tx.later("UPDATE deliveries SET attempts = attempts + 1, held_until = ? WHERE seq = ?")
                .bind(now.saturating_add(ttl_nanos(take.hold)))
                .bind(row.int(15)?);
            due.push(DueDelivery { scope, webhook: hook.json(3)?, delivery });
        }
        tx.relieve().await?;
        if due.len() == take.want {
            break;
        }
    }
    Ok(DueDeliveries { now: tx.now, due })
}

async fn finish(tx: &mut Tx, tenant: i64, finish: FinishDelivery) -> Result<()> {
    let Some(known) = find_delivery(&mut tx.conn, tenant, finish.delivery).await? else { return Ok(()) };
    let webhook = find(&mut tx.conn, tenant, known.webhook).await?;
    let changed = with_health(&webhook, &finish.health, tx.now);
    let is_enabled = changed.as_ref().unwrap_or(&webhook).state == WebhookState::Enabled;
    let Some(next) = finished(&known, finish, is_enabled, tx.now) else { return Ok(()) };
    save(tx, tenant, &next).await?;
    match changed {
        Some(changed) => replace(tx, tenant, &webhook, &changed).await,
        None => Ok(()),
    }
}

impl SqliteStore {
    /// The tenant's number, for who acts for all of it.
    async fn hooks_of(&self, scope: &Scope) -> Result<i64, StoreError> {
        Ok(self.administrator(scope, "webhook").await?.tenant)
    }
}

#[async_trait]
impl WebhookStore for SqliteStore {
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| {
            async move {
                match find(&mut tx.conn, tenant, webhook.id).await {
                    Err(Fault::Store(StoreError::NotFound { .. })) => {}
                    found => return found,
                }
                let count = sqlx::query("SELECT count(*) FROM webhooks WHERE tenant = ?").bind(tenant).fetch_one(&mut tx.conn).await?;
                if count.count(0)? >= most {
                    return Err(too_many_webhooks(most).into());
                }
                let webhook = Webhook { version: 1, created_at: tx.now, updated_at: tx.now, ..webhook };
                put(tx, tenant, &webhook).await?;
                Ok(webhook)
            }
            .boxed()
        })
        .await
    }

    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        Ok(find(&mut *self.reader().await?, tenant, webhook).await?)
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        let query = sqlx::query("SELECT doc FROM webhooks WHERE tenant = ? ORDER BY created_at, id").bind(tenant);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?)
    }

    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| {
            async move {
                let known = find(&mut tx.conn, tenant, webhook.id).await?;
                let next = next_webhook(&known, webhook, tx.now)?;
                replace(tx, tenant, &known, &next).await?;
                Ok(next)
            }
            .boxed()
        })
        .await
    }

    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError> {
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| {
            async move {
                find(&mut tx.conn, tenant, webhook).await?;
                sqlx::query(
                    "DELETE FROM deliveries WHERE tenant = ?1 AND webhook = ?2; DELETE FROM webhooks WHERE tenant = ?1 AND id = ?2",
                )
                .bind(tenant)
                .bind(webhook.blob())
                .execute(&mut tx.conn)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| {
            async move {
                find_enabled(&mut tx.conn, tenant, webhook).await?;
                if let Some(known) = find_delivery(&mut tx.conn, tenant, delivery).await?.filter(|d| d.webhook == webhook) {
                    return Ok(known);
                }
                let delivery = Delivery { id: delivery, ..Delivery::new(webhook, WebhookEvent::WebhookTest, webhook.uuid(), tx.now) };
                sqlx::query(
                    "INSERT INTO deliveries (tenant, id, webhook, event, subject, facts, at, next_at) VALUES (?1, ?2, ?3, ?4, ?3, '{}', ?5, ?5)",
                )
                .bind(tenant)
                .bind(delivery.id.blob())
                .bind(webhook.blob())
                .bind(delivery.event.as_str())
                .bind(nanos(tx.now))
                .execute(&mut tx.conn)
                .await?;
                Ok(delivery)
            }
            .boxed()
        })
        .await
    }

    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        let mut conn = self.reader().await?;
        find(&mut conn, tenant, webhook).await?;
        let cursor = Cursor::descending::<DeliveryId>(&page)?;
        let sql = format!(
            "SELECT {DELIVERY} FROM deliveries d WHERE d.tenant = ?1 AND d.webhook = ?2 AND (d.at, d.id) < (?3, ?4)
             AND (?5 IS NULL OR d.state = ?5) ORDER BY d.at DESC, d.id DESC LIMIT ?6"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(webhook.blob()).bind(cursor.at).bind(cursor.id.clone());
        let query = query.bind(state.map(DeliveryState::as_str)).bind(cursor.fetch());
        let rows = query.fetch_all(&mut *conn).await.map_err(Fault::Sql)?;
        let deliveries: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_>>()?;
        Ok(cursor.page(deliveries, |d| (d.at, d.id)))
    }

    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        Ok(find_of(&mut *self.reader().await?, tenant, webhook, delivery).await?)
    }

    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| {
            async move {
                let known = find_of(&mut tx.conn, tenant, webhook, delivery).await?;
                find_enabled(&mut tx.conn, tenant, webhook).await?;
                let next = delivered_again(&known, tx.now);
                sqlx::query("UPDATE deliveries SET state = 'pending', attempts_before = attempts, next_at = ? WHERE tenant = ? AND id = ?")
                    .bind(nanos(tx.now))
                    .bind(tenant)
                    .bind(delivery.blob())
                    .execute(&mut tx.conn)
                    .await?;
                Ok(next)
            }
            .boxed()
        })
        .await
    }

    async fn take_deliveries(&self, wanted: TakeDeliveries) -> Result<DueDeliveries, StoreError> {
        // Asked often and mostly in vain: a look does not need the writer.
        let now = self.now();
        let look = sqlx::query("SELECT 1 FROM deliveries WHERE next_at <= ? LIMIT 1").bind(nanos(now));
        let is_due = look.fetch_optional(&mut *self.reader().await?).await.map_err(Fault::Sql)?.is_some();
        if !is_due || wanted.want == 0 {
            return Ok(DueDeliveries { now, due: Vec::new() });
        }
        self.write(move |tx| take(tx, wanted).boxed()).await
    }

    async fn finish_delivery(&self, scope: &Scope, end: FinishDelivery) -> Result<(), StoreError> {
        let tenant = self.hooks_of(scope).await?;
        self.write(move |tx| finish(tx, tenant, end).boxed()).await
    }

    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        let horizon = nanos(self.now()).saturating_sub(ttl_nanos(keep));
        let look = sqlx::query("SELECT 1 FROM deliveries WHERE next_at IS NULL AND at <= ? LIMIT 1").bind(horizon);
        if look.fetch_optional(&mut *self.reader().await?).await.map_err(Fault::Sql)?.is_none() {
            return Ok(0);
        }
        self.write(move |tx| {
            async move {
                let query = sqlx::query(
                    "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries WHERE next_at IS NULL AND at <= ? LIMIT 1000)",
                );
                Ok(query.bind(horizon).execute(&mut tx.conn).await?.rows_affected())
            }
            .boxed()
        })
        .await
    }
}
