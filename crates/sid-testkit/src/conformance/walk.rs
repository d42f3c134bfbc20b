//! Random walks: whatever happens in whatever order, the invariants hold.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sid_store::{Accept, Commit, Effect, Lease, OnBusy, PageOut, StoreError};
use sid_types::{
    Body, CallState, Conversation, Message, MessageId, NewMessage, PlannedCall, RecursiveSummary, Role, Run, RunId, Seq, StopReason,
    WorkerId,
};

use super::World;
use super::world::{TTL, call, calling, dense, result, seqs};

/// How many walks, and how many things happen in each.
const WALKS: u64 = 4;
const STEPS: usize = 150;

/// Dense sequences, turns that stay together, one result for each call, ends that stay, nothing lost or doubled, nothing for
/// strangers.
pub async fn random_walks_keep_the_invariants(w: World) {
    for seed in 0..WALKS {
        let mut walk = Walk::begin(&w, seed).await;
        for step in 0..STEPS {
            walk.step().await;
            if step % 25 == 24 {
                walk.check(&format!("walk {seed}, step {step}")).await;
            }
        }
        walk.finish_everything().await;
        walk.check(&format!("walk {seed}, at its end")).await;
        assert!(walk.accepted.len() > 10 && walk.acknowledged.len() > 10, "walk {seed} went nowhere");
    }
}

struct Walk<'a> {
    w: &'a World,
    rng: StdRng,
    talks: Vec<Conversation>,
    /// Leases that were given out, with the number of their last commit and what it carried.
    leases: Vec<(Lease, Option<Commit>)>,
    accepted: BTreeMap<RunId, Vec<MessageId>>,
    /// Messages of commits and imports that were answered with `Ok`.
    acknowledged: BTreeSet<MessageId>,
    /// Messages of commits that were refused.
    refused: BTreeSet<MessageId>,
    ended: BTreeMap<RunId, Run>,
}

impl<'a> Walk<'a> {
    async fn begin(w: &'a World, seed: u64) -> Self {
        let talks = vec![
            w.talk(&w.ours.ann).await,
            w.talk(&w.ours.ann).await,
            w.talk(&w.ours.bob).await,
            w.open(&w.ours, &w.ours.agent, None).await,
        ];
        let (rng, leases) = (StdRng::seed_from_u64(seed), Vec::new());
        let (accepted, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { w, rng, talks, leases, accepted, acknowledged: BTreeSet::new(), refused: BTreeSet::new(), ended }
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..25 => self.accept().await,
            25..40 => self.claim().await,
            40..80 => self.commit().await,
            80..84 => self.repeat().await,
            84..88 => self.cancel().await,
            88..91 => self.release_or_renew().await,
            91..94 => self.w.wait(31),
            94..97 => self.import().await,
            _ => self.commit_behind_the_fence().await,
        }
    }

    async fn accept(&mut self) {
        let talk = self.talks.choose(&mut self.rng).expect("some").clone();
        let mut accept = self.w.stimulus(&talk, "stimulus");
        if self.rng.random_bool(0.3) {
            accept.messages.push(NewMessage::user("and more", self.w.now()));
        }
        let on_busy = *[OnBusy::Queue, OnBusy::Queue, OnBusy::Reject, OnBusy::Interrupt].choose(&mut self.rng).expect("some");
        let claim_for = self.rng.random_bool(0.5).then(|| (WorkerId::new(), TTL));
        let accept = Accept { on_busy, claim_for, queue_depth: 5, ..accept };
        match self.w.store.accept(&self.w.ours.scope, accept.clone()).await {
            Ok(accepted) => {
                self.accepted.insert(accept.run, accept.messages.iter().map(|m| m.id).collect());
                self.leases.extend(accepted.lease.map(|lease| (lease, None)));
            }
            Err(StoreError::Busy | StoreError::QueueFull { .. }) => self.refused.extend(accept.messages.iter().map(|m| m.id)),
            Err(error) => panic!("accepting: {error}"),
        }
    }

    async fn claim(&mut self) {
        let want = self.rng.random_range(1..3);
        let leases = self.w.store.claim(WorkerId::new(), want, usize::MAX, TTL).await.expect("claiming works");
        self.leases.extend(leases.into_iter().map(|lease| (lease, None)));
    }

