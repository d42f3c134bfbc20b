//! `Maintenance`.

use async_trait::async_trait;
use jiff::SignedDuration;
use sid_types::Owner;

use super::InProcess;
use super::state::KEY_LIFE;
use crate::{Maintenance, Overdue, StoreError};

/// How long the audit log is kept.
const KEEP_AUDIT: SignedDuration = SignedDuration::from_hours(400 * 24);
/// How long events stay after the end of their run.
const KEEP_EVENTS: SignedDuration = SignedDuration::from_hours(7 * 24);

#[async_trait]
impl Maintenance for InProcess {
    async fn maintain(&self) -> Result<bool, StoreError> {
        self.write(|state, now| {
            for room in state.rooms.values_mut() {
                room.forget_used_tokens(now);
                room.audit.retain(|entry| now.duration_since(entry.at) < KEEP_AUDIT);
                room.idempotency.retain(|_, used| now.duration_since(used.at) < KEY_LIFE);
                for journal in room.runs.values_mut() {
                    // Nothing is logged after the end, so numbers need no place to go on from.
                    if journal.run.ended_at.is_some_and(|ended| now.duration_since(ended) > KEEP_EVENTS) {
                        journal.events = Vec::new();
                    }
                }
            }
            Ok(false)
        })
    }

    async fn overdue(&self, most: usize) -> Result<Vec<Overdue>, StoreError> {
        let state = self.read();
        let now = self.clock.now();
        let mut found = Vec::new();
        for room in state.rooms.values() {
            let Some(since) = room.limits.kept_since(now) else { continue };
            let scope = room.engine_scope(Owner::Tenant);
            let idle = room.threads.values().filter(|t| t.is_idle_since(since));
            found.extend(idle.map(|t| (t.said_last(), Overdue { scope, conversation: t.conversation.id, since })));
        }
        found.sort_by_key(|(at, o)| (*at, o.conversation));
        Ok(found.into_iter().take(most).map(|(_, overdue)| overdue).collect())
    }
}
