//! Approvals: asked once, seen by those of the conversation, decided once, and gone with it.

use sid_store::{ApprovalFilter, BlockEdit, Commit, Decide, Effect, EraseTarget, Lease, NewBlock, PageRequest, StoreError, Verdict};
use sid_types::{
    Approval, ApprovalId, ApprovalState, Block, BlockAccess, BlockId, BlockOp, Channel, Conversation, NewApproval, NewMessage, Owner,
    Principal, Provenance, RunId, RunLimits, RunStatus, Scope, Source, StopReason,
};

use super::World;
use super::world::{TTL, assert_error, call, calling, finish, provenance};

/// A question that waits an hour.
fn question(id: ApprovalId) -> NewApproval {
    let mut call = call("c1", "mail_send");
    call.arguments.insert("to".into(), "everybody \u{0} \u{fffd}".into());
    NewApproval { id, call, reason: "the agent has read text from outside (web:example.org)".into(), expires_in_ms: 3_600_000 }
}

fn verdict(approval: ApprovalId, verdict: Verdict) -> Decide {
    let limits = RunLimits::default();
    Decide { approval, verdict, note: None, run: RunId::new(), limits, queue_depth: 256, claim_for: None }
}

impl World {
    /// A turn that asks and ends.
    async fn asked(&self, talk: &Conversation) -> Approval {
        let lease = self.begin(talk, "Write to everybody.").await;
        let id = ApprovalId::new();
        self.commit(&lease, vec![Effect::AskApproval(Box::new(question(id)))]).await;
        self.answer(&lease, "It waits.").await;
        self.store.approval(&self.ours.scope, id).await.expect("there")
    }

    async fn listed(&self, scope: &Scope, state: Option<ApprovalState>) -> Vec<ApprovalId> {
        let filter = ApprovalFilter { state, conversation: None };
        let page = self.store.approvals(scope, &filter, PageRequest { limit: 100, after: None }).await.expect("listed");
        page.items.iter().map(|a| a.id).collect()
    }
}

async fn words_of(w: &World, lease: &Lease) -> (String, Option<sid_types::ApprovedCall>) {
    let loaded = w.load(lease).await;
    let note = loaded.queue.iter().find(|m| m.run == Some(lease.run)).expect("its stimulus").clone();
    (note.body.text().to_owned(), note.approved.map(|a| *a))
}

/// A question is written with its commit and never twice; what it says is kept as it was; a commit that fails leaves none.
pub async fn approvals_are_asked_with_their_commit(w: World) {
    let (s, talk) = (&*w.store, w.talk(&w.ours.ann).await);
    let lease = w.begin(&talk, "Write to everybody.").await;
    let new = question(ApprovalId::new());
    let asking = vec![Effect::AskApproval(Box::new(new.clone()))];
    w.commit(&lease, asking.clone()).await;
    let asked = s.approval(&w.ours.scope, new.id).await.expect("there");
    assert_eq!((&asked.call, &asked.reason, asked.state), (&new.call, &new.reason, ApprovalState::Pending));
    assert_eq!((asked.conversation, asked.agent, asked.user, asked.run), (talk.id, w.ours.agent.id, Some(w.ours.ann.id), lease.run));
    assert_eq!((asked.expires_at.duration_since(asked.asked_at).as_secs(), asked.decided_at, &asked.note), (3_600, None, &None));
    w.wait(5);
    w.commit(&lease, asking.clone()).await;
    assert_eq!(s.approval(&w.ours.scope, new.id).await.expect("there"), asked, "the same question again changes nothing");
    let lost = question(ApprovalId::new());
    let unplanned = Effect::FinishCall(RunId::new().uuid());
    assert_error!(w.try_commit(&lease, vec![Effect::AskApproval(Box::new(lost.clone())), unplanned]).await, StoreError::Invalid(_));
    assert_error!(s.approval(&w.ours.scope, lost.id).await, StoreError::NotFound { .. });
    let fenced = Lease { epoch: lease.epoch + 7, ..lease.clone() };
    let commit = Commit { number: w.load(&lease).await.run.commits + 1, effects: vec![Effect::AskApproval(Box::new(lost.clone()))] };
    assert_error!(s.commit(&fenced, commit).await, StoreError::Fenced { .. });
    assert_error!(s.approval(&w.ours.scope, lost.id).await, StoreError::NotFound { .. });
}

