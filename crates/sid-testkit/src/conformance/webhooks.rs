//! Webhooks, and deliveries that are written with what they tell.

use std::time::Duration;

use sid_store::{
    Commit, Decide, DeliveryOutcome, DueDelivery, Effect, EndpointHealth, EraseTarget, FinishDelivery, ItemWrite, NewItem, PageRequest,
    StoreError, TakeDeliveries, Verdict,
};
use sid_types::{
    ApprovalId, Attempt, Body, Delivery, DeliveryId, DeliveryState, ItemId, ItemKind, NewApproval, NewMessage, Owner, RunId, RunLimits,
    SealedSecret, StopReason, Task, TaskId, TaskState, Timestamp, Webhook, WebhookEvent, WebhookId, WebhookState,
};

use super::timers::{firing, timer};
use super::world::{TTL, assert_error, call, finish};
use super::{Tenancy, World};

pub(super) const ALL: PageRequest = PageRequest { after: None, limit: 100 };
const HOLD: Duration = Duration::from_secs(10);
pub(super) const TAKE: TakeDeliveries = TakeDeliveries { want: 100, per_webhook: 100, hold: HOLD, patience: 3 };

fn hook(events: &[WebhookEvent]) -> Webhook {
    let mut sealed = serde_json::Map::new();
    sealed.insert("sealed".into(), "\u{10FFFF}0 odd \u{0}".into());
    Webhook {
        id: WebhookId::new(),
        url: "https://example.org/hooks?a=b".into(),
        description: "odd: \u{0} ü 😀".into(),
        events: events.to_vec(),
        include_content: false,
        secrets: vec![SealedSecret { sealed, until: None }],
        state: WebhookState::Enabled,
        disabled_because: None,
        failing_since: None,
        not_before: None,
        version: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

impl World {
    pub(super) async fn hook_of(&self, tenancy: &Tenancy, events: &[WebhookEvent]) -> Webhook {
        self.store.create_webhook(&tenancy.scope, hook(events), 10).await.expect("a webhook is made")
    }

    pub(super) async fn hook(&self, events: &[WebhookEvent]) -> Webhook {
        self.hook_of(&self.ours, events).await
    }

    pub(super) async fn told_to(&self, hook: &Webhook) -> Vec<Delivery> {
        let mut told = self.store.deliveries(&self.ours.scope, hook.id, None, ALL).await.expect("listed").items;
        told.reverse();
        told
    }

    /// Which events, each moment's in the order of their names.
    async fn events_to(&self, hook: &Webhook) -> Vec<&'static str> {
        let mut told = self.told_to(hook).await;
        told.sort_by_key(|d| (d.at, d.event.as_str()));
        told.iter().map(|d| d.event.as_str()).collect()
    }

    pub(super) async fn taken(&self, take: TakeDeliveries) -> Vec<DueDelivery> {
        let taken = self.store.take_deliveries(take).await.expect("a look");
        assert_eq!(taken.now, self.now());
        taken.due
    }

    pub(super) async fn end(&self, due: &DueDelivery, outcome: DeliveryOutcome, health: EndpointHealth) {
        let number = due.delivery.attempts;
        let attempt = Attempt { number, at: self.now(), status: Some(200), error: None, took_ms: 7 };
        let body = "{\"odd\":\"\u{0} \u{10FFFF}\"}".to_owned();
        let finish = FinishDelivery { delivery: due.delivery.id, attempt, body, outcome, health };
        self.store.finish_delivery(&due.scope, finish).await.expect("an attempt ends");
    }

    pub(super) async fn delivery_of(&self, due: &DueDelivery) -> Delivery {
        self.store.delivery(&self.ours.scope, due.webhook.id, due.delivery.id).await.expect("there")
    }

    pub(super) async fn reread_hook(&self, hook: &Webhook) -> Webhook {
        self.store.webhook(&self.ours.scope, hook.id).await.expect("there")
    }
}

/// What is made is read as it was; the same id again changes nothing; changes go by version; there is a limit; dropping forgets it.
pub async fn webhooks_are_kept_as_they_were_made(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let new = hook(&[WebhookEvent::RunFailed, WebhookEvent::TaskDone]);
    let made = s.create_webhook(scope, new.clone(), 2).await.expect("made");
    assert_eq!(made, Webhook { version: 1, created_at: w.now(), updated_at: w.now(), ..new.clone() });
    w.wait(1);
    assert_eq!(s.create_webhook(scope, Webhook { url: "https://b.example".into(), ..new.clone() }, 2).await.expect("again"), made);
    let second = s.create_webhook(scope, hook(&[]), 2).await.expect("made");
    assert_error!(s.create_webhook(scope, hook(&[]), 2).await, StoreError::Invalid(_));
    assert_eq!(s.webhooks(scope).await.expect("listed"), [made.clone(), second.clone()]);

    w.wait(1);
    let moved = Webhook { url: "https://c.example".into(), events: vec![], failing_since: Some(w.now()), ..made.clone() };
    let put = s.put_webhook(scope, moved.clone()).await.expect("put");
    assert_eq!((put.url.as_str(), put.version, put.updated_at, put.created_at), ("https://c.example", 2, w.now(), made.created_at));
    assert_eq!(put.failing_since, None, "nobody but deliveries says so");
    assert_eq!(w.reread_hook(&made).await, put);
    assert_error!(s.put_webhook(scope, moved).await, StoreError::Conflict { expected: 1, found: 2 });
    assert_error!(s.put_webhook(scope, hook(&[])).await, StoreError::NotFound { .. });
    assert_error!(s.create_webhook(scope, Webhook { url: String::new(), ..hook(&[]) }, 9).await, StoreError::Invalid(_));

    s.drop_webhook(scope, second.id).await.expect("dropped");
    assert_error!(s.webhook(scope, second.id).await, StoreError::NotFound { .. });
    assert_error!(s.drop_webhook(scope, second.id).await, StoreError::NotFound { .. });
    assert_eq!(s.webhooks(scope).await.expect("listed"), [put]);
}

/// For people, for turns and for other tenants there are none.
pub async fn webhooks_are_the_tenants(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let made = w.hook(&[]).await;
    let test = s.test_webhook(&o.scope, made.id, DeliveryId::new()).await.expect("a test");
    let (ann, turn, alone) = (o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)), o.as_turn(&o.agent, None));
    for scope in [&ann, &turn, &alone, &w.theirs.scope] {
        assert_error!(s.webhook(scope, made.id).await, StoreError::NotFound { .. });
        assert_error!(s.put_webhook(scope, made.clone()).await, StoreError::NotFound { .. });
        assert_error!(s.drop_webhook(scope, made.id).await, StoreError::NotFound { .. });
        assert_error!(s.test_webhook(scope, made.id, DeliveryId::new()).await, StoreError::NotFound { .. });
        assert_error!(s.deliveries(scope, made.id, None, ALL).await, StoreError::NotFound { .. });
        assert_error!(s.delivery(scope, made.id, test.id).await, StoreError::NotFound { .. });
        assert_error!(s.redeliver(scope, made.id, test.id).await, StoreError::NotFound { .. });
    }
    for scope in [&ann, &turn, &alone] {
        assert_error!(s.create_webhook(scope, hook(&[]), 10).await, StoreError::NotFound { .. });
        assert_error!(s.webhooks(scope).await, StoreError::NotFound { .. });
    }
    assert!(s.webhooks(&w.theirs.scope).await.expect("theirs").is_empty());
    // What happens here is not told there.
    let theirs = w.hook_of(&w.theirs, &[]).await;
    w.turn(&w.talk(&o.ann).await, "hello", "hi").await;
    assert!(s.deliveries(&w.theirs.scope, theirs.id, None, ALL).await.expect("listed").items.is_empty());
    assert_error!(s.delivery(&w.theirs.scope, theirs.id, test.id).await, StoreError::NotFound { .. });
}

