//! What tenants may use up, and what they have: limits, requests, the token ledger and its reservations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sid_store::{Effect, Lease, Reserve, StoreError, TenantLimits, TokenUse};
use sid_types::{NewMessage, OperatorScope, StopReason, Tenant, TenantId, Usage};

use super::World;
use super::steps::step;
use super::world::{assert_error, finish};

/// One step of `tokens` as it is made here.
const STEP: u64 = 110;

fn reserve(tokens: u64, per_day: u64) -> Reserve {
    Reserve { tokens, per_day, per_month: 0, ttl: Duration::from_secs(60) }
}

async fn used(w: &World, tenant: &Tenant) -> TokenUse {
    w.store.token_use(&OperatorScope::grant(), tenant.id).await.expect("the ledger is read")
}

async fn granted(w: &World, lease: &Lease, ask: Reserve) -> bool {
    w.store.reserve(lease, ask).await.expect("a reservation is answered").is_granted
}

/// Limits are as they were set, for the tenant that they were set for.
pub async fn limits_are_kept_per_tenant(w: World) {
    let operator = OperatorScope::grant();
    let (ours, theirs) = (w.ours.tenant.id, w.theirs.tenant.id);
    assert_eq!(w.store.limits(ours).await.expect("read"), TenantLimits::default());
    let limits = TenantLimits {
        requests_per_second: Some(7),
        tokens_per_day: Some(1_000),
        tokens_per_month: Some(0),
        keep_conversations_days: Some(30),
        caps: sid_types::Caps { runs_per_hour: Some(4), ..sid_types::Caps::default() },
    };
    w.store.set_limits(&operator, ours, limits).await.expect("set");
    assert_eq!(w.store.limits(ours).await.expect("read"), limits);
    assert_eq!(w.store.limits(theirs).await.expect("read"), TenantLimits::default());
    let fewer = TenantLimits { tokens_per_day: Some(5), ..TenantLimits::default() };
    w.store.set_limits(&operator, ours, fewer).await.expect("set again");
    assert_eq!(w.store.limits(ours).await.expect("read"), fewer, "all of them are replaced");
    let nobody = TenantId::new();
    assert_eq!(w.store.limits(nobody).await.expect("read"), TenantLimits::default());
    assert_error!(w.store.set_limits(&operator, nobody, limits).await, StoreError::NotFound { .. });
}

/// Requests add up, whoever tells of them, and the answer has the order of the question.
pub async fn requests_add_up(w: World) {
    let (ours, theirs) = (w.ours.tenant.id, w.theirs.tenant.id);
    assert_eq!(w.store.add_requests(&[(ours, 3), (theirs, 5)]).await.expect("counted"), [3, 5]);
    assert_eq!(w.store.add_requests(&[(theirs, 0), (ours, 2)]).await.expect("counted"), [5, 5]);
    assert!(w.store.add_requests(&[]).await.expect("counted").is_empty());
    let many = (0..20).map(|_| {
        let store = Arc::clone(&w.store);
        tokio::spawn(async move { store.add_requests(&[(theirs, 1), (ours, 1)]).await.expect("counted") })
    });
    for told in many.collect::<Vec<_>>() {
        told.await.expect("no panic");
    }
    assert_eq!(w.store.add_requests(&[(ours, 0), (theirs, 0)]).await.expect("counted"), [25, 25]);
}