    /// One commit of the kind that a driver makes: a reply, a call, a result, a page-out, an end.
    async fn commit(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.leases.len());
        let lease = self.leases[at].0.clone();
        let Ok(loaded) = self.w.store.load(&lease).await else {
            self.leases.swap_remove(at);
            return;
        };
        let now = self.w.now();
        let mut effects = Vec::new();
        if let Some(open) = loaded.open_calls.first() {
            if open.state == CallState::Planned && self.rng.random_bool(0.3) {
                effects.push(Effect::StartCall(open.token));
            } else {
                effects.push(Effect::Append(vec![result(&open.call, "result", &[], now)]));
                effects.push(Effect::FinishCall(open.token));
            }
        } else {
            match self.rng.random_range(0..10) {
                0..4 => effects.push(Effect::Append(vec![NewMessage::assistant("reply", now)])),
                4..7 => {
                    let asked = call(&format!("c{}", loaded.run.commits), "look");
                    let token = PlannedCall::token_for(lease.run, u32::try_from(loaded.run.commits).expect("few"), 0);
                    effects.push(Effect::Append(vec![calling(&asked, now)]));
                    effects.push(Effect::Plan(vec![PlannedCall { call: asked, token, state: CallState::Planned }]));
                }
                7 if loaded.queue.len() > 4 => {
                    let queue_start = Seq(loaded.conversation.queue_start.0 + 2);
                    let summary =
                        RecursiveSummary { text: "so far".into(), through: Seq(queue_start.0 - 1), is_floor: true, untrusted: Vec::new() };
                    effects.push(Effect::PageOut(PageOut { queue_start, summary }));
                }
                _ => {
                    effects.push(Effect::Append(vec![NewMessage::assistant("bye", now)]));
                    let reason = if loaded.run.cancel_requested { StopReason::Cancelled } else { StopReason::EndTurn };
                    effects.push(Effect::Finish { reason, error: None });
                }
            }
        }
        let commit = Commit { number: loaded.run.commits + 1, effects };
        let ids = appended(&commit);
        let committed = self.w.store.commit(&lease, commit.clone()).await.expect("a held lease commits");
        assert_eq!(committed.messages.iter().map(|m| m.id).collect::<Vec<_>>(), ids);
        self.acknowledged.extend(ids);
        self.leases[at].1 = Some(commit);
        self.leases.extend(committed.next.map(|lease| (lease, None)));
    }

    /// The last commit again, as after a lost answer.
    async fn repeat(&mut self) {
        let Some((lease, Some(commit))) = self.leases.choose(&mut self.rng) else { return };
        match self.w.store.commit(lease, commit.clone()).await {
            Ok(again) => assert!(again.messages.is_empty(), "a repetition writes nothing"),
            Err(StoreError::Fenced { .. }) => {}
            Err(error) => panic!("repeating: {error}"),
        }
    }

    /// A lease that is no longer the newest of its conversation writes nothing.
    async fn commit_behind_the_fence(&mut self) {
        let Some((lease, _)) = self.leases.choose(&mut self.rng).cloned() else { return };
        let old = Lease { epoch: lease.epoch.saturating_sub(1), ..lease };
        let number = self.w.store.run(&self.w.ours.scope, old.run).await.expect("there").commits + 1;
        let message = NewMessage::assistant("from the grave", self.w.now());
        self.refused.insert(message.id);
        let answer = self.w.store.commit(&old, Commit { number, effects: vec![Effect::Append(vec![message])] }).await;
        assert!(matches!(answer, Err(StoreError::Fenced { .. })), "{answer:?}");
    }

    async fn cancel(&mut self) {
        let runs: Vec<RunId> = self.accepted.keys().copied().collect();
        if let Some(run) = runs.choose(&mut self.rng) {
            self.w.store.cancel(&self.w.ours.scope, *run).await.expect("there");
        }
    }

    async fn release_or_renew(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.leases.len());
        if self.rng.random_bool(0.5) {
            let (lease, _) = self.leases.swap_remove(at);
            let _ = self.w.store.release(&lease).await;
        } else {
            let lease = self.leases[at].0.clone();
            self.w.store.renew(&[lease], TTL).await.expect("renewing works");
        }
    }

    async fn import(&mut self) {
        let talk = self.talks.choose(&mut self.rng).expect("some").clone();
        let message = NewMessage::user("imported", self.w.now());
        let id = message.id;
        match self.w.store.append(&self.w.ours.scope, talk.id, vec![message]).await {
            Ok(_) => self.acknowledged.insert(id),
            Err(StoreError::Busy) => self.refused.insert(id),
            Err(error) => panic!("importing: {error}"),
        };
    }

    /// Every worker dies; others take everything up and end it.
    async fn finish_everything(&mut self) {
        self.w.wait(31);
        loop {
            let mut leases = self.w.store.claim(self.w.worker, 10, usize::MAX, TTL).await.expect("claiming works");
            if leases.is_empty() {
                break;
            }
            while let Some(lease) = leases.pop() {
                let open = self.w.load(&lease).await.open_calls;
                let mut effects: Vec<Effect> = Vec::new();
                for call in open {
                    effects.push(Effect::Append(vec![result(&call.call, "outcome unknown", &[], self.w.now())]));
                    effects.push(Effect::FinishCall(call.token));
                }
                effects.push(Effect::Finish { reason: StopReason::EndTurn, error: None });
                let commit = Commit { number: self.w.load(&lease).await.run.commits + 1, effects };
                self.acknowledged.extend(appended(&commit));
                leases.extend(self.w.store.commit(&lease, commit).await.expect("held").next);
            }
        }
        for run in self.accepted.keys() {
            let run = self.w.store.run(&self.w.ours.scope, *run).await.expect("there");
            assert!(run.status.is_terminal(), "every run ends: {run:?}");
        }
    }

    async fn check(&mut self, place: &str) {
        let (store, ours) = (&self.w.store, &self.w.ours.scope);
        let mut placed: BTreeSet<MessageId> = BTreeSet::new();
        for talk in &self.talks {
            let messages = self.w.messages(talk).await;
            assert_eq!(seqs(&messages), dense(messages.len()), "{place}: dense");
            assert_eq!(self.w.reread(talk).await.last_seq.0, messages.len() as u64, "{place}: counted");
            for message in &messages {
                assert!(placed.insert(message.id), "{place}: {} is there twice", message.id);
            }
            check_turns(&messages, place);
            check_calls(&messages, place);
            for foreign in [self.w.theirs.scope, self.w.theirs.as_user(&self.w.theirs.ann)] {
                let page = store.page(&foreign, talk.id, None, sid_store::Order::Ascending, 10).await;
                assert!(matches!(page, Err(StoreError::NotFound { .. })), "{place}: a stranger reads {page:?}");
                assert!(self.w.find(&foreign, "stimulus reply imported").await.is_empty(), "{place}: a stranger finds");
            }
        }
        for id in &self.acknowledged {
            assert!(placed.contains(id), "{place}: {id} was acknowledged and is gone");
        }
        for id in &self.refused {
            assert!(!placed.contains(id), "{place}: {id} was refused and is there");
        }
        for (id, stimulus) in &self.accepted {
            let run = store.run(ours, *id).await.expect("there");
            let waiting = store.waiting_messages(ours, *id).await.expect("visible");
            let here: Vec<MessageId> = stimulus.iter().copied().filter(|m| placed.contains(m)).collect();
            assert!(
                (waiting == *stimulus && here.is_empty()) || (waiting.is_empty() && here == *stimulus),
                "{place}: {run:?} waits or is placed"
            );
            let events = store.events(ours, *id, 0, 1_000).await.expect("visible");
            assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), dense(events.len()), "{place}: dense events");
            let ends = events.iter().filter(|e| e.body.name() == "done").count();
            assert_eq!(ends, usize::from(run.status.is_terminal()), "{place}: one end each");
            if run.status.is_terminal() {
                let first = self.ended.entry(*id).or_insert_with(|| run.clone());
                assert_eq!(*first, run, "{place}: an end stays as it is");
            }
        }
    }
}

