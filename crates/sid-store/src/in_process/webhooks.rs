//! `WebhookStore`, and what is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use sid_types::{
    ConversationId, Delivery, DeliveryId, DeliveryState, Item, ItemId, Owner, Role, RunId, Scope, Timestamp, Webhook, WebhookEvent,
    WebhookId, WebhookState,
};

use super::InProcess;
use super::directory::paged;
use super::journal::after;
use super::room::Room;
use crate::webhooks::{NO_DELIVERY, NO_WEBHOOK, delivered_again, finished, is_disabled, next_webhook, too_many_webhooks, with_health};
use crate::{
    DueDeliveries, DueDelivery, FinishDelivery, Order, Page, PageRequest, StoreError, TakeDeliveries, Told, WebhookStore, check_webhook,
};

/// A delivery, and until when somebody sends it.
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    held_until: Option<Timestamp>,
}

/// Webhooks of a tenant, and what they are to be told.
#[derive(Default)]
pub(super) struct Hooks {
    webhooks: BTreeMap<WebhookId, Webhook>,
    /// In the order in which they were written.
    pub(super) deliveries: Vec<DeliveryRow>,
}

impl Hooks {
    pub(super) fn tell(&mut self, told: &Told, now: Timestamp) {
        let hearing = self.webhooks.values().filter(|webhook| webhook.hears(told.event));
        self.deliveries.extend(hearing.map(|webhook| DeliveryRow { delivery: told.to(webhook.id, now), held_until: None }));
    }

    fn own(&self, id: WebhookId) -> Result<&Webhook, StoreError> {
        self.webhooks.get(&id).ok_or(NO_WEBHOOK)
    }

    fn enabled(&self, id: WebhookId) -> Result<&Webhook, StoreError> {
        let webhook = self.own(id)?;
        if webhook.state == WebhookState::Enabled { Ok(webhook) } else { Err(is_disabled()) }
    }

    fn row(&mut self, id: WebhookId, delivery: DeliveryId) -> Result<&mut DeliveryRow, StoreError> {
        self.own(id)?;
        let found = self.deliveries.iter_mut().find(|row| row.delivery.id == delivery && row.delivery.webhook == id);
        found.ok_or(NO_DELIVERY)
    }

    /// Puts a webhook in the place of itself; what waits for it is due when it is enabled, and never when it is not.
    fn replace(&mut self, webhook: Webhook, now: Timestamp) {
        let before = self.webhooks.insert(webhook.id, webhook.clone());
        if before.is_some_and(|before| before.state != webhook.state) {
            let due = Some(now).filter(|_| webhook.state == WebhookState::Enabled);
            for row in self.deliveries.iter_mut().filter(|row| row.delivery.webhook == webhook.id) {
                if row.delivery.state == DeliveryState::Pending {
                    row.delivery.next_attempt = due;
                }
            }
        }
    }

    fn take(&mut self, scope: Scope, take: &TakeDeliveries, now: Timestamp) -> Vec<(bool, Timestamp, DueDelivery)> {
        let mut due = Vec::new();
        for webhook in self.webhooks.values() {
            if webhook.state == WebhookState::Disabled || webhook.not_before.is_some_and(|at| at > now) {
                continue;
            }
            let is_held = |row: &DeliveryRow| row.held_until.is_some_and(|until| until > now);
            let mine =
                || self.deliveries.iter().filter(|row| row.delivery.webhook == webhook.id && row.delivery.state == DeliveryState::Pending);
            let free = take.per_webhook.saturating_sub(mine().filter(|row| is_held(row)).count());
            // Whose conversation has an older one that was not tried often enough.
            let mut waited: BTreeSet<ConversationId> = BTreeSet::new();
            let mut taken: BTreeSet<DeliveryId> = BTreeSet::new();
            for row in mine() {
                if taken.len() >= free {
                    break;
                }
                let d = &row.delivery;
                let is_waiting = d.conversation.is_some_and(|c| waited.contains(&c));
                if d.attempts - d.attempts_before < take.patience {
                    waited.extend(d.conversation);
                }
                if !is_waiting && !is_held(row) && d.next_attempt.is_some_and(|at| at <= now) {
                    taken.insert(d.id);
                }
            }
            for row in self.deliveries.iter_mut().filter(|row| taken.contains(&row.delivery.id)) {
                row.delivery.attempts += 1;
                row.held_until = Some(after(now, take.hold));
                let at = row.delivery.at;
                due.push((
                    webhook.failing_since.is_some(),
                    at,
                    DueDelivery { scope, webhook: webhook.clone(), delivery: row.delivery.clone() },
                ));
            }
        }
        due
    }
}

impl Room {
    /// Deliveries about what is erased.
    pub(super) fn forget_told(&mut self, is_about: impl Fn(&Delivery) -> bool) {
        self.hooks.deliveries.retain(|row| !is_about(&row.delivery));
    }

    pub(super) fn tell_run(&mut self, run: RunId, now: Timestamp) {
        let Some(run) = self.runs.get(&run).map(|journal| &journal.run) else { return };
        let role = |id| {
            let (conversation, seq) = self.places.get(id)?;
            Some(self.threads.get(conversation)?.message(*seq)?.body.role())
        };
        let is_answer = run.stimulus.first().and_then(role) == Some(Role::User);
        let user = self.threads.get(&run.conversation).and_then(|thread| thread.conversation.user);
        for told in Told::of_run(run, user, is_answer) {
            self.hooks.tell(&told, now);
        }
    }

