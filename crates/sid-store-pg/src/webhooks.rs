//! `WebhookStore`: deliveries are rows that triggers write, with what they tell.

use std::time::Duration;

use async_trait::async_trait;
use sid_store::{
    DueDeliveries, DueDelivery, FinishDelivery, NO_DELIVERY, NO_WEBHOOK, Page, PageRequest, StoreError, TakeDeliveries, WebhookStore,
    check_webhook, delivered_again, finished, is_disabled, next_webhook, too_many_webhooks, with_health,
};
use sid_types::{Delivery, DeliveryId, DeliveryState, Owner, Scope, TenantId, Webhook, WebhookEvent, WebhookId, WebhookState};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, clean, from_word, kept, to_json};
use crate::diary::engine_scope;
use crate::error::{Fault, Result};
use crate::paging::Cursor;
use crate::state::ttl_micros;
use crate::tx::Tx;

const DELIVERY: &str = "d.id, d.webhook, d.event, d.subject, d.agent_id, d.user_id, d.conv, d.facts, d.at, d.state, d.attempts,
    d.attempts_before, d.next_at, d.history, d.body";

fn delivery(row: &PgRow) -> Result<Delivery> {
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
        attempts: u32::try_from(row.number(10)?).unwrap_or(u32::MAX),
        attempts_before: u32::try_from(row.number(11)?).unwrap_or(u32::MAX),
        next_attempt: row.maybe_time(12)?,
        history: row.json(13)?,
        body: row.maybe_text(14)?,
    })
}

async fn find(tx: &mut Tx, webhook: WebhookId) -> Result<Webhook> {
    let query = tx.query("SELECT doc FROM sid.webhooks WHERE tenant = $1 AND id = $2");
    let row = query.bind(tx.tenant).bind(webhook.uuid()).fetch_optional(tx.conn()).await?;
    row.ok_or(NO_WEBHOOK)?.json(0)
}

/// The webhook, which nobody else changes or takes deliveries of before the transaction ends.
async fn find_locked(tx: &mut Tx, webhook: WebhookId) -> Result<Webhook> {
    let query = tx.query("SELECT doc FROM sid.webhooks WHERE tenant = $1 AND id = $2 FOR UPDATE");
    let row = query.bind(tx.tenant).bind(webhook.uuid()).fetch_optional(tx.conn()).await?;
    row.ok_or(NO_WEBHOOK)?.json(0)
}

async fn find_enabled(tx: &mut Tx, webhook: WebhookId) -> Result<Webhook> {
    let found = find_locked(tx, webhook).await?;
    if found.state == WebhookState::Enabled { Ok(found) } else { Err(is_disabled().into()) }
}

