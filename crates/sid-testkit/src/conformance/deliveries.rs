//! Deliveries: taken by one, in order, ended once, forgotten.

use std::cell::Cell;
use std::time::Duration;

use sid_store::{DeliveryOutcome, DueDelivery, EndpointHealth, PageRequest, StoreError, TakeDeliveries};
use sid_types::{DeliveryId, DeliveryState, Scope, Webhook, WebhookEvent, WebhookState};

use super::World;
use super::webhooks::TAKE;
use super::world::assert_error;

fn ids(due: &[DueDelivery]) -> Vec<DeliveryId> {
    due.iter().map(|d| d.delivery.id).collect()
}

/// What is due is taken by one at a time, no more of a webhook than it may be sent at once; who does not come back is replaced.
pub async fn deliveries_are_taken_and_held(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    assert!(w.taken(TAKE).await.is_empty());
    let (all, theirs) = (w.hook(&[WebhookEvent::WebhookTest]).await, w.hook_of(&w.theirs, &[]).await);
    let test = async |scope: &Scope, hook: &Webhook| {
        w.wait(1);
        s.test_webhook(scope, hook.id, DeliveryId::new()).await.expect("a test").id
    };
    let (a, b, c) = (test(&o.scope, &all).await, test(&o.scope, &all).await, test(&o.scope, &all).await);
    let d = test(&w.theirs.scope, &theirs).await;
    assert_eq!(s.test_webhook(&o.scope, all.id, a).await.expect("again").id, a);

    let two_each = TakeDeliveries { per_webhook: 2, ..TAKE };
    let first = w.taken(two_each).await;
    assert_eq!(ids(&first), [a, b, d]);
    assert!(first.iter().all(|due| due.delivery.attempts == 1 && due.scope.is_tenant_wide()));
    assert_eq!((first[0].scope.tenant(), first[2].scope.tenant()), (o.tenant.id, w.theirs.tenant.id));
    assert_eq!((&first[0].webhook, &first[2].webhook), (&all, &theirs));
    assert!(w.taken(two_each).await.is_empty(), "the third waits for a place");
    w.end(&first[0], DeliveryOutcome::Delivered, EndpointHealth::Well).await;
    assert_eq!(ids(&w.taken(two_each).await), [c]);
    w.wait(11);
    let again = w.taken(TakeDeliveries { want: 1, ..TAKE }).await;
    assert_eq!((ids(&again), again[0].delivery.attempts), (vec![b], 2));
    assert_eq!(ids(&w.taken(TAKE).await), [c, d]);
}

/// Two who take at once never take the same.
pub async fn deliveries_are_taken_by_one(w: World) {
    let all = w.hook(&[]).await;
    for _ in 0..40 {
        w.store.test_webhook(&w.ours.scope, all.id, DeliveryId::new()).await.expect("a test");
    }
    // A webhook that somebody else looks through is passed over: whoever comes back with nothing comes again until all are taken.
    let count = Cell::new(0);
    let take = async || {
        let mut mine = Vec::new();
        for _ in 0..10_000 {
            if count.get() >= 40 {
                break;
            }
            let got = ids(&w.taken(TakeDeliveries { want: 5, ..TAKE }).await);
            count.set(count.get() + got.len());
            mine.extend(got);
        }
        mine
    };
    let (one, two, three, four) = futures::join!(take(), take(), take(), take());
    let mut taken = [one, two, three, four].concat();
    taken.sort();
    taken.dedup();
    assert_eq!((taken.len(), count.get()), (40, 40));
}

/// What somebody asks for again while it is tried is not tried twice at once: it is due when that attempt has failed, also when it was the last.
pub async fn what_is_asked_for_again_is_tried_by_one(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let all = w.hook(&[]).await;
    let id = s.test_webhook(scope, all.id, DeliveryId::new()).await.expect("a test").id;
    let first = w.taken(TAKE).await;
    assert_eq!(ids(&first), [id]);
    s.redeliver(scope, all.id, id).await.expect("asked for");
    assert!(w.taken(TAKE).await.is_empty(), "somebody holds it");
    w.end(&first[0], DeliveryOutcome::Failed, EndpointHealth::Unknown).await;
    let again = w.taken(TAKE).await;
    assert_eq!((ids(&again), again[0].delivery.attempts, again[0].delivery.attempts_before), (vec![id], 2, 1));
    w.end(&again[0], DeliveryOutcome::Failed, EndpointHealth::Unknown).await;
    assert_eq!(w.delivery_of(&again[0]).await.state, DeliveryState::Failed);
}