/// The end of a run is told with its commit: once, to those who hear it, and not at all when the commit fails.
pub async fn ended_runs_are_told_with_their_commit(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let talk = w.talk(&o.ann).await;
    w.turn(&talk, "before", "nobody hears this").await;
    let (all, failed) = (w.hook(&[]).await, w.hook(&[WebhookEvent::RunFailed, WebhookEvent::WebhookTest]).await);
    let off = w.hook(&[]).await;
    s.put_webhook(&o.scope, Webhook { state: WebhookState::Disabled, ..off.clone() }).await.expect("disabled");

    w.wait(1);
    let lease = w.begin(&talk, "hello").await;
    assert!(w.told_to(&all).await.is_empty(), "it has not ended");
    let last = vec![Effect::Append(vec![NewMessage::assistant("hi", w.now())]), finish(StopReason::EndTurn)];
    let number = w.load(&lease).await.run.commits + 1;
    let unplanned = [vec![Effect::FinishCall(RunId::new().uuid())], last.clone()].concat();
    assert_error!(s.commit(&lease, Commit { number, effects: unplanned }).await, StoreError::Invalid(_));
    assert!(w.told_to(&all).await.is_empty(), "a commit that fails tells nothing");
    s.commit(&lease, Commit { number, effects: last.clone() }).await.expect("it ends");
    s.commit(&lease, Commit { number, effects: last }).await.expect("a repetition");
    let told = w.told_to(&all).await;
    assert_eq!(w.events_to(&all).await, ["message.answered", "run.completed"]);
    for one in &told {
        assert_eq!((one.webhook, one.subject, one.at), (all.id, lease.run.uuid(), w.now()));
        assert_eq!((one.agent, one.user, one.conversation), (Some(o.agent.id), Some(o.ann.id), Some(talk.id)));
        assert_eq!((one.state, one.attempts, one.next_attempt, &one.body), (DeliveryState::Pending, 0, Some(w.now()), &None));
        assert_eq!(one.facts.get("stop_reason").and_then(|v| v.as_str()), Some("end_turn"));
    }
    assert_ne!(told[0].id, told[1].id);

    w.wait(1);
    // Nobody has said what this run begins with.
    let mut alone = w.stimulus(&talk, "");
    alone.messages = vec![NewMessage::of(Body::Note { text: "It is time.".into() }, w.now())];
    alone.claim_for = Some((w.worker, TTL));
    let lease = s.accept(&o.scope, alone).await.expect("accepted").lease.expect("claimed");
    w.answer(&lease, "So it is.").await;
    assert_eq!(w.events_to(&all).await[2..], ["run.completed"]);

    w.wait(1);
    let lease = w.begin(&talk, "and now?").await;
    w.commit(&lease, vec![finish(StopReason::ModelUnavailable)]).await;
    w.wait(1);
    let lease = w.begin(&talk, "stop").await;
    s.cancel(&o.scope, lease.run).await.expect("asked to stop");
    w.commit(&lease, vec![finish(StopReason::Cancelled)]).await;
    assert_eq!(w.events_to(&all).await[3..], ["run.failed", "run.cancelled"]);
    assert_eq!(w.events_to(&failed).await, ["run.failed"]);
    assert!(w.told_to(&off).await.is_empty());
}