async fn find_delivery(tx: &mut Tx, id: DeliveryId) -> Result<Option<Delivery>> {
    let query = tx.query_of(format!("SELECT {DELIVERY} FROM sid.deliveries d WHERE d.tenant = $1 AND d.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(delivery).transpose()
}

async fn find_of(tx: &mut Tx, webhook: WebhookId, id: DeliveryId) -> Result<Delivery> {
    find(tx, webhook).await?;
    Ok(find_delivery(tx, id).await?.filter(|d| d.webhook == webhook).ok_or(NO_DELIVERY)?)
}

async fn put(tx: &mut Tx, webhook: &Webhook) -> Result<()> {
    let events: Vec<String> = webhook.events.iter().map(|event| event.as_str().to_owned()).collect();
    let query = tx.query(
        "INSERT INTO sid.webhooks (tenant, id, is_on, events, is_failing, not_before, created_at, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant, id) DO UPDATE SET is_on = excluded.is_on, events = excluded.events, is_failing = excluded.is_failing,
            not_before = excluded.not_before, doc = excluded.doc",
    );
    let query = query.bind(tx.tenant).bind(webhook.id.uuid()).bind(webhook.state == WebhookState::Enabled).bind(events);
    let query = query.bind(webhook.failing_since.is_some()).bind(webhook.not_before.map(At)).bind(At(webhook.created_at));
    query.bind(to_json(webhook)?).execute(tx.conn()).await?;
    Ok(())
}

/// Puts a webhook in the place of itself; what waits for it is due when it is enabled, and never when it is not.
async fn replace(tx: &mut Tx, known: &Webhook, next: &Webhook) -> Result<()> {
    put(tx, next).await?;
    if known.state != next.state {
        let due = Some(tx.now).filter(|_| next.state == WebhookState::Enabled);
        let query = tx.query("UPDATE sid.deliveries SET next_at = $3 WHERE tenant = $1 AND webhook = $2 AND state = 'pending'");
        query.bind(tx.tenant).bind(next.id.uuid()).bind(due.map(At)).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Writes what an attempt has changed; not when another one has begun since it was read.
async fn save(tx: &mut Tx, delivery: &Delivery) -> Result<bool> {
    let query = tx.query(
        "UPDATE sid.deliveries SET state = $3, next_at = $4, held_until = NULL, history = $5, body = $6
         WHERE tenant = $1 AND id = $2 AND attempts = $7",
    );
    let query = query.bind(tx.tenant).bind(delivery.id.uuid()).bind(delivery.state.as_str());
    let query = query.bind(delivery.next_attempt.map(At)).bind(to_json(&delivery.history)?);
    let body = delivery.body.as_deref().map(|body| clean(body).into_owned());
    let done = query.bind(body).bind(i32::try_from(delivery.attempts).unwrap_or(i32::MAX)).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

async fn create(tx: &mut Tx, webhook: Webhook, most: u64) -> Result<Webhook> {
    // One after the other, so that none is made beyond the most.
    let query = tx.query("SELECT pg_advisory_xact_lock(hashtextextended('sid.webhooks ' || $1::uuid::text, 0))");
    query.bind(tx.tenant).execute(tx.conn()).await?;
    match find(tx, webhook.id).await {
        Err(Fault::Store(StoreError::NotFound { .. })) => {}
        found => return found,
    }
    let count = tx.query("SELECT count(*) FROM sid.webhooks WHERE tenant = $1").bind(tx.tenant).fetch_one(tx.conn()).await?;
    if count.count(0)? >= most {
        return Err(too_many_webhooks(most).into());
    }
    let webhook = Webhook { version: 1, created_at: tx.now, updated_at: tx.now, ..webhook };
    put(tx, &webhook).await?;
    Ok(webhook)
}

async fn test(tx: &mut Tx, webhook: WebhookId, id: DeliveryId) -> Result<Delivery> {
    find_enabled(tx, webhook).await?;
    if let Some(known) = find_delivery(tx, id).await?.filter(|d| d.webhook == webhook) {
        return Ok(known);
    }
    let delivery = Delivery { id, ..Delivery::new(webhook, WebhookEvent::WebhookTest, webhook.uuid(), kept(tx.now)) };
    let query = tx.query(
        "INSERT INTO sid.deliveries (tenant, id, webhook, event, subject, facts, at, next_at) VALUES ($1, $2, $3, $4, $3, '{}', $5, $5)",
    );
    let query = query.bind(tx.tenant).bind(id.uuid()).bind(webhook.uuid()).bind(delivery.event.as_str()).bind(At(tx.now));
    query.execute(tx.conn()).await?;
    Ok(delivery)
}

async fn finish(tx: &mut Tx, finish: FinishDelivery) -> Result<()> {
    let Some(known) = find_delivery(tx, finish.delivery).await? else { return Ok(()) };
    // The webhook first, as whoever takes does.
    let webhook = find_locked(tx, known.webhook).await?;
    let changed = with_health(&webhook, &finish.health, tx.now);
    let is_enabled = changed.as_ref().unwrap_or(&webhook).state == WebhookState::Enabled;
    let Some(next) = finished(&known, finish, is_enabled, tx.now) else { return Ok(()) };
    if !save(tx, &next).await? {
        return Ok(());
    }
    match changed {
        Some(changed) => replace(tx, &webhook, &changed).await,
        None => Ok(()),
    }
}

impl PgStore {
    /// A transaction of who acts for all of the tenant.
    async fn hooks(&self, scope: &Scope) -> Result<Tx, StoreError> {
        Ok(self.administrate(scope, "webhook").await?.0)
    }
}

#[async_trait]
impl WebhookStore for PgStore {
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        let mut tx = self.hooks(scope).await?;
        let outcome = create(&mut tx, webhook, most).await;
        tx.finish(outcome).await
    }

    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError> {
        let mut tx = self.hooks(scope).await?;
        Ok(find(&mut tx, webhook).await?)
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        let mut tx = self.hooks(scope).await?;
        let query = tx.query("SELECT doc FROM sid.webhooks WHERE tenant = $1 ORDER BY created_at, id").bind(tx.tenant);
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?)
    }

    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        let mut tx = self.hooks(scope).await?;
        let outcome = async {
            let known = find_locked(&mut tx, webhook.id).await?;
            let next = next_webhook(&known, webhook, tx.now)?;
            replace(&mut tx, &known, &next).await?;
            Ok(next)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError> {
        let mut tx = self.hooks(scope).await?;
        let outcome = async {
            find_locked(&mut tx, webhook).await?;
            // The webhook first: whoever tells it at this moment and is not done yet leaves a delivery that goes by its age.
            for sql in
                ["DELETE FROM sid.webhooks WHERE tenant = $1 AND id = $2", "DELETE FROM sid.deliveries WHERE tenant = $1 AND webhook = $2"]
            {
                tx.query(sql).bind(tx.tenant).bind(webhook.uuid()).execute(tx.conn()).await?;
            }
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }

    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let mut tx = self.hooks(scope).await?;
        let outcome = test(&mut tx, webhook, delivery).await;
        tx.finish(outcome).await
    }

    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        let mut tx = self.hooks(scope).await?;
        find(&mut tx, webhook).await?;
        let cursor = Cursor::descending::<DeliveryId>(&page)?;
        let query = tx.query_of(format!(
            "SELECT {DELIVERY} FROM sid.deliveries d WHERE d.tenant = $1 AND d.webhook = $2 AND (d.at, d.id) < ($3, $4)
             AND ($5::text IS NULL OR d.state = $5) ORDER BY d.at DESC, d.id DESC LIMIT $6"
        ));
        let query = query.bind(tx.tenant).bind(webhook.uuid()).bind(cursor.at).bind(cursor.id);
        let query = query.bind(state.map(DeliveryState::as_str)).bind(cursor.fetch());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let deliveries: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_>>()?;
        Ok(cursor.page(deliveries, |d| (d.at, d.id)))
    }

    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let mut tx = self.hooks(scope).await?;
        Ok(find_of(&mut tx, webhook, delivery).await?)
    }

    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        let mut tx = self.hooks(scope).await?;
        let outcome = async {
            find_of(&mut tx, webhook, delivery).await?;
            // Nobody takes it between this look and the change.
            find_enabled(&mut tx, webhook).await?;
            let next = delivered_again(&find_of(&mut tx, webhook, delivery).await?, tx.now);
            let sql = "UPDATE sid.deliveries SET state = 'pending', attempts_before = attempts, next_at = $3 WHERE tenant = $1 AND id = $2";
            tx.query(sql).bind(tx.tenant).bind(delivery.uuid()).bind(At(tx.now)).execute(tx.conn()).await?;
            Ok(Delivery { next_attempt: next.next_attempt.map(kept), ..next })
        }
        .await;
        tx.finish(outcome).await
    }

    async fn take_deliveries(&self, take: TakeDeliveries) -> Result<DueDeliveries, StoreError> {
        let count = |n: usize| i32::try_from(n).unwrap_or(1_000).min(1_000);
        let call = self
            .call("SELECT x.* FROM sid.take_deliveries($1, $2, $3, $4, $5) x")
            .bind(self.clock())
            .bind(count(take.want))
            .bind(count(take.per_webhook))
            .bind(ttl_micros(take.hold))
            .bind(i32::try_from(take.patience).unwrap_or(i32::MAX));
        let rows = self.timely(call.fetch_all()).await?;
        let mut taken = DueDeliveries::default();
        for row in &rows {
            taken.now = row.time(15)?;
            let Some(tenant) = row.maybe_id::<TenantId>(16)? else { continue };
            taken.due.push(DueDelivery { scope: engine_scope(tenant, Owner::Tenant), webhook: row.json(17)?, delivery: delivery(row)? });
        }
        Ok(taken)
    }

    async fn finish_delivery(&self, scope: &Scope, end: FinishDelivery) -> Result<(), StoreError> {
        let mut tx = self.hooks(scope).await?;
        let outcome = finish(&mut tx, end).await;
        tx.finish(outcome).await
    }

    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        let call = self.call("SELECT sid.forget_deliveries($1, $2)").bind(self.clock()).bind(ttl_micros(keep));
        Ok(self.timely(call.fetch_one()).await?.count(0)?)
    }
}
