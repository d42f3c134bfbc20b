//! `AuditLog`.

use async_trait::async_trait;
use sid_types::{Principal, Scope};

use super::InProcess;
use crate::{AuditEntry, AuditFilter, AuditLog, Page, PageRequest, StoreError};

#[async_trait]
impl AuditLog for InProcess {
    async fn record(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        self.write(|state, _| {
            for entry in entries {
                if let Some(room) = state.rooms.get_mut(&entry.tenant) {
                    room.audit.push(entry);
                }
            }
            Ok(())
        })
    }

    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let me = match scope.principal() {
            Principal::Tenant { .. } => None,
            Principal::User { user } => Some(user),
            Principal::Turn { .. } => return Ok(Page { items: Vec::new(), next: None }),
        };
        let before = match page.after.as_deref().map(str::parse::<usize>) {
            None => usize::MAX,
            Some(Ok(before)) => before,
            Some(Err(_)) => return Err(StoreError::Invalid("this is not a cursor: start the list again".into())),
        };
        let state = self.read();
        let log = &state.room(scope, "tenant")?.audit;
        let concerns = |entry: &AuditEntry, user| entry.user == Some(user) || entry.subject == Some(user);
        let is_asked = |entry: &AuditEntry| {
            me.is_none_or(|me| concerns(entry, me))
                && filter.about.is_none_or(|user| concerns(entry, user))
                && filter.operation.as_ref().is_none_or(|operation| *operation == entry.operation)
                && filter.since.is_none_or(|since| entry.at >= since)
        };
        let limit = page.limit.clamp(1, 1_000);
        let mut found: Vec<(usize, &AuditEntry)> =
            log.iter().enumerate().take(before).rev().filter(|(_, entry)| is_asked(entry)).take(limit + 1).collect();
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(place, _)| place.to_string());
        Ok(Page { items: found.into_iter().map(|(_, entry)| entry.clone()).collect(), next })
    }
}
