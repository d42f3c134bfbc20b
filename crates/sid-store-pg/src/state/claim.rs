//! Claiming work across tenants: one round trip, and two more for each run that had not begun.

use std::time::Duration;

use sid_store::{Lease, StoreError};
use sid_types::{RunStatus, TenantId, WorkerId};
use uuid::Uuid;

use super::ttl_micros;
use crate::backend::PgStore;
use crate::codec::{Columns, Id};
use crate::error::Result;
use crate::journal::{Draft, Question, lost};
use crate::rows::turn_scope;

/// A lease as the database gave it: the run at the head may still have to be begun.
struct Granted {
    lease: Lease,
    has_begun: bool,
}

pub(super) async fn claim(store: &PgStore, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>> {
    // Whoever serves claims now and then.
    store.queues().sweep();
    store.recent().sweep();
    store.ahead().sweep();
    let mut leases = Vec::new();
    while leases.len() < want {
        let granted = grant(store, worker, want - leases.len(), per_tenant, ttl).await?;
        if granted.is_empty() {
            break;
        }
        for Granted { lease, has_begun } in granted {
            if has_begun {
                leases.push(lease);
                continue;
            }
            // What fails here keeps its lease until that expires; then anybody begins the run.
            match begin(store, lease).await {
                Ok(begun) => leases.extend(begun),
                Err(fault) => {
                    let error = StoreError::from(fault);
                    if leases.is_empty() {
                        return Err(error.into());
                    }
                    tracing::warn!(%error, "a claimed run could not be begun; it waits for its lease to expire");
                }
            }
        }
        if ttl.is_zero() {
            break;
        }
    }
    Ok(leases)
}

async fn grant(store: &PgStore, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Granted>> {
    let after = *store.claimed_at().lock();
    let call = store
        .call("SELECT o_tenant, o_conv, o_agent, o_user, o_run, o_status, o_epoch, o_expires FROM sid.claim($1, $2, $3, $4, $5, $6)")
        .bind(store.clock())
        .bind(worker.uuid())
        .bind(i32::try_from(want).unwrap_or(1_000).min(1_000))
        .bind(i32::try_from(per_tenant).unwrap_or(i32::MAX))
        .bind(ttl_micros(ttl))
        .bind(after);
    let rows = store.timely(call.fetch_all()).await?;
    let mut granted = Vec::with_capacity(rows.len());
    for row in &rows {
        let tenant: TenantId = row.id(0)?;
        let lease = Lease {
            scope: turn_scope(tenant, row.id(2)?, row.maybe_id(3)?),
            conversation: row.id(1)?,
            run: row.id(4)?,
            worker,
            epoch: row.count(6)?,
            expires_at: row.time(7)?,
        };
        granted.push(Granted { lease, has_begun: row.small(5).is_ok_and(|status| status == 1) });
    }
    // The next look at single tenants goes on after the last of these; after none it begins anew.
    *store.claimed_at().lock() = granted.iter().map(|g| g.lease.scope.tenant().raw()).max().unwrap_or(Uuid::nil());
    Ok(granted)
}

/// Begins the run at the head under a fresh lease. Runs that were cancelled while they waited end on the way; `None` when no other is left.
async fn begin(store: &PgStore, lease: Lease) -> Result<Option<Lease>> {
    let question = Question { conversation: Some(lease.conversation), ..Question::default() };
    let tenant = lease.scope.tenant();
    let peek = store.peek(None, tenant, &question).await?;
    let Some((draft, begun)) = decide(store, peek, &lease)? else { return Ok(None) };
    let Some(draft) = draft else { return Ok(begun) };
    match store.put(None, *draft).await {
        Ok(true) => return Ok(begun),
        Ok(false) => {}
        Err(fault) if fault.is_collision() => {}
        Err(fault) => return Err(fault),
    }
    let mut tx = store.begin(tenant).await?;
    let peek = store.peek(Some(&mut tx), tenant, &question).await?;
    let Some((draft, begun)) = decide(store, peek, &lease)? else { return Ok(None) };
    if let Some(draft) = draft {
        if !store.put(Some(&mut tx), *draft).await? {
            return Err(lost());
        }
        tx.commit().await?;
    }
    Ok(begun)
}

/// What is to be written, if something is, and the lease to work with. `None`: the lease is somebody else's by now.
type Beginning = Option<(Option<Box<Draft>>, Option<Lease>)>;

fn decide(store: &PgStore, peek: crate::journal::Peek, lease: &Lease) -> Result<Beginning> {
    let Some((mut draft, Some(mut head))) = Draft::new(store, peek)? else { return Ok(None) };
    if !draft.holds(lease) {
        return Ok(None);
    }
    if head.run.status != RunStatus::Queued {
        return Ok(Some((None, Some(lease.clone()))));
    }
    let ttl_us = draft.conv.ttl_us.unwrap_or_default();
    let begun = if draft.start(&mut head)? { Some(lease.clone()) } else { draft.take_next(lease.worker, ttl_us)? };
    Ok(Some((Some(Box::new(draft)), begun)))
}
