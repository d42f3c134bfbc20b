//! What goes wrong with what people and agents keep: items, toolsets, egos, tasks, timers, approvals, webhooks, the audit log.

use super::*;

#[async_trait]
impl ItemStore for Planted {
    async fn write_items(&self, scope: &Scope, mut writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError> {
        if self.bug == Bug::WritesItemsUnseen {
            for write in &mut writes {
                if let ItemWrite::Change { expected_version, .. } | ItemWrite::Delete { expected_version, .. } = write {
                    *expected_version = None;
                }
            }
        }
        if self.bug == Bug::WritesItemsOneByOne {
            let mut written = Vec::new();
            for write in writes {
                written.extend(self.inner.write_items(scope, vec![write]).await?);
            }
            return Ok(written);
        }
        self.inner.write_items(scope, writes).await
    }

    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        self.inner.item(scope, item).await
    }

    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError> {
        let bodies = filter.bodies || self.bug == Bug::ListsBodies;
        let mut found = self.inner.items(scope, &ItemFilter { bodies, ..filter.clone() }, page).await?;
        if self.bug == Bug::ListsItemsWithGaps && found.next.is_some() && found.items.len() > 1 {
            found.items.swap_remove(0);
        }
        Ok(found)
    }

    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError> {
        let mut scope = *scope;
        if let (Bug::LetsAssistantsShare, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.share_item(&scope, item, with, level).await
    }

    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError> {
        self.inner.shares(scope, item).await
    }
}

#[async_trait]
impl ToolsetStore for Planted {
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError> {
        let expected = expected.filter(|_| self.bug != Bug::PutsToolsetsOverAnyVersion);
        self.inner.put_toolset(scope, name, spec, expected).await
    }

    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError> {
        self.inner.toolset(scope, name).await
    }

    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsPeopleOfToolsets, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.toolsets(&scope).await
    }

    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.inner.drop_toolset(scope, name, expected).await
    }
}

#[async_trait]
impl EgoStore for Planted {
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError> {
        let expected = expected.filter(|_| self.bug != Bug::PutsEgosOverAnyVersion);
        let mut scope = *scope;
        if let (Bug::LetsTurnsPutEgos, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.put_ego(&scope, name, spec, expected).await
    }

    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError> {
        self.inner.ego(scope, name).await
    }

    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError> {
        self.inner.egos(scope).await
    }

    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.inner.drop_ego(scope, name, expected).await
    }

    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
        let mut agents = self.inner.roster(scope).await?;
        if let (Bug::TellsTurnsOfThemselvesAlone, Principal::Turn { agent, .. }) = (self.bug, scope.principal()) {
            agents.retain(|a| a.id == agent);
        }
        Ok(agents)
    }
}

#[async_trait]
impl TaskStore for Planted {
    async fn create_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError> {
        self.inner.create_task(scope, task).await
    }

    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError> {
        let mut scope = *scope;
        if self.bug == Bug::TellsEverybodyOfTasks {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.task(&scope, task).await
    }

    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        self.inner.tasks(scope, filter, page).await
    }

    async fn change_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        if self.bug == Bug::ChangesTasksOfAnyVersion {
            task.version = self.inner.task(scope, task.id).await?.version;
        }
        self.inner.change_task(scope, task).await
    }

    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError> {
        let per_tenant = if self.bug == Bug::BeginsEveryTaskAtOnce { usize::MAX } else { per_tenant };
        let mut due = self.inner.due_tasks(most, per_tenant).await?;
        if self.bug == Bug::StrandsTasksWhoseRunIsMissing {
            let mut there = Vec::new();
            for (scope, id) in due {
                let run = self.inner.task(&scope, id).await?.work.run;
                if run.is_none() || self.inner.run(&scope, run.unwrap_or_else(RunId::new)).await.is_ok() {
                    there.push((scope, id));
                }
            }
            due = there;
        }
        Ok(due)
    }
}

#[async_trait]
impl TimerStore for Planted {
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError> {
        let untrusted = if self.bug == Bug::ForgetsSourcesOfTimers { Vec::new() } else { timer.untrusted.clone() };
        self.inner.create_timer(scope, Timer { untrusted, ..timer }, most).await
    }

    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError> {
        self.inner.timer(scope, timer).await
    }

