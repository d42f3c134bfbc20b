//! What goes wrong with turns: leases, commits, events, counting.

use super::*;

#[async_trait]
impl StateStore for Planted {
    async fn accept(&self, scope: &Scope, mut accept: Accept) -> Result<Accepted, StoreError> {
        match self.bug {
            Bug::ForgetsIdempotencyKeys => accept.idempotency = None,
            Bug::AcceptsWithoutAQueue => accept.queue_depth = usize::MAX,
            Bug::AcceptsAnywhere => {
                let talk = self.inner.conversation(scope, accept.conversation).await?;
                accept.only_after = accept.only_after.map(|_| talk.last_seq);
            }
            Bug::ForgetsToolsOfCallers => accept.client_tools.clear(),
            _ => {}
        }
        let priority = accept.priority;
        if self.bug == Bug::KnowsNoPriorities {
            accept.priority = Priority::User;
        }
        let mut accepted = self.inner.accept(scope, accept).await?;
        accepted.run.priority = priority;
        self.remember(&accepted.lease);
        Ok(accepted)
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let per_tenant = if self.bug == Bug::ClaimsBeyondTheShare { usize::MAX } else { per_tenant };
        let leases = self.inner.claim(worker, want, per_tenant, ttl).await?;
        self.remember(&leases);
        Ok(leases)
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.inner.renew(leases, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        self.inner.load(&self.taken(lease)).await
    }

    async fn commit(&self, lease: &Lease, mut commit: Commit) -> Result<Committed, StoreError> {
        let lease = self.taken(lease);
        let appended = |commit: &mut Commit, change: &dyn Fn(&mut Vec<NewMessage>)| {
            for effect in &mut commit.effects {
                if let Effect::Append(messages) = effect {
                    change(messages);
                }
            }
        };
        match self.bug {
            Bug::LosesTheLastMessageOfACommit => appended(&mut commit, &|messages| drop(messages.pop())),
            Bug::AppliesARepeatedCommitAgain => {
                let done = self.inner.run(&lease.scope, lease.run).await?.commits;
                if (1..=done).contains(&commit.number) {
                    commit.number = done + 1;
                    appended(&mut commit, &|messages| messages.iter_mut().for_each(|m| m.id = MessageId::new()));
                    commit.effects.retain(|e| matches!(e, Effect::Append(_) | Effect::Events(_)));
                }
            }
            _ => {}
        }
        // A transaction of its own for what is told: it stays when the commit fails.
        if self.bug == Bug::TellsBesideTheCommit && commit.effects.iter().any(|e| matches!(e, Effect::Finish { .. })) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            let scope = tenants.iter().find(|tenant| tenant.id == lease.scope.tenant()).map_or(lease.scope, whole);
            for webhook in self.inner.webhooks(&scope).await?.iter().filter(|w| w.hears(WebhookEvent::RunCompleted)) {
                self.inner.test_webhook(&scope, webhook.id, DeliveryId::new()).await?;
            }
        }
        let committed = self.inner.commit(&lease, commit).await?;
        self.remember(&committed.next);
        Ok(committed)
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.run(scope, run).await
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.inner.runs(scope, conversation, limit).await
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.inner.steps(scope, run).await
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.cancel(scope, run).await
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.inner.is_cancel_requested(lease).await
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        self.inner.waiting_messages(scope, run).await
    }
}

#[async_trait]
impl UsageStore for Planted {
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        self.inner.limits(tenant).await
    }

    async fn set_limits(&self, operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError> {
        self.inner.set_limits(operator, tenant, limits).await
    }

    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError> {
        self.inner.add_requests(requests).await
    }

    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError> {
        let no_limit = Reserve { per_day: 0, per_month: 0, ..reserve };
        self.inner.reserve(lease, if self.bug == Bug::GrantsAnyReservation { no_limit } else { reserve }).await
    }

    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.unreserve(lease).await
    }

    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError> {
        let used = self.inner.self_begun(scope, agent).await?;
        let nothing = SelfBegunUse { now: used.now, ..SelfBegunUse::default() };
        Ok(if self.bug == Bug::CountsNothingThatAgentsBegin { nothing } else { used })
    }

    async fn token_use(&self, operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError> {
        let mut sum = self.inner.token_use(operator, tenant).await?;
        if self.bug == Bug::CountsStepsOfOthers {
            for other in self.inner.tenants(operator).await?.iter().filter(|t| t.id != tenant) {
                sum.day += self.inner.token_use(operator, other.id).await?.day;
            }
        }
        Ok(sum)
    }
}

#[async_trait]
impl EventLog for Planted {
    async fn append_events(&self, lease: &Lease, events: Vec<sid_types::EventBody>) -> Result<Vec<sid_types::Event>, StoreError> {
        self.inner.append_events(&self.taken(lease), events).await
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<sid_types::Event>, StoreError> {
        self.inner.events(scope, run, after, limit).await
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<sid_types::Event>, StoreError> {
        let wait = if self.bug == Bug::FollowsNothing { Duration::ZERO } else { wait };
        self.inner.follow(scope, run, after, wait).await
    }
}