    /// Of proposals that were not there before.
    pub(super) fn tell_proposals(&mut self, before: &BTreeMap<ItemId, Item>, now: Timestamp) {
        let made = self.items.values().filter(|item| !before.contains_key(&item.id));
        for told in made.filter_map(Told::of_item) {
            self.hooks.tell(&told, now);
        }
    }
}

#[async_trait]
impl WebhookStore for InProcess {
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        self.write(|state, now| {
            let hooks = state.hooks(scope)?;
            if let Some(known) = hooks.webhooks.get(&webhook.id) {
                return Ok(known.clone());
            }
            if hooks.webhooks.len() as u64 >= most {
                return Err(too_many_webhooks(most));
            }
            let webhook = Webhook { version: 1, created_at: now, updated_at: now, ..webhook };
            hooks.webhooks.insert(webhook.id, webhook.clone());
            Ok(webhook)
        })
    }

    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError> {
        self.read().hooks(scope)?.own(webhook).cloned()
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        let mut state = self.read();
        let mut webhooks: Vec<Webhook> = state.hooks(scope)?.webhooks.values().cloned().collect();
        webhooks.sort_by_key(|w| (w.created_at, w.id));
        Ok(webhooks)
    }

    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError> {
        check_webhook(&webhook)?;
        self.write(|state, now| {
            let hooks = state.hooks(scope)?;
            let next = next_webhook(hooks.own(webhook.id)?, webhook, now)?;
            hooks.replace(next.clone(), now);
            Ok(next)
        })
    }

    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError> {
        self.write(|state, _| {
            let hooks = state.hooks(scope)?;
            hooks.webhooks.remove(&webhook).ok_or(NO_WEBHOOK)?;
            hooks.deliveries.retain(|row| row.delivery.webhook != webhook);
            Ok(())
        })
    }

    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.write(|state, now| {
            let hooks = state.hooks(scope)?;
            hooks.enabled(webhook)?;
            if let Ok(known) = hooks.row(webhook, delivery) {
                return Ok(known.delivery.clone());
            }
            let delivery = Delivery { id: delivery, ..Delivery::new(webhook, WebhookEvent::WebhookTest, webhook.uuid(), now) };
            hooks.deliveries.push(DeliveryRow { delivery: delivery.clone(), held_until: None });
            Ok(delivery)
        })
    }

    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        let mut kept = self.read();
        let hooks = kept.hooks(scope)?;
        hooks.own(webhook)?;
        let is_asked = |d: &&Delivery| d.webhook == webhook && state.is_none_or(|state| d.state == state);
        paged(hooks.deliveries.iter().map(|row| &row.delivery).filter(is_asked), Order::Descending, &page, |d| (d.at, d.id))
    }

    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        Ok(self.read().hooks(scope)?.row(webhook, delivery)?.delivery.clone())
    }

    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.write(|state, now| {
            let hooks = state.hooks(scope)?;
            hooks.row(webhook, delivery)?;
            hooks.enabled(webhook)?;
            let row = hooks.row(webhook, delivery)?;
            row.delivery = delivered_again(&row.delivery, now);
            Ok(row.delivery.clone())
        })
    }

    async fn take_deliveries(&self, take: TakeDeliveries) -> Result<DueDeliveries, StoreError> {
        self.write(|state, now| {
            let mut due = Vec::new();
            for room in state.rooms.values_mut() {
                let scope = room.engine_scope(Owner::Tenant);
                due.extend(room.hooks.take(scope, &take, now));
            }
            due.sort_by_key(|(is_failing, at, one)| (*is_failing, *at, one.delivery.id));
            let rest = due.split_off(take.want.min(due.len()));
            for (_, _, one) in rest {
                // More than was wanted: as if it had not been taken.
                let Some(room) = state.rooms.get_mut(&one.scope.tenant()) else { continue };
                let row = room.hooks.row(one.webhook.id, one.delivery.id)?;
                row.delivery.attempts -= 1;
                row.held_until = None;
            }
            Ok(DueDeliveries { now, due: due.into_iter().map(|(_, _, one)| one).collect() })
        })
    }

    async fn finish_delivery(&self, scope: &Scope, finish: FinishDelivery) -> Result<(), StoreError> {
        self.write(|state, now| {
            let hooks = state.hooks(scope)?;
            let Some(place) = hooks.deliveries.iter().position(|row| row.delivery.id == finish.delivery) else { return Ok(()) };
            let known = hooks.deliveries[place].delivery.clone();
            let webhook = hooks.own(known.webhook)?.clone();
            let changed = with_health(&webhook, &finish.health, now);
            let is_enabled = changed.as_ref().unwrap_or(&webhook).state == WebhookState::Enabled;
            let Some(next) = finished(&known, finish, is_enabled, now) else { return Ok(()) };
            hooks.deliveries[place] = DeliveryRow { delivery: next, held_until: None };
            if let Some(webhook) = changed {
                hooks.replace(webhook, now);
            }
            Ok(())
        })
    }

    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        self.write(|state, now| {
            let mut gone = 0;
            for room in state.rooms.values_mut() {
                let is_old = |row: &DeliveryRow| row.delivery.next_attempt.is_none() && after(row.delivery.at, keep) <= now;
                let before = room.hooks.deliveries.len();
                room.hooks.deliveries.retain(|row| !is_old(row));
                gone += (before - room.hooks.deliveries.len()) as u64;
            }
            Ok(gone)
        })
    }
}

impl super::room::State {
    /// The tenant's, for who acts for all of it.
    fn hooks(&mut self, scope: &Scope) -> Result<&mut Hooks, StoreError> {
        let room = self.rooms.get_mut(&scope.tenant()).filter(|_| scope.is_tenant_wide());
        room.map(|room| &mut room.hooks).ok_or(NO_WEBHOOK)
    }
}