/// What happened in one conversation is told in order, unless what is older is tried again and again.
pub async fn conversations_are_told_in_order(w: World) {
    let all = w.hook(&[WebhookEvent::RunCompleted]).await;
    let (hers, his) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    for talk in [&hers, &hers, &his] {
        w.wait(1);
        w.turn(talk, "hello", "hi").await;
    }
    let told = w.told_to(&all).await;
    let (first, second, other) = (told[0].id, told[1].id, told[2].id);
    let due = w.taken(TAKE).await;
    assert_eq!(ids(&due), [first, other], "the second of hers waits for the first");
    let retry = DeliveryOutcome::Retry(Duration::from_secs(5));
    w.end(&due[0], retry, EndpointHealth::Failing(None)).await;
    w.end(&due[1], DeliveryOutcome::Delivered, EndpointHealth::Well).await;
    assert!(w.taken(TAKE).await.is_empty(), "also while the first waits");
    w.wait(5);
    let due = w.taken(TAKE).await;
    assert_eq!(ids(&due), [first]);
    w.end(&due[0], retry, EndpointHealth::Failing(None)).await;
    w.wait(5);
    // The third try: whatever comes of it, what is behind it goes on.
    assert_eq!(ids(&w.taken(TAKE).await), [first]);
    assert_eq!(ids(&w.taken(TAKE).await), [second]);
}

/// An attempt ends once, by its number; what was sent and what came of it stays readable.
pub async fn an_attempt_ends_once(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = w.hook(&[]).await;
    s.test_webhook(&o.scope, all.id, DeliveryId::new()).await.expect("a test");
    let first = w.taken(TAKE).await.remove(0);
    w.wait(11);
    let second = w.taken(TAKE).await.remove(0);
    w.end(&first, DeliveryOutcome::Failed, EndpointHealth::Disabled("nobody asked".into())).await;
    assert_eq!(w.delivery_of(&first).await.state, DeliveryState::Pending, "who came too late changes nothing");
    assert_eq!(w.reread_hook(&all).await, all);

    w.end(&second, DeliveryOutcome::Retry(Duration::from_secs(300)), EndpointHealth::Failing(None)).await;
    let waiting = w.delivery_of(&second).await;
    let body = Some("{\"odd\":\"\u{0} \u{10FFFF}\"}".to_owned());
    assert_eq!((waiting.state, waiting.attempts, &waiting.body), (DeliveryState::Pending, 2, &body));
    assert_eq!(waiting.next_attempt.map(|at| at.duration_since(w.now()).as_secs()), Some(300));
    assert_eq!(waiting.history.iter().map(|a| (a.number, a.status)).collect::<Vec<_>>(), [(2, Some(200))]);
    let failing = w.reread_hook(&all).await;
    assert_eq!((failing.failing_since, failing.version), (Some(w.now()), 1), "how it is is no version");
    assert!(w.taken(TAKE).await.is_empty());
    w.wait(300);
    let third = w.taken(TAKE).await.remove(0);
    assert_eq!(third.delivery.body, body);
    w.end(&third, DeliveryOutcome::Retry(Duration::from_secs(1)), EndpointHealth::Failing(Some(Duration::from_secs(60)))).await;
    assert_eq!(w.reread_hook(&all).await.failing_since, failing.failing_since, "since the first time");
    w.wait(59);
    assert!(w.taken(TAKE).await.is_empty(), "the endpoint asked for a rest");
    w.wait(1);
    let fourth = w.taken(TAKE).await.remove(0);
    w.end(&fourth, DeliveryOutcome::Delivered, EndpointHealth::Well).await;
    w.end(&fourth, DeliveryOutcome::Failed, EndpointHealth::Failing(None)).await;
    let delivered = w.delivery_of(&fourth).await;
    assert_eq!((delivered.state, delivered.next_attempt, delivered.history.len()), (DeliveryState::Delivered, None, 3));
    assert_eq!(w.reread_hook(&all).await, all, "it is well again");
    w.wait(100);
    assert!(w.taken(TAKE).await.is_empty());

    let again = s.redeliver(&o.scope, all.id, delivered.id).await.expect("again");
    assert_eq!((again.state, again.attempts, again.attempts_before, again.next_attempt), (DeliveryState::Pending, 4, 4, Some(w.now())));
    assert_eq!(w.delivery_of(&fourth).await, again);
    assert_eq!(w.taken(TAKE).await[0].delivery.attempts, 5);
    assert_error!(s.redeliver(&o.scope, all.id, DeliveryId::new()).await, StoreError::NotFound { .. });
    let other = w.hook(&[]).await;
    assert_error!(s.redeliver(&o.scope, other.id, delivered.id).await, StoreError::NotFound { .. });
}