/// Who sees the conversation sees its questions, newest first and in pages; nobody else does.
pub async fn approvals_are_seen_by_those_of_the_conversation(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (hers, his) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let first = w.asked(&hers).await;
    w.wait(1);
    let second = w.asked(&his).await;
    w.wait(1);
    let third = w.asked(&hers).await;
    let (ann, bob) = (o.as_user(&o.ann), o.as_user(&o.bob));
    assert_eq!(w.listed(&o.scope, None).await, [third.id, second.id, first.id]);
    assert_eq!(w.listed(&ann, None).await, [third.id, first.id]);
    assert_eq!(w.listed(&bob, None).await, [second.id]);
    assert_eq!(w.listed(&o.as_turn(&o.agent, Some(&o.ann)), None).await, [third.id, first.id]);
    assert!(w.listed(&o.as_turn(&o.other_agent, Some(&o.ann)), None).await.is_empty());
    assert!(w.listed(&w.theirs.scope, None).await.is_empty());
    for stranger in [&bob, &w.theirs.scope, &o.as_turn(&o.other_agent, Some(&o.ann))] {
        assert_error!(s.approval(stranger, first.id).await, StoreError::NotFound { .. });
        assert_error!(s.decide(stranger, verdict(first.id, Verdict::Approve)).await, StoreError::NotFound { .. });
        let of_hers = ApprovalFilter { state: None, conversation: Some(hers.id) };
        assert_error!(s.approvals(stranger, &of_hers, PageRequest { limit: 100, after: None }).await, StoreError::NotFound { .. });
    }
    s.decide(&ann, verdict(first.id, Verdict::Deny)).await.expect("decided");
    assert_eq!(w.listed(&ann, Some(ApprovalState::Pending)).await, [third.id]);
    assert_eq!(w.listed(&ann, Some(ApprovalState::Denied)).await, [first.id]);
    let filter = ApprovalFilter { state: None, conversation: Some(hers.id) };
    let page = s.approvals(&o.scope, &filter, PageRequest { limit: 1, after: None }).await.expect("a page");
    assert_eq!(page.items.iter().map(|a| a.id).collect::<Vec<_>>(), [third.id]);
    let rest = s.approvals(&o.scope, &filter, PageRequest { after: page.next, limit: 100 }).await.expect("the rest");
    assert_eq!((rest.items.iter().map(|a| a.id).collect::<Vec<_>>(), rest.next), (vec![first.id], None));
}

/// A yes wakes the agent with a run that carries the very call; again it changes nothing, and another answer is refused.
pub async fn an_approval_is_decided_once(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let talk = w.talk(&o.ann).await;
    let asked = w.asked(&talk).await;
    let decide = Decide { note: Some("go ahead".into()), claim_for: Some((w.worker, TTL)), ..verdict(asked.id, Verdict::Approve) };
    let decided = s.decide(&o.as_user(&o.ann), decide.clone()).await.expect("decided");
    let lease = decided.lease.expect("an idle conversation is claimed at once");
    assert_eq!((decided.approval.state, decided.approval.answered_by), (ApprovalState::Approved, Some(lease.run)));
    assert_eq!(decided.approval.decided_by, Some(Principal::User { user: o.ann.id }));
    assert_eq!(s.approval(&o.scope, asked.id).await.expect("there"), decided.approval);
    let (text, approved) = words_of(&w, &lease).await;
    assert!(text.contains("approved by the user") && text.contains("go ahead"), "{text}");
    let approved = approved.expect("the call");
    assert_eq!((approved.approval, &approved.call), (asked.id, &question(asked.id).call), "as it was shown");
    let again = s.decide(&o.scope, Decide { run: RunId::new(), ..decide.clone() }).await.expect("the same again");
    assert!(again.run.is_none() && again.lease.is_none());
    assert_eq!(again.approval, decided.approval);
    assert_error!(s.decide(&o.scope, verdict(asked.id, Verdict::Deny)).await, StoreError::Decided { how: "approved", .. });
    w.answer(&lease, "Done.").await;
    assert_eq!(s.runs(&o.scope, talk.id, 10).await.expect("runs").len(), 2, "one run asked, one was told");
    // Two at once: one answer stands.
    let asked = w.asked(&talk).await;
    let all: Vec<Decide> = (0..6).map(|i| verdict(asked.id, if i % 2 == 0 { Verdict::Approve } else { Verdict::Deny })).collect();
    let answers = futures::future::join_all(all.iter().map(|decide| s.decide(&o.scope, decide.clone()))).await;
    let stands = s.approval(&o.scope, asked.id).await.expect("there");
    let woken = answers.iter().flatten().filter(|a| a.run.is_some()).count();
    assert_eq!(woken, 1, "{answers:?}");
    assert!(answers.iter().flatten().all(|a| a.approval == stands));
    assert_eq!(s.runs(&o.scope, talk.id, 10).await.expect("runs").len(), 4);
}