/// Ids of the messages that a commit appends.
fn appended(commit: &Commit) -> Vec<MessageId> {
    let messages = commit.effects.iter().filter_map(|effect| if let Effect::Append(messages) = effect { Some(messages) } else { None });
    messages.flatten().map(|m| m.id).collect()
}

/// Each run's messages are neighbours.
fn check_turns(messages: &[Message], place: &str) {
    let mut over: BTreeSet<RunId> = BTreeSet::new();
    for pair in messages.windows(2) {
        if pair[0].run != pair[1].run {
            over.extend(pair[0].run);
            assert!(pair[1].run.is_none_or(|run| !over.contains(&run)), "{place}: a turn comes back at {}", pair[1].seq);
        }
    }
}

/// Each call has one result, before the assistant speaks again.
fn check_calls(messages: &[Message], place: &str) {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if let Body::Tool { call_id, .. } = &message.body {
            let call =
                open.iter().position(|id| id == call_id).unwrap_or_else(|| panic!("{place}: a result without a call at {}", message.seq));
            open.swap_remove(call);
        } else if message.body.role() == Role::Assistant {
            assert!(open.is_empty(), "{place}: {open:?} have no result before {}", message.seq);
            open.extend(message.body.tool_calls().iter().map(|c| c.id.as_str()));
        }
    }
}