/// Whatever else changes is told: questions and verdicts, tasks, timers, proposals, erasures.
pub async fn other_changes_are_told(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let talk = w.talk(&o.ann).await;
    let heard: Vec<WebhookEvent> = WebhookEvent::ALL.into_iter().filter(|e| !matches!(e.noun(), "run")).collect();
    let all = w.hook(&heard).await;
    let seen = async |at: usize| {
        w.wait(1);
        w.events_to(&all).await.split_off(at)
    };

    let lease = w.begin(&talk, "write to everybody").await;
    let question = |expires_in_ms| {
        let asked = NewApproval { id: ApprovalId::new(), call: call("c1", "mail_send"), reason: "odd \u{0}".into(), expires_in_ms };
        Effect::AskApproval(Box::new(asked))
    };
    let (first, second) = (question(3_600_000), question(1_000));
    w.commit(&lease, vec![first.clone(), second.clone()]).await;
    w.commit(&lease, vec![first.clone()]).await;
    w.answer(&lease, "It waits.").await;
    assert_eq!(seen(0).await, ["approval.requested", "approval.requested"]);
    let told = &w.told_to(&all).await[0];
    assert_eq!((told.agent, told.user, told.conversation), (Some(o.agent.id), Some(o.ann.id), Some(talk.id)));
    assert_eq!(told.facts.get("run").and_then(|v| v.as_str()), Some(lease.run.to_string().as_str()));
    assert_eq!(told.facts.get("state").and_then(|v| v.as_str()), Some("pending"));
    let id_of = |effect: &Effect| if let Effect::AskApproval(new) = effect { new.id } else { unreachable!("it asks") };
    let decide = async |approval, verdict| {
        let limits = RunLimits::default();
        s.decide(&o.scope, Decide { approval, verdict, note: None, run: RunId::new(), limits, queue_depth: 256, claim_for: None }).await
    };
    decide(id_of(&first), Verdict::Deny).await.expect("decided");
    decide(id_of(&first), Verdict::Deny).await.expect("decided already");
    assert_eq!(seen(2).await, ["approval.decided"]);
    w.wait(10);
    decide(id_of(&second), Verdict::Expire).await.expect("over");
    assert_eq!(seen(3).await, ["approval.expired"]);

    let task = async |changes: &[(TaskState, Option<&str>)]| {
        let new = Task::new(TaskId::new(), talk.agent, talk.user, talk.id, "odd: \u{0} \"failure\":\"budget:");
        let mut task = s.create_task(&o.scope, new).await.expect("made");
        for (state, failure) in changes {
            w.wait(1);
            task.state = *state;
            task.failure = failure.map(ToOwned::to_owned);
            task = s.change_task(&o.scope, task).await.expect("changed");
        }
        task.id
    };
    let id = task(&[(TaskState::Working, None), (TaskState::WaitingUser, None), (TaskState::WaitingUser, None)]).await;
    assert_eq!(seen(4).await, ["task.asked"]);
    assert_eq!(w.told_to(&all).await.last().map(|d| (d.subject, d.user)), Some((id.uuid(), Some(o.ann.id))));
    task(&[(TaskState::Working, None), (TaskState::WaitingTime, None), (TaskState::Working, None), (TaskState::Done, None)]).await;
    task(&[(TaskState::Failed, Some("it is too hard"))]).await;
    task(&[(TaskState::Failed, Some("budget: its steps are used up"))]).await;
    task(&[(TaskState::Cancelled, Some("never mind"))]).await;
    assert_eq!(seen(5).await, ["task.done", "task.failed", "task.over_budget", "task.cancelled"]);

    let due = s.create_timer(&o.scope, timer(&w, Some(&o.ann), Some(talk.id)), 100).await.expect("made");
    let due = s.put_timer(&o.scope, due).await.expect("changed");
    w.wait(60);
    s.fire_timer(&o.scope, firing(&w, &talk, &due)).await.expect("fired");
    assert_eq!(seen(9).await, ["timer.fired"]);
    let run = sid_types::Timer::run_for(due.id, due.next_due.expect("active")).to_string();
    let told = w.told_to(&all).await.pop().expect("told");
    assert_eq!((told.subject, told.facts.get("run").and_then(|v| v.as_str())), (due.id.uuid(), Some(run.as_str())));

    let proposal = NewItem { id: ItemId::new(), ..NewItem::new(ItemKind::Proposal, Owner::User { user: o.ann.id }, "change a rule") };
    let id = proposal.id;
    let twice = vec![ItemWrite::Make(Box::new(proposal.clone())), ItemWrite::Make(Box::new(proposal.clone()))];
    assert_error!(s.write_items(&o.scope, twice).await, StoreError::Exists { .. });
    s.write_items(&o.scope, vec![ItemWrite::Make(Box::new(proposal))]).await.expect("made");
    assert_eq!(seen(10).await, ["proposal.made"]);
    assert_eq!(w.told_to(&all).await.pop().map(|d| (d.subject, d.user)), Some((id.uuid(), Some(o.ann.id))));

    s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased");
    let left = w.told_to(&all).await;
    assert_eq!(left.len(), 1, "all that was about her is gone");
    assert_eq!((left[0].event, left[0].subject, left[0].user), (WebhookEvent::UserErased, o.ann.id.uuid(), None));
}