/// An agent decides nothing; a no carries no call; a decision waits in line like any stimulus, and fails whole when the line is full.
pub async fn an_agent_approves_nothing(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let talk = w.talk(&o.ann).await;
    let asked = w.asked(&talk).await;
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    assert_error!(s.decide(&turn, verdict(asked.id, Verdict::Approve)).await, StoreError::Forbidden { .. });
    let long = Decide { note: Some("x".repeat(1_001)), ..verdict(asked.id, Verdict::Deny) };
    assert_error!(s.decide(&o.scope, long).await, StoreError::Invalid(_));
    let lease = w.begin(&talk, "Meanwhile?").await;
    let full = Decide { queue_depth: 0, ..verdict(asked.id, Verdict::Deny) };
    assert_error!(s.decide(&o.scope, full).await, StoreError::QueueFull { .. });
    assert_eq!(s.approval(&o.scope, asked.id).await.expect("there").state, ApprovalState::Pending);
    let denied = s.decide(&o.scope, verdict(asked.id, Verdict::Deny)).await.expect("decided");
    let run = denied.run.expect("a run");
    assert_eq!((run.status, denied.lease.is_none()), (RunStatus::Queued, true), "behind the turn that is under way");
    let next = w.answer(&lease, "Nothing new.").await.expect("the run that waited");
    assert_eq!(next.run, run.id);
    let (text, approved) = words_of(&w, &next).await;
    assert!(text.contains("denied by the application") && approved.is_none(), "{text}");
}

/// A question that nobody answers expires, not before its time; then no yes counts any more.
pub async fn approvals_expire(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (talk, other) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let asked = w.asked(&talk).await;
    w.wait(60);
    let later = w.asked(&other).await;
    assert!(s.expired_approvals(10).await.expect("a look").is_empty());
    assert_error!(s.decide(&o.scope, verdict(asked.id, Verdict::Expire)).await, StoreError::Invalid(_));
    w.wait(3_540);
    let due = s.expired_approvals(10).await.expect("a look");
    assert_eq!(due.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [asked.id]);
    assert_error!(s.decide(&o.scope, verdict(asked.id, Verdict::Approve)).await, StoreError::Decided { how: "expired", .. });
    let expired = s.decide(&due[0].0, verdict(asked.id, Verdict::Expire)).await.expect("expired");
    assert_eq!((expired.approval.state, expired.approval.decided_by), (ApprovalState::Expired, None));
    let lease = w.claim().await.expect("a run that tells");
    let (text, approved) = words_of(&w, &lease).await;
    assert!(text.contains("not approved in time") && approved.is_none(), "{text}");
    w.wait(3_600);
    let due = s.expired_approvals(10).await.expect("a look");
    assert_eq!(due.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [later.id], "the one that has expired is not told again");
}

/// Questions go with their conversation, and so with its user and its agent.
pub async fn erasing_takes_approvals_along(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let alone = w.open(o, &o.other_agent, None).await;
    let lease = w.begin(&alone, "Write to everybody.").await;
    let of_agent = question(ApprovalId::new());
    w.commit(&lease, vec![Effect::AskApproval(Box::new(of_agent.clone())), finish(StopReason::EndTurn)]).await;
    let kept = w.asked(&w.talk(&o.ann).await).await;
    let (first, second) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let (gone, of_user) = (w.asked(&first).await, w.asked(&second).await);
    s.erase(&o.scope, EraseTarget::Conversation(first.id)).await.expect("erased");
    assert_error!(s.approval(&o.scope, gone.id).await, StoreError::NotFound { .. });
    s.erase(&o.scope, EraseTarget::User(o.bob.id)).await.expect("erased");
    assert_error!(s.approval(&o.scope, of_user.id).await, StoreError::NotFound { .. });
    s.erase(&o.scope, EraseTarget::Agent(o.other_agent.id)).await.expect("erased");
    assert_error!(s.approval(&o.scope, of_agent.id).await, StoreError::NotFound { .. });
    assert_eq!(w.listed(&o.scope, None).await, [kept.id]);
    w.wait(7_200);
    assert_eq!(s.expired_approvals(10).await.expect("a look").len(), 1);
}