/// One that is disabled hears nothing and is sent nothing; what was on its way waits until it is enabled.
pub async fn disabled_webhooks_wait(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = w.hook(&[WebhookEvent::WebhookTest]).await;
    for _ in 0..2 {
        s.test_webhook(&o.scope, all.id, DeliveryId::new()).await.expect("a test");
    }
    let due = w.taken(TakeDeliveries { want: 1, ..TAKE }).await.remove(0);
    w.end(&due, DeliveryOutcome::Failed, EndpointHealth::Disabled("it answered 410".into())).await;
    let off = w.reread_hook(&all).await;
    assert_eq!((off.state, off.disabled_because.as_deref(), off.version), (WebhookState::Disabled, Some("it answered 410"), 2));
    let told = w.told_to(&all).await;
    assert!(told.iter().all(|d| d.next_attempt.is_none()));
    w.wait(60);
    assert!(w.taken(TAKE).await.is_empty());
    assert_error!(s.test_webhook(&o.scope, all.id, DeliveryId::new()).await, StoreError::Invalid(_));
    assert_error!(s.redeliver(&o.scope, all.id, due.delivery.id).await, StoreError::Invalid(_));

    let on = s.put_webhook(&o.scope, Webhook { state: WebhookState::Enabled, ..off }).await.expect("enabled");
    assert_eq!((on.state, on.disabled_because, on.failing_since, on.version), (WebhookState::Enabled, None, None, 3));
    let due = w.taken(TAKE).await;
    assert_eq!(due.len(), 1, "the other one has failed");
    // Disabled while it is under way: it is not tried again.
    let on = w.reread_hook(&all).await;
    s.put_webhook(&o.scope, Webhook { state: WebhookState::Disabled, ..on }).await.expect("disabled");
    w.end(&due[0], DeliveryOutcome::Retry(Duration::from_secs(1)), EndpointHealth::Failing(None)).await;
    w.wait(60);
    assert!(w.taken(TAKE).await.is_empty());
}

/// Deliveries are listed in pages, newest first, and by their state; what is over goes with its age, what is to be tried does not.
pub async fn deliveries_are_listed_and_forgotten(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = w.hook(&[]).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(s.test_webhook(&o.scope, all.id, DeliveryId::new()).await.expect("a test").id);
        w.wait(10);
    }
    let page = async |state, limit, after| s.deliveries(&o.scope, all.id, state, PageRequest { after, limit }).await.expect("listed");
    let first = page(None, 2, None).await;
    assert_eq!(first.items.iter().map(|d| d.id).collect::<Vec<_>>(), [made[2], made[1]]);
    let rest = page(None, 2, first.next).await;
    assert_eq!((rest.items.iter().map(|d| d.id).collect::<Vec<_>>(), rest.next), (vec![made[0]], None));
    let due = w.taken(TAKE).await;
    w.end(&due[0], DeliveryOutcome::Delivered, EndpointHealth::Well).await;
    w.end(&due[2], DeliveryOutcome::Failed, EndpointHealth::Failing(None)).await;
    for (state, found) in [(DeliveryState::Delivered, made[0]), (DeliveryState::Pending, made[1]), (DeliveryState::Failed, made[2])] {
        let listed = page(Some(state), 10, None).await.items;
        assert_eq!(listed.iter().map(|d| (d.id, d.state)).collect::<Vec<_>>(), [(found, state)]);
    }
    assert_eq!(s.forget_deliveries(Duration::from_secs(25)).await.expect("looked"), 1, "the first is 30 s old");
    w.wait(100);
    assert_eq!(s.forget_deliveries(Duration::from_secs(25)).await.expect("looked"), 1, "the second is still to be tried");
    assert_eq!(page(None, 10, None).await.items.iter().map(|d| d.id).collect::<Vec<_>>(), [made[1]]);
    s.drop_webhook(&o.scope, all.id).await.expect("dropped");
    w.wait(100);
    assert!(w.taken(TAKE).await.is_empty(), "they go with it");
}
