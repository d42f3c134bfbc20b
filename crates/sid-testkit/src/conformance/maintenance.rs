//! Maintenance: what goes by its age, and what stays for ever.

use sid_store::{Accept, Effect, EraseTarget, IdempotencyKey, StoreError, TenantLimits};
use sid_types::{Conversation, EventBody, OperatorScope, RunStatus, StopReason, WorkerId};

use super::World;
use super::world::{TTL, assert_error, texts};

/// So long that the machine's own time has passed, too, by which ids are made.
const AGES: i64 = 50 * 365 * 24 * 3_600;

async fn maintain(w: &World) {
    let mut rounds = 0;
    while w.store.maintain().await.expect("maintained") {
        rounds += 1;
        assert!(rounds < 10_000, "it comes to an end");
    }
}

/// Nothing that is younger than a day goes.
pub async fn recent_things_stay(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let idempotency = Some(IdempotencyKey { key: "k".into(), fingerprint: [7; 32] });
    let accept = Accept { idempotency: idempotency.clone(), claim_for: Some((w.worker, TTL)), ..w.stimulus(&talk, "hello") };
    let lease = w.store.accept(&w.ours.scope, accept).await.expect("accepted").lease.expect("idle");
    w.answer(&lease, "hi").await;
    let events = w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible");
    w.wait(23 * 3_600);
    maintain(&w).await;
    assert_eq!(w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible"), events);
    let again = w.store.accept(&w.ours.scope, Accept { idempotency, ..w.stimulus(&talk, "hello") }).await.expect("accepted");
    assert!(again.replayed && again.run.id == lease.run);
}

/// Events of old runs are dropped; the run, its steps and its messages are kept, and reading its events is no error.
pub async fn old_events_go_and_the_end_is_known(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.answer(&lease, "hi").await;
    w.wait(AGES);
    let recent = w.begin(&talk, "again").await;
    w.answer(&recent, "hi again").await;
    maintain(&w).await;
    let scope = &w.ours.scope;
    assert!(w.store.events(scope, lease.run, 0, 100).await.expect("visible").is_empty());
    let run = w.store.run(scope, lease.run).await.expect("known");
    assert_eq!((run.status, run.stop_reason), (RunStatus::Completed, Some(StopReason::EndTurn)));
    let nothing = std::time::Duration::from_millis(1);
    assert!(w.store.follow(scope, lease.run, 0, nothing).await.expect("visible").is_empty());
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "hi", "again", "hi again"]);
    assert!(w.store.events(&w.theirs.scope, lease.run, 0, 100).await.is_err(), "it is still nobody else's");
}

/// Conversations are kept for as long as their tenant says after their last message, and no longer; others of other tenants for good.
pub async fn silent_conversations_are_overdue_when_their_tenant_says_so(w: World) {
    const DAY: i64 = 24 * 3_600;
    let overdue = async || w.store.overdue(10).await.expect("told");
    let keep = async |days: Option<u32>| {
        let limits = TenantLimits { keep_conversations_days: days, ..TenantLimits::default() };
        w.store.set_limits(&OperatorScope::grant(), w.ours.tenant.id, limits).await.expect("set");
    };
    let (old, spoken) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    for talk in [&old, &spoken] {
        let lease = w.begin(talk, "the key is under the pot").await;
        w.answer(&lease, "noted").await;
    }
    w.wait(10 * DAY);
    let lease = w.begin(&spoken, "again").await;
    assert!(overdue().await.is_empty(), "nobody has said how long");
    keep(Some(0)).await;
    assert!(overdue().await.is_empty(), "for good");
    keep(Some(9)).await;
    let found = overdue().await;
    assert_eq!(found.iter().map(|o| o.conversation).collect::<Vec<_>>(), [old.id]);
    w.wait(10 * DAY);
    assert_eq!(overdue().await.len(), 1, "a run under way is no silence");
    let idle = |talk: &Conversation, since| EraseTarget::Idle { conversation: talk.id, since };
    let (scope, since) = (found[0].scope, found[0].since);
    assert_error!(w.store.erase(&scope, idle(&spoken, w.now())).await, StoreError::NotFound { .. });
    w.answer(&lease, "yes").await;
    w.wait(10 * DAY);
    assert_eq!(overdue().await.iter().map(|o| o.conversation).collect::<Vec<_>>(), [old.id, spoken.id], "the longest silent first");
    assert_eq!(w.store.overdue(1).await.expect("told").len(), 1);
    // Somebody speaks between the look and the erasure: nothing is lost.
    let lease = w.begin(&old, "still here").await;
    w.answer(&lease, "good").await;
    assert_error!(w.store.erase(&scope, idle(&old, since)).await, StoreError::NotFound { .. });
    assert_error!(w.store.erase(&w.theirs.scope, idle(&spoken, w.now())).await, StoreError::NotFound { .. });
    let receipt = w.store.erase(&scope, idle(&spoken, w.now())).await.expect("erased");
    assert_eq!((receipt.conversations, receipt.messages), (1, 4));
    assert!(overdue().await.is_empty());
}

/// A run that has not ended keeps its events, however old it is, and goes on with their numbers.
pub async fn a_run_under_way_keeps_its_events(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.commit(&lease, vec![Effect::Events(vec![EventBody::TextDelta { text: "a".into() }])]).await;
    w.wait(AGES);
    maintain(&w).await;
    assert_eq!(w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible").len(), 1);
    let taken = w.store.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("claimed").pop().expect("it has expired");
    w.answer(&taken, "hi").await;
    let seqs: Vec<u64> = w.store.events(&w.ours.scope, lease.run, 1, 100).await.expect("visible").iter().map(|e| e.seq).collect();
    assert_eq!(seqs.first(), Some(&2));
    w.wait(AGES);
    maintain(&w).await;
    assert!(w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible").is_empty());
}