/// What a message says of sources and of an approved call is kept, in the queue, in pages and in searches.
pub async fn messages_keep_where_they_came_from(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "What does the page say?").await;
    let sources = vec![Source::new(Channel::Tool, "notes"), Source::new(Channel::Web, "example.org \u{0}")];
    let call = call("c1", "read_page");
    let answer = NewMessage { untrusted: sources.clone(), ..NewMessage::assistant("It says pickles.", w.now()) };
    let calling = NewMessage { untrusted: sources.clone(), ..calling(&call, w.now()) };
    let result = NewMessage { untrusted: sources.clone(), ..super::world::result(&call, "Pickles!", &[], w.now()) };
    w.commit(&lease, vec![Effect::Append(vec![calling, result, answer])]).await;
    let loaded = w.load(&lease).await;
    let from = |messages: &[sid_types::Message]| messages.iter().map(|m| m.untrusted.len()).collect::<Vec<_>>();
    assert_eq!(from(&loaded.queue), [0, 2, 2, 2]);
    assert!(loaded.queue[1..].iter().all(|m| m.untrusted == sources));
    assert_eq!(from(&w.messages(&talk).await), [0, 2, 2, 2]);
    let imported = NewMessage { untrusted: sources.clone(), ..NewMessage::user("Olives.", w.now()) };
    w.answer(&lease, "Yes.").await;
    w.store.append(&w.ours.scope, talk.id, vec![imported]).await.expect("appended");
    assert_eq!(from(&w.messages(&talk).await), [0, 2, 2, 2, 0, 2]);
}

/// Under the influence of sources a turn writes its own blocks only, and only those that nobody else is shown; what it writes says where it
/// came from.
pub async fn influence_ends_at_blocks_of_others(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let talk = w.talk(&o.ann).await;
    let lease = w.begin(&talk, "What does the page say?").await;
    let blocks = w.load(&lease).await.blocks;
    let human = blocks.iter().find(|b| b.label == "human").expect("a pair has its blocks").clone();
    let new = NewBlock {
        id: BlockId::new(),
        owner: Owner::Tenant,
        label: "house".into(),
        description: String::new(),
        value: "Be kind.".into(),
        limit_chars: 100,
        provenance: provenance("api"),
    };
    let house = s.create_block(&o.scope, new).await.expect("made");
    s.link_block(&o.scope, house.id, o.agent.id, Some(BlockAccess::Write)).await.expect("linked");
    let sources = vec![Source::new(Channel::Web, "example.org")];
    let edit = |block: &Block, version: u64, untrusted: Vec<Source>| {
        let provenance = Provenance { conversation: Some(talk.id), untrusted, ..provenance("tool") };
        Effect::EditBlock(BlockEdit { block: block.id, op: BlockOp::Append { text: "x".into() }, expected_version: version, provenance })
    };
    assert_error!(w.try_commit(&lease, vec![edit(&house, 1, sources.clone())]).await, StoreError::Forbidden { .. });
    w.commit(&lease, vec![edit(&house, 1, Vec::new())]).await;
    w.commit(&lease, vec![edit(&human, human.version, sources.clone())]).await;
    let history = s.block_history(&o.scope, human.id, 10).await.expect("its history");
    let told = history.iter().max_by_key(|v| v.version).expect("a version");
    assert_eq!(told.provenance.untrusted, sources);
    s.link_block(&o.scope, human.id, o.other_agent.id, Some(BlockAccess::Read)).await.expect("linked");
    assert_error!(w.try_commit(&lease, vec![edit(&human, human.version + 1, sources.clone())]).await, StoreError::Forbidden { .. });
    w.commit(&lease, vec![edit(&human, human.version + 1, Vec::new())]).await;
    assert_eq!(s.block(&o.scope, house.id).await.expect("there").value, "Be kind.\nx");
}