/// The ledger is the sum of all recorded steps of the tenant: once each, and none that was refused.
pub async fn the_token_ledger_is_the_sum_of_all_steps(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let (lease, second) = (w.begin(&talk, "hello").await, w.begin(&other, "hello").await);
    let commit = sid_store::Commit { number: 1, effects: vec![Effect::RecordStep(Box::new(step(&w, lease.run, 1)))] };
    w.store.commit(&lease, commit.clone()).await.expect("written");
    w.store.commit(&lease, commit).await.expect("a repetition");
    assert_eq!(used(&w, &w.ours.tenant).await.day, STEP, "a repeated commit counts once");
    let refused = vec![Effect::RecordStep(Box::new(step(&w, second.run, 1))), Effect::FinishCall(uuid::Uuid::nil())];
    assert_error!(w.try_commit(&second, refused).await, StoreError::Invalid(_));
    assert_eq!(used(&w, &w.ours.tenant).await.day, STEP, "a refused commit does not count");
    w.commit(&second, vec![Effect::RecordStep(Box::new(step(&w, second.run, 1)))]).await;
    w.commit(&lease, vec![Effect::RecordStep(Box::new(step(&w, lease.run, 2))), finish(StopReason::EndTurn)]).await;
    let mut sum = Usage::default();
    for run in [lease.run, second.run] {
        for step in w.store.steps(&w.ours.scope, run).await.expect("visible") {
            sum += step.usage;
        }
    }
    let expected = TokenUse { day: sum.prompt_tokens + sum.completion_tokens, month: 3 * STEP, reserved: 0 };
    assert_eq!(used(&w, &w.ours.tenant).await, expected);
    assert_eq!(used(&w, &w.theirs.tenant).await, TokenUse::default());
}

/// Days and months end at midnight UTC, by the store's clock.
pub async fn days_and_months_begin_anew(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.commit(&lease, vec![Effect::RecordStep(Box::new(step(&w, lease.run, 1))), finish(StopReason::EndTurn)]).await;
    assert_eq!(used(&w, &w.ours.tenant).await, TokenUse { day: STEP, month: STEP, reserved: 0 });
    // From 2026-03-02T09:00Z on.
    w.wait(15 * 3_600 - 1);
    assert_eq!(used(&w, &w.ours.tenant).await.day, STEP, "23:59:59");
    w.wait(1);
    assert_eq!(used(&w, &w.ours.tenant).await, TokenUse { day: 0, month: STEP, reserved: 0 });
    w.wait(29 * 86_400);
    assert_eq!(used(&w, &w.ours.tenant).await, TokenUse::default(), "April");
}

/// Tokens are reserved until less than the limit is left of it; a recorded step turns them into used ones.
pub async fn reservations_stop_at_the_limit(w: World) {
    let (ann, bob) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let (first, second) = (w.begin(&ann, "hello").await, w.begin(&bob, "hello").await);
    assert!(granted(&w, &first, reserve(900, 1_000)).await);
    assert!(granted(&w, &first, reserve(999, 1_000)).await, "again takes the place of what the run had");
    assert_eq!(used(&w, &w.ours.tenant).await.reserved, 999);
    let answer = w.store.reserve(&second, reserve(500, 1_000)).await.expect("answered");
    assert!(answer.is_granted, "one token is left, and the last reservation may overshoot");
    assert_eq!(answer.used.reserved, 999, "of others");
    let third = w.begin(&w.open(&w.ours, &w.ours.other_agent, Some(&w.ours.ann)).await, "hello").await;
    assert!(!granted(&w, &third, reserve(1, 1_000)).await);
    assert!(granted(&w, &third, reserve(1, 0)).await, "no limit");
    w.store.unreserve(&third).await.expect("given back");
    w.store.unreserve(&third).await.expect("again changes nothing");
    w.commit(&first, vec![Effect::RecordStep(Box::new(step(&w, first.run, 1)))]).await;
    assert_eq!(used(&w, &w.ours.tenant).await, TokenUse { day: STEP, month: STEP, reserved: 500 });
    assert!(granted(&w, &third, reserve(1, 1_000)).await, "what was not needed is free again");
    // Another tenant has its own.
    let talk = w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await;
    let theirs = w.begin_in(&w.theirs, &talk, "hello").await;
    assert!(granted(&w, &theirs, reserve(1, 1)).await);
    let monthly = Reserve { per_day: 0, per_month: STEP, ..reserve(1, 0) };
    assert!(!granted(&w, &first, monthly).await, "a month has a limit of its own");
}

