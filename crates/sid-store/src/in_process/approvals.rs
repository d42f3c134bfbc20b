//! `ApprovalStore`.

use async_trait::async_trait;
use sid_types::{Approval, ApprovalId, ApprovalState, NewApproval, Owner, Scope, Timestamp};

use super::directory::paged;
use super::room::Room;
use super::{InProcess, missing};
use crate::approvals::{asked, decided};
use crate::{ApprovalFilter, ApprovalStore, Decide, DecidedApproval, Lease, Order, Page, PageRequest, StoreError, Told};

#[async_trait]
impl ApprovalStore for InProcess {
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "tenant")?;
        if let Some(conversation) = filter.conversation {
            room.thread(scope, conversation)?;
        }
        let is_asked = |a: &&Approval| {
            filter.state.is_none_or(|state| a.state == state)
                && filter.conversation.is_none_or(|conversation| a.conversation == conversation)
                && room.thread(scope, a.conversation).is_ok()
        };
        paged(room.approvals.values().filter(is_asked), Order::Descending, &page, |a| (a.asked_at, a.id))
    }

    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError> {
        self.read().room(scope, "approval")?.seen_approval(scope, approval).cloned()
    }

    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "approval")?;
            let known = room.seen_approval(scope, decide.approval)?;
            let Some((approval, accept)) = decided(scope, known, &decide, now)? else {
                return Ok(DecidedApproval { approval: known.clone(), run: None, lease: None });
            };
            room.check_accept(&accept)?;
            let accepted = room.accept(scope, accept, now);
            room.approvals.insert(approval.id, approval.clone());
            room.hooks.tell(&Told::of_approval(&approval), now);
            Ok(DecidedApproval { approval, run: Some(accepted.run), lease: accepted.lease })
        })
    }

    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError> {
        let (state, now) = (self.read(), self.clock.now());
        let mut found = Vec::new();
        for room in state.rooms.values() {
            let scope = room.engine_scope(Owner::Tenant);
            let over = room.approvals.values().filter(|a| a.state == ApprovalState::Pending && a.expires_at <= now);
            found.extend(over.map(|a| (a.expires_at, a.id, scope)));
        }
        found.sort_unstable_by_key(|(at, id, _)| (*at, *id));
        Ok(found.into_iter().take(most).map(|(_, id, scope)| (scope, id)).collect())
    }
}

impl Room {
    fn seen_approval(&self, scope: &Scope, id: ApprovalId) -> Result<&Approval, StoreError> {
        self.approvals.get(&id).filter(|a| self.thread(scope, a.conversation).is_ok()).ok_or(missing("approval"))
    }

    /// Notes a question that a commit asks.
    pub(super) fn ask(&mut self, lease: &Lease, new: NewApproval, now: Timestamp) {
        if let Some(approval) = asked(new, lease, now)
            && !self.approvals.contains_key(&approval.id)
        {
            self.hooks.tell(&Told::of_approval(&approval), now);
            self.approvals.insert(approval.id, approval);
        }
    }
}