    async fn timers(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Timer>, StoreError> {
        self.inner.timers(scope, filter, page).await
    }

    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError> {
        self.inner.put_timer(scope, timer).await
    }

    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError> {
        self.inner.drop_timer(scope, timer).await
    }

    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError> {
        let hold = if self.bug == Bug::HoldsNoTimers { Duration::ZERO } else { hold };
        self.inner.take_timers(want, hold).await
    }

    async fn fire_timer(&self, scope: &Scope, mut firing: Firing) -> Result<Option<Accepted>, StoreError> {
        match self.bug {
            Bug::FiresTimersOfAnyVersion => {
                let there = self.inner.timer(scope, firing.timer.id).await?;
                firing.timer.version = there.version;
                if let Some(accept) = &mut firing.accept {
                    accept.run = RunId::new();
                }
            }
            // The run in a transaction of its own, after the timer.
            Bug::FiresBesideTheTimer => {
                let accept = firing.accept.take();
                self.inner.fire_timer(scope, firing).await?;
                return match accept {
                    Some(accept) => self.inner.accept(scope, accept).await.map(Some),
                    None => Ok(None),
                };
            }
            _ => {}
        }
        self.inner.fire_timer(scope, firing).await
    }
}

#[async_trait]
impl ApprovalStore for Planted {
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsOthersOfApprovals, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.approvals(&scope, filter, page).await
    }

    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError> {
        self.inner.approval(scope, approval).await
    }

    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError> {
        let mut scope = *scope;
        if let (Bug::LetsAgentsApprove, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        let again = decide.clone();
        let decided = self.inner.decide(&scope, decide).await?;
        if let (Bug::ApprovesAgain, None) = (self.bug, &decided.run) {
            let messages = vec![NewMessage::user("Approved.", decided.approval.asked_at)];
            let accept = Accept {
                run: again.run,
                conversation: decided.approval.conversation,
                messages,
                idempotency: None,
                limits: again.limits,
                priority: Priority::User,
                on_busy: sid_store::OnBusy::Queue,
                queue_depth: 256,
                claim_for: None,
                client_tools: Vec::new(),
                only_after: None,
            };
            self.inner.accept(&scope, accept).await?;
        }
        Ok(decided)
    }

    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError> {
        self.inner.expired_approvals(most).await
    }
}

#[async_trait]
impl WebhookStore for Planted {
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError> {
        self.inner.create_webhook(scope, webhook, most).await
    }

    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsOthersOfWebhooks, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.webhook(&scope, webhook).await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        self.inner.webhooks(scope).await
    }

    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError> {
        let put = self.inner.put_webhook(scope, webhook).await?;
        // What waits for one that is disabled stays due.
        if self.bug == Bug::SendsToTheDisabled && put.state == WebhookState::Disabled {
            return self.inner.put_webhook(scope, Webhook { state: WebhookState::Enabled, ..put }).await;
        }
        Ok(put)
    }

    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError> {
        self.inner.drop_webhook(scope, webhook).await
    }

    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.test_webhook(scope, webhook, delivery).await
    }

    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        self.inner.deliveries(scope, webhook, state, page).await
    }

    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.delivery(scope, webhook, delivery).await
    }

    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.redeliver(scope, webhook, delivery).await
    }

    async fn take_deliveries(&self, mut take: TakeDeliveries) -> Result<DueDeliveries, StoreError> {
        match self.bug {
            Bug::HoldsNoDeliveries => take.hold = Duration::ZERO,
            Bug::ForgetsTheOrder => take.patience = 0,
            _ => {}
        }
        self.inner.take_deliveries(take).await
    }

    async fn finish_delivery(&self, scope: &Scope, mut finish: FinishDelivery) -> Result<(), StoreError> {
        if self.bug == Bug::EndsAnyAttempt {
            for webhook in self.inner.webhooks(scope).await? {
                if let Ok(delivery) = self.inner.delivery(scope, webhook.id, finish.delivery).await {
                    finish.attempt.number = delivery.attempts;
                }
            }
        }
        self.inner.finish_delivery(scope, finish).await
    }

    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        self.inner.forget_deliveries(keep).await
    }
}

#[async_trait]
impl AuditLog for Planted {
    async fn record(&self, mut entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        if self.bug == Bug::ForgetsEntriesOfOthers {
            let first = entries.first().and_then(|entry| entry.user);
            entries.retain(|entry| entry.user == first);
        }
        self.inner.record(entries).await
    }

    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsTurnsOfTheLog, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.audit(&scope, filter, page).await
    }
}