/// What a crashed run had reserved is free again after its time, and at once for the worker that goes on with the run.
pub async fn reservations_expire(w: World) {
    let (ann, bob) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let (first, second) = (w.begin(&ann, "hello").await, w.begin(&bob, "hello").await);
    assert!(granted(&w, &first, reserve(1_000, 1_000)).await);
    w.wait(59);
    assert!(!granted(&w, &second, reserve(1_000, 1_000)).await);
    let resumed = w.store.claim(sid_types::WorkerId::new(), 9, usize::MAX, super::world::TTL).await.expect("claiming works");
    let resumed = resumed.into_iter().find(|l| l.run == first.run).expect("its lease has expired");
    assert!(granted(&w, &resumed, reserve(1_000, 1_000)).await, "its own reservation does not stand in its way");
    w.wait(61);
    assert!(granted(&w, &second, reserve(1_000, 1_000)).await);
}

/// Of many that reserve at once, only so many get something as the limit has room for.
pub async fn reserving_at_once_spends_nothing_twice(w: World) {
    let mut leases = Vec::new();
    for i in 0..12 {
        let talk = w.open(&w.ours, &w.ours.agent, Some(if i % 2 == 0 { &w.ours.ann } else { &w.ours.bob })).await;
        leases.push(w.begin(&talk, "hello").await);
    }
    let asked: Vec<_> = leases
        .iter()
        .cloned()
        .map(|lease| {
            let store = Arc::clone(&w.store);
            tokio::spawn(async move { store.reserve(&lease, reserve(100, 350)).await.expect("answered").is_granted })
        })
        .collect();
    let mut count = 0;
    for answer in asked {
        count += usize::from(answer.await.expect("no panic"));
    }
    // 0, 100, 200 and 300 are less than 350.
    assert_eq!(count, 4);
    assert_eq!(used(&w, &w.ours.tenant).await.reserved, 400);
}

/// A worker that holds its share of a tenant gets no more of it; others' work, and others' workers, go on.
pub async fn no_tenant_takes_more_than_its_share(w: World) {
    let mut talks = Vec::new();
    for _ in 0..6 {
        let talk = w.open(&w.ours, &w.ours.agent, Some(&w.ours.ann)).await;
        w.say(&talk, "hello").await;
        w.wait(1);
        talks.push(talk.id);
    }
    let late = w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await;
    w.store.accept(&w.theirs.scope, w.stimulus(&late, "hello")).await.expect("accepted");
    let claim = async |worker, want| w.store.claim(worker, want, 2, super::world::TTL).await.expect("claiming works");
    let first = claim(w.worker, 2).await;
    let theirs = first.iter().filter(|l| l.conversation == late.id).count();
    assert_eq!((first.len(), theirs), (2, 1), "tenants take turns: the latest of one comes before the second of another");
    let second = claim(w.worker, 10).await;
    assert_eq!(second.iter().map(|l| l.conversation).collect::<Vec<_>>(), [talks[1]], "two of ours at most");
    assert!(claim(w.worker, 10).await.is_empty());
    let other = claim(sid_types::WorkerId::new(), 10).await;
    let other: BTreeSet<_> = other.iter().map(|l| l.conversation).collect();
    assert_eq!(other, talks[2..4].iter().copied().collect(), "each worker has a share");
    // A place that becomes free is taken by the oldest that waits.
    let answer = NewMessage::assistant("hi", w.now());
    w.commit(&second[0], vec![Effect::Append(vec![answer]), finish(StopReason::EndTurn)]).await;
    let next = claim(w.worker, 10).await;
    assert_eq!(next.iter().map(|l| l.conversation).collect::<Vec<_>>(), [talks[4]]);
    // A lease that has expired takes no place.
    w.wait(31);
    assert_eq!(claim(w.worker, 1).await.len(), 1);
}