/// Forgetting a conversation, a user or an agent forgets what is to be told about them, and nothing else.
pub async fn erasing_takes_deliveries_along(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = w.hook(&[WebhookEvent::RunCompleted, WebhookEvent::UserErased]).await;
    let (first, second, his) = (w.talk(&o.ann).await, w.talk(&o.ann).await, w.talk(&o.bob).await);
    let other = w.open(o, &o.other_agent, Some(&o.bob)).await;
    for talk in [&first, &second, &his, &other] {
        w.turn(talk, "hello", "hi").await;
    }
    let left = async || {
        let mut left: Vec<_> = w.told_to(&all).await.into_iter().map(|d| d.conversation).collect();
        left.sort();
        left
    };
    let sorted = |of: &[&sid_types::Conversation]| {
        let mut ids: Vec<_> = of.iter().map(|c| Some(c.id)).collect();
        ids.sort();
        ids
    };
    assert_eq!(left().await, sorted(&[&first, &second, &his, &other]));
    s.erase(&o.scope, EraseTarget::Conversation(first.id)).await.expect("erased");
    assert_eq!(left().await, sorted(&[&second, &his, &other]));
    s.erase(&o.scope, EraseTarget::Agent(o.other_agent.id)).await.expect("erased");
    assert_eq!(left().await, sorted(&[&second, &his]));
    s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased");
    assert_eq!(left().await, [vec![None], sorted(&[&his])].concat());
}
