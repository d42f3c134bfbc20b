//! Forgetting: nothing of what was erased is found by any method, and the rest stays.

use jiff::civil::date;
use sid_store::{
    Accept, AuditEntry, AuditFilter, BlockEdit, BlockWrite, Chunk, Commit, DiaryQuery, Effect, EraseTarget, GenerationId, IdempotencyKey,
    ItemFilter, ItemWrite, Lease, NewBlock, NewItem, NewVectors, PageRequest, QueryVector, Receipt, SearchQuery, StoreError, Whose,
};
use sid_types::{
    AccessRole, Agent, ApiKey, Block, BlockAccess, BlockId, BlockOp, Conversation, DiaryEntry, DiaryLevel, EventBody, ItemKind, KeyId,
    KeyRole, Message, NewMessage, NewPassage, OperatorScope, Owner, Provenance, Seq, ShareLevel, Sharee, Step, StepId, SummaryId, Usage,
    User,
};

use super::World;
use super::world::{assert_error, call, calling, finish, provenance, recollection, result, texts};

impl World {
    async fn erase(&self, target: EraseTarget) -> Receipt {
        self.store.erase(&self.ours.scope, target).await.expect("erased")
    }

    async fn forget(&self, talk: &Conversation) -> Receipt {
        self.erase(EraseTarget::Conversation(talk.id)).await
    }

    async fn human(&self) -> Block {
        let blocks = self.store.blocks(&self.ours.scope, self.ours.pair()).await.expect("visible");
        blocks.into_iter().find(|b| b.label == "human").expect("a template")
    }

    /// Edits the human block in a whole turn.
    async fn learn(&self, talk: &Conversation, op: BlockOp) {
        let lease = self.begin(talk, "remember").await;
        let block = self.human().await;
        let edit = BlockEdit { block: block.id, op, expected_version: block.version, provenance: told_in(talk, "tool") };
        self.commit(&lease, vec![Effect::EditBlock(edit), finish(sid_types::StopReason::EndTurn)]).await;
    }

    /// What is left of the application's view: nothing that contains `word`.
    async fn assert_forgotten(&self, word: &str) {
        let scope = &self.ours.scope;
        let all = PageRequest { after: None, limit: 1_000 };
        let mut left = self.find(scope, word).await;
        for talk in self.store.conversations(scope, None, None, all.clone()).await.expect("listed").items {
            left.push(format!("{} {}", talk.summary.text, talk.prefix.clone().unwrap_or_default()));
            left.extend(self.messages(&talk).await.iter().map(|m| m.body.text().to_owned()));
            for run in self.store.runs(scope, talk.id, 1_000).await.expect("visible") {
                left.extend(self.store.events(scope, run.id, 0, 1_000).await.expect("visible").iter().map(|e| format!("{e:?}")));
                left.extend(self.store.steps(scope, run.id).await.expect("visible").iter().map(|s| format!("{s:?}")));
            }
        }
        let o = &self.ours;
        let bobs = Owner::Pair { agent: o.agent.id, user: o.bob.id };
        for owner in [o.pair(), bobs, Owner::User { user: o.ann.id }, Owner::Agent { agent: o.agent.id }, Owner::Tenant] {
            let Ok(passages) = self.store.list(scope, owner, all.clone()).await else { continue };
            left.extend(passages.items.into_iter().map(|p| p.text));
            let query = DiaryQuery { level: None, from: None, to: None, limit: 1_000 };
            left.extend(self.store.diary(scope, owner, &query).await.expect("visible").into_iter().map(|page| page.text));
            for block in self.store.blocks(scope, owner).await.expect("visible") {
                let history = self.store.block_history(scope, block.id, 1_000).await.expect("visible");
                left.extend(history.iter().map(|v| format!("{v:?}")));
                left.push(block.value);
            }
        }
        let left: Vec<&String> = left.iter().filter(|text| text.contains(word)).collect();
        assert!(left.is_empty(), "`{word}` is still in {left:?}");
    }
}

fn told_in(talk: &Conversation, channel: &str) -> Provenance {
    Provenance { conversation: Some(talk.id), ..provenance(channel) }
}

fn append(text: &str) -> BlockOp {
    BlockOp::Append { text: text.into() }
}

/// A step that was shown some messages.
fn step(w: &World, lease: &Lease, recalled: &[&Message], tail: &str) -> Step {
    Step {
        id: StepId::new(),
        run: lease.run,
        number: 1,
        usage: Usage::default(),
        rung: "native".into(),
        first_token_ms: 0,
        total_ms: 0,
        tail: Some(tail.into()),
        queue: (1, 1),
        recalled: recalled.iter().map(|m| (m.id.to_string(), 1.0)).collect(),
        at: w.now(),
    }
}

/// Messages, runs, events and passages are gone by every way, and the receipt counts them.
pub async fn an_erased_conversation_is_gone(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let messages = w.turn(&talk, "my secret is rutabaga", "rutabaga noted").await;
    w.turn(&other, "something else", "fine").await;
    let run = messages[0].run.expect("of a run");
    let told = NewPassage { provenance: told_in(&talk, "tool"), ..w.passage(Owner::Tenant, "a rutabaga for everybody") };
    w.store.upsert(&w.ours.scope, vec![told.clone()]).await.expect("stored");
    w.keep(&w.ours, w.ours.pair(), "something kept").await;
    w.say(&talk, "rutabaga, waiting").await;
    let receipt = w.forget(&talk).await;
    assert_eq!((receipt.conversations, receipt.messages, receipt.runs, receipt.passages), (1, 3, 2, 1));
    w.assert_forgotten("rutabaga").await;
    let (s, scope) = (&w.store, &w.ours.scope);
    assert_error!(s.conversation(scope, talk.id).await, StoreError::NotFound { .. });
    assert_error!(s.page(scope, talk.id, None, sid_store::Order::Ascending, 10).await, StoreError::NotFound { .. });
    assert_error!(s.message(scope, messages[0].id).await, StoreError::NotFound { .. });
    assert_error!(s.run(scope, run).await, StoreError::NotFound { .. });
    assert_error!(s.events(scope, run, 0, 10).await, StoreError::NotFound { .. });
    assert_error!(s.passage(scope, told.id).await, StoreError::NotFound { .. });
    assert_error!(s.erase(scope, EraseTarget::Conversation(talk.id)).await, StoreError::NotFound { .. });
    assert!(w.claim().await.is_none(), "its waiting run is gone");
    assert_eq!(texts(&w.messages(&other).await), ["something else", "fine"]);
    assert_eq!(w.find(scope, "something").await.len(), 2 + 1, "with the answer beside it");
}

/// Vectors go with their records, and late ones do not come back.
pub async fn erased_vectors_are_gone(w: World) {
    let g = GenerationId("test/erase".into());
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.turn(&talk, "rutabaga", "ok").await;
    w.turn(&other, "bread", "ok").await;
    w.embed_all(&g, |_| vec![1.0, 0.0]).await;
    w.turn(&talk, "late rutabaga", "ok").await;
    let late = w.store.pending(&g, 10).await.expect("listed");
    let receipt = w.forget(&talk).await;
    assert_eq!(receipt.vectors, 2);
    let chunk = |text: &str| Chunk { start: 0, end: text.len(), vector: vec![1.0, 0.0] };
    let late = late.iter().map(|j| NewVectors { scope: j.scope, record: j.record, chunks: vec![chunk(&j.text)] }).collect();
    w.store.put_vectors(&g, late).await.expect("silent");
    let vector = Some(QueryVector { generation: g.clone(), values: vec![1.0, 0.0] });
    let mut found = w.find_with(&w.ours.scope, &SearchQuery { vector, ..SearchQuery::new("xyzzy") }).await;
    found.sort();
    assert_eq!(found, ["bread", "ok"]);
    let status = w.store.index_status(&w.ours.scope, &g, None).await.expect("visible");
    assert_eq!((status.indexed, status.pending), (2, 0));
    assert!(w.store.pending(&g, 10).await.expect("listed").is_empty());
}

/// Block edits made in the conversation are taken back, the others are replayed, and who has read the old value cannot write it back.
pub async fn erased_block_edits_are_taken_back(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.learn(&other, append("is a dentist")).await;
    w.learn(&talk, append("fears rutabaga")).await;
    w.learn(&other, append("has a cat")).await;
    w.learn(&talk, BlockOp::Replace { old: "cat".into(), new: "rutabaga".into() }).await;
    let before = w.human().await;
    assert_eq!(before.value, "is a dentist\nfears rutabaga\nhas a rutabaga");
    let receipt = w.forget(&talk).await;
    assert_eq!(receipt.block_versions, 2);
    let after = w.human().await;
    assert_eq!((after.id, after.value.as_str()), (before.id, "is a dentist\nhas a cat"));
    w.assert_forgotten("rutabaga").await;
    let history = w.store.block_history(&w.ours.scope, after.id, 10).await.expect("visible");
    assert_eq!(history.iter().map(|v| v.value_after.as_str()).collect::<Vec<_>>(), ["is a dentist\nhas a cat", "is a dentist", ""]);
    let stale =
        BlockWrite { op: BlockOp::Set { value: before.value }, expected_version: Some(before.version), provenance: provenance("api") };
    assert_error!(w.store.write_block(&w.ours.scope, after.id, stale).await, StoreError::Conflict { .. });
    w.learn(&other, append("and goes on")).await;
    assert_eq!(w.human().await.value, "is a dentist\nhas a cat\nand goes on");
    let history = w.store.block_history(&w.ours.scope, after.id, 10).await.expect("visible");
    assert!(history.windows(2).all(|pair| pair[0].version > pair[1].version), "versions still only grow");
}

/// An edit that only makes sense after an erased one is passed over; an undo brings nothing back.
pub async fn replayed_edits_bring_nothing_back(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.learn(&talk, append("fears rutabaga")).await;
    let fearful = w.human().await.value;
    w.learn(&other, append("has a cat")).await;
    w.learn(&other, BlockOp::Replace { old: "fears".into(), new: "loves".into() }).await;
    let undo = BlockWrite { op: BlockOp::Set { value: fearful }, expected_version: None, provenance: provenance("undo") };
    w.store.write_block(&w.ours.scope, w.human().await.id, undo).await.expect("undone");
    w.forget(&talk).await;
    w.assert_forgotten("rutabaga").await;
    assert_eq!(w.human().await.value, "");
}

/// Tool results in other conversations that quote an erased message are redacted: as messages, in queues and in events.
pub async fn quotes_elsewhere_are_redacted(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let secret = w.turn(&talk, "my secret is rutabaga", "noted").await.remove(0);
    let harmless = w.turn(&other, "bread", "noted").await.remove(0);
    let lease = w.begin(&other, "what was it again?").await;
    let (one, two) = (call("c1", "conversation_search"), call("c2", "conversation_search"));
    let quoting = result(&one, "you said rutabaga", &[&harmless, &secret], w.now());
    let other_quote = result(&two, "you said bread", &[&harmless], w.now());
    let effects = vec![Effect::Append(vec![calling(&one, w.now()), quoting.clone(), calling(&two, w.now()), other_quote.clone()])];
    let messages = w.commit(&lease, effects).await.messages;
    let event = EventBody::Message { message: Box::new(messages[1].clone()) };
    w.store.append_events(&lease, vec![event]).await.expect("held");
    let receipt = w.forget(&talk).await;
    assert_eq!(receipt.redacted, 1);
    w.assert_forgotten("rutabaga").await;
    let redacted = w.store.message(&w.ours.scope, quoting.id).await.expect("it keeps its place");
    assert_eq!((redacted.body.text(), redacted.seq), ("[erased]", messages[1].seq));
    assert!(matches!(&redacted.body, sid_types::Body::Tool { call_id, .. } if call_id == "c1"), "and its call");
    let kept = w.store.message(&w.ours.scope, other_quote.id).await.expect("there");
    assert_eq!(kept.body.text(), "you said bread");
    let queue = w.load(&lease).await.queue;
    assert!(texts(&queue).contains(&"[erased]") && !texts(&queue).contains(&"you said rutabaga"));
}

/// What other runs of the pair were shown of it is forgotten; their events keep their numbers.
pub async fn what_other_runs_were_shown_is_forgotten(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let secret = w.turn(&talk, "my secret is rutabaga", "noted").await.remove(0);
    let lease = w.begin(&other, "what was it again?").await;
    let items = vec![recollection(&secret.id.to_string(), "my secret is rutabaga")];
    let recalled = EventBody::Recalled { items, prompt_tokens: 1, window_tokens: 2 };
    let events = vec![EventBody::Started { epoch: 1 }, recalled, EventBody::TextDelta { text: "…".into() }];
    let step = step(&w, &lease, &[&secret], "recalled: my secret is rutabaga");
    let effects = vec![Effect::Events(events), Effect::RecordStep(Box::new(step)), Effect::SetPrefix(Some("rutabaga".into()))];
    w.commit(&lease, effects).await;
    w.forget(&talk).await;
    w.assert_forgotten("rutabaga").await;
    let steps = w.store.steps(&w.ours.scope, lease.run).await.expect("visible");
    assert_eq!((steps.len(), &steps[0].tail, steps[0].recalled.len()), (1, &None, 0));
    let events = w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(w.reread(&other).await.prefix, None);
}

/// Pages that told of it are gone with those above them, and are written anew from what is left.
pub async fn the_diary_is_written_anew(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let said = async |talk: &Conversation, text: &str, at: &str| {
        let message = NewMessage::user(text, at.parse().expect("a timestamp"));
        w.store.append(&w.ours.scope, talk.id, vec![message]).await.expect("imported");
    };
    // Two days of one week, and a week of another month that the conversation has no part in.
    said(&talk, "rutabaga soup", "2026-01-06T10:00:00Z").await;
    said(&other, "bread", "2026-01-06T11:00:00Z").await;
    said(&talk, "rutabaga pie", "2026-01-07T10:00:00Z").await;
    said(&other, "butter", "2025-11-12T10:00:00Z").await;
    w.write_diary().await;
    let query = || DiaryQuery { level: None, from: None, to: None, limit: 100 };
    let before = w.store.diary(&w.ours.scope, w.ours.pair(), &query()).await.expect("visible");
    assert_eq!(before.len(), 3 + 2 + 2);
    let receipt = w.forget(&talk).await;
    assert_eq!(receipt.diary_entries, 4, "two days, their week, their month");
    let left = w.store.diary(&w.ours.scope, w.ours.pair(), &query()).await.expect("visible");
    assert!(left.iter().all(|page| page.start < date(2026, 1, 1)) && left.len() == 3, "{left:?}");
    let due = w.store.diary_work(w.now(), 10).await.expect("listed");
    assert_eq!(due.iter().map(|d| (d.level, d.start)).collect::<Vec<_>>(), [(DiaryLevel::Day, date(2026, 1, 6))]);
    w.write_diary().await;
    let after = w.store.diary(&w.ours.scope, w.ours.pair(), &query()).await.expect("visible");
    assert_eq!(after.len(), 6, "the day that is left, its week and its month");
    assert!(after.iter().all(|page| page.messages.iter().all(|(id, ..)| *id == other.id)));
}

/// A page that was being written while its source was erased is refused.
pub async fn a_late_page_brings_nothing_back(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let old = NewMessage::user("rutabaga", "2026-01-06T10:00:00Z".parse().expect("a timestamp"));
    w.store.append(&w.ours.scope, talk.id, vec![old]).await.expect("imported");
    let work = w.store.diary_work(w.now(), 1).await.expect("listed").remove(0);
    w.forget(&talk).await;
    let page = DiaryEntry {
        id: SummaryId::new(),
        owner: work.owner,
        level: work.level,
        start: work.start,
        text: "rutabaga".into(),
        messages: vec![(talk.id, Seq(1), Seq(1))],
        is_floor: false,
        untrusted: Vec::new(),
        written_at: w.now(),
    };
    assert_error!(w.store.put_diary(&work.scope, page).await, StoreError::NotFound { .. });
    w.assert_forgotten("rutabaga").await;
}

/// A run that is under way is fenced off, and its words are not written after all.
pub async fn the_run_under_way_is_fenced_off(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "rutabaga").await;
    w.forget(&talk).await;
    let effects = vec![Effect::InsertPassage(w.passage(w.ours.pair(), "rutabaga"))];
    assert_error!(w.store.commit(&lease, Commit { number: 1, effects }).await, StoreError::Fenced { .. });
    let delta = vec![EventBody::TextDelta { text: "rutabaga".into() }];
    assert_error!(w.store.append_events(&lease, delta).await, StoreError::Fenced { .. });
    assert_error!(w.store.load(&lease).await, StoreError::Fenced { .. });
    assert!(w.store.renew(&[lease], super::world::TTL).await.expect("renewing works").is_empty());
    w.assert_forgotten("rutabaga").await;
}

/// An idempotency key does not keep an erased run alive.
pub async fn erased_runs_leave_their_keys_free(w: World) {
    let (talk, other) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let keyed = |talk: &Conversation| {
        let idempotency = Some(IdempotencyKey { key: "k".into(), fingerprint: [1; 32] });
        Accept { idempotency, ..w.stimulus(talk, "hello") }
    };
    let first = w.store.accept(&w.ours.scope, keyed(&talk)).await.expect("accepted").run.id;
    w.forget(&talk).await;
    let second = w.store.accept(&w.ours.scope, keyed(&other)).await.expect("accepted");
    assert!(!second.replayed && second.run.id != first);
}

/// A person may erase her own conversations and nothing else; a turn nothing.
pub async fn erasing_has_its_rights(w: World) {
    let (anns, bobs) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let ann = w.ours.as_user(&w.ours.ann);
    let turn = w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann));
    let try_erase = async |scope, target| w.store.erase(scope, target).await;
    for target in [EraseTarget::Conversation(anns.id), EraseTarget::User(w.ours.ann.id), EraseTarget::Agent(w.ours.agent.id)] {
        assert_error!(try_erase(&turn, target).await, StoreError::NotFound { .. });
    }
    for target in [EraseTarget::Conversation(bobs.id), EraseTarget::User(w.ours.ann.id), EraseTarget::Agent(w.ours.agent.id)] {
        assert_error!(try_erase(&ann, target).await, StoreError::NotFound { .. });
    }
    w.reread(&bobs).await;
    assert_eq!(try_erase(&ann, EraseTarget::Conversation(anns.id)).await.expect("her own").conversations, 1);
}

/// A user goes with all conversations and memory, memberships and keys; everybody else's stays.
pub async fn an_erased_user_is_gone(w: World) {
    let o = &w.ours;
    let (anns, others, bobs) = (w.talk(&o.ann).await, w.open(o, &o.other_agent, Some(&o.ann)).await, w.talk(&o.bob).await);
    w.turn(&anns, "rutabaga one", "ok").await;
    w.turn(&others, "rutabaga two", "ok").await;
    w.turn(&bobs, "bread", "ok").await;
    w.learn(&anns, append("rutabaga")).await;
    w.keep(o, o.pair(), "rutabaga of the pair").await;
    w.keep(o, Owner::User { user: o.ann.id }, "rutabaga of hers").await;
    w.keep(o, Owner::Tenant, "bread for everybody").await;
    let operator = OperatorScope::grant();
    let key = |user| ApiKey {
        id: KeyId::new(),
        name: "phone".into(),
        role: KeyRole::User { tenant: o.tenant.id, user },
        access: AccessRole::Member,
        scopes: None,
        hash: format!("{:064x}", KeyId::new().uuid().as_u128()),
        created_at: w.now(),
        expires_at: None,
        revoked_at: None,
    };
    let (hers, his) = (key(o.ann.id), key(o.bob.id));
    for key in [&hers, &his] {
        w.store.put_key(&operator, key.clone()).await.expect("stored");
    }
    let receipt = w.erase(EraseTarget::User(o.ann.id)).await;
    assert_eq!((receipt.conversations, receipt.messages, receipt.passages), (2, 5, 2));
    w.assert_forgotten("rutabaga").await;
    assert_error!(w.store.user(&o.scope, o.ann.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.user_by_handle(&o.scope, "ann").await, StoreError::NotFound { .. });
    assert_error!(w.store.blocks(&o.scope, o.pair()).await, StoreError::NotFound { .. });
    assert!(w.store.team_members(&o.scope, o.team.id).await.expect("visible").is_empty());
    assert_eq!(w.store.key_by_hash(&hers.hash).await.expect("asked"), None);
    assert_eq!(w.store.key_by_hash(&his.hash).await.expect("asked"), Some(his));
    assert_eq!(texts(&w.messages(&bobs).await), ["bread", "ok"]);
    let kept = w.find(&o.scope, "bread").await;
    assert!(["bread", "bread for everybody"].iter().all(|text| kept.contains(&(*text).to_owned())), "{kept:?}");
    assert_eq!(w.store.user(&w.theirs.scope, w.theirs.ann.id).await.expect("there"), w.theirs.ann);
    assert_error!(w.store.erase(&o.scope, EraseTarget::User(o.ann.id)).await, StoreError::NotFound { .. });
}

/// An agent goes with all conversations, its own memory and that of its pairs, and its links; its users stay.
pub async fn an_erased_agent_is_gone(w: World) {
    let o = &w.ours;
    let (anns, others) = (w.talk(&o.ann).await, w.open(o, &o.other_agent, Some(&o.ann)).await);
    w.turn(&anns, "rutabaga", "ok").await;
    w.turn(&others, "bread", "ok").await;
    w.keep(o, Owner::Agent { agent: o.agent.id }, "rutabaga of the agent").await;
    w.keep(o, o.pair(), "rutabaga of the pair").await;
    w.keep(o, Owner::User { user: o.ann.id }, "bread of hers").await;
    let shared = NewBlock {
        id: BlockId::new(),
        owner: Owner::Agent { agent: o.agent.id },
        label: "manual".into(),
        description: String::new(),
        value: "rutabaga".into(),
        limit_chars: 100,
        provenance: provenance("api"),
    };
    let shared = w.store.create_block(&o.scope, shared).await.expect("made");
    w.store.link_block(&o.scope, shared.id, o.other_agent.id, Some(BlockAccess::Read)).await.expect("linked");
    let receipt = w.erase(EraseTarget::Agent(o.agent.id)).await;
    assert_eq!((receipt.conversations, receipt.messages, receipt.passages), (1, 2, 2));
    w.assert_forgotten("rutabaga").await;
    assert_error!(w.store.agent(&o.scope, o.agent.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.block(&o.scope, shared.id).await, StoreError::NotFound { .. });
    let lease = w.begin(&others, "hello").await;
    assert_eq!(w.load(&lease).await.blocks.len(), 2, "the linked block went with its owner");
    assert_eq!(w.store.user(&o.scope, o.ann.id).await.expect("there"), o.ann);
    assert!(w.find(&o.scope, "bread").await.contains(&"bread of hers".to_owned()));
}

/// A key of an assistant of ours.
async fn assistants_key(w: &World, agent: &Agent, user: &User) -> ApiKey {
    let role = KeyRole::Agent { tenant: w.ours.tenant.id, user: user.id, agent: agent.id };
    let key = ApiKey {
        id: KeyId::new(),
        name: "assistant".into(),
        role,
        access: role.usual_access(),
        scopes: None,
        hash: format!("{:064x}", KeyId::new().uuid().as_u128()),
        created_at: w.now(),
        expires_at: None,
        revoked_at: None,
    };
    w.store.put_key(&OperatorScope::grant(), key.clone()).await.expect("stored");
    key
}

/// A user's items go, and those of every assistant with the user, with all shares by and with the user; what others have stays.
pub async fn items_go_with_their_user(w: World) {
    let o = &w.ours;
    let (anns, bobs) = (Owner::User { user: o.ann.id }, Owner::User { user: o.bob.id });
    let project = w.make(&o.scope, NewItem::new(ItemKind::Project, anns, "rutabaga project")).await;
    let section = NewItem { parent: Some(project.id), ..NewItem::new(ItemKind::Section, anns, "rutabaga section") };
    w.make(&o.scope, section).await;
    w.make(&o.scope, NewItem::new(ItemKind::Note, o.pair(), "rutabaga of the pair")).await;
    w.make(&o.scope, NewItem::new(ItemKind::DataKey, anns, "rutabaga key")).await;
    w.make(&o.scope, NewItem::new(ItemKind::Secret, anns, "rutabaga secret")).await;
    let his = w.make(&o.scope, NewItem::new(ItemKind::Page, bobs, "bread of his")).await;
    let teams = w.make(&o.scope, NewItem::new(ItemKind::Page, Owner::Team { team: o.team.id }, "bread of the team")).await;
    for (item, user) in [(&project, &o.bob), (&his, &o.ann)] {
        w.store.share_item(&o.scope, item.id, Sharee::User { user: user.id }, Some(ShareLevel::Full)).await.expect("shared");
    }
    let (hers, bobs_key) = (assistants_key(&w, &o.agent, &o.ann).await, assistants_key(&w, &o.agent, &o.bob).await);
    let receipt = w.erase(EraseTarget::User(o.ann.id)).await;
    assert_eq!((receipt.items, receipt.passages), (5, 3));
    w.assert_forgotten("rutabaga").await;
    let left = w.store.items(&o.scope, &ItemFilter::of(Whose::Everybody), PageRequest { after: None, limit: 100 }).await;
    let left: Vec<_> = left.expect("listed").items.into_iter().map(|seen| seen.item).collect();
    assert_eq!(left, [&teams, &his].map(|item| sid_types::Item { body: String::new(), ..item.clone() }));
    assert!(w.store.shares(&o.scope, his.id).await.expect("visible").is_empty());
    let shared = ItemFilter::of(Whose::SharedWith(o.bob.id));
    assert!(w.store.items(&o.scope, &shared, PageRequest { after: None, limit: 9 }).await.expect("listed").items.is_empty());
    assert_eq!(w.store.key_by_hash(&hers.hash).await.expect("asked"), None);
    assert_eq!(w.store.key_by_hash(&bobs_key.hash).await.expect("asked"), Some(bobs_key));
    // Nothing comes back with somebody of the same id.
    w.store.create_user(&o.scope, o.ann.clone()).await.expect("made again");
    let again = ItemFilter::of(Whose::User(o.ann.id));
    assert!(w.store.items(&o.scope, &again, PageRequest { after: None, limit: 9 }).await.expect("listed").items.is_empty());
    assert_error!(w.store.item(&o.as_user(&o.ann), his.id).await, StoreError::NotFound { .. });
}

/// What an agent has kept goes with it, for each of its users, and so do its keys; what it has written for its users stays theirs.
pub async fn items_go_with_their_agent(w: World) {
    let o = &w.ours;
    w.make(&o.scope, NewItem::new(ItemKind::Note, Owner::Agent { agent: o.agent.id }, "rutabaga of the agent")).await;
    for user in [&o.ann, &o.bob] {
        let owner = Owner::Pair { agent: o.agent.id, user: user.id };
        w.make(&o.as_turn(&o.agent, Some(user)), NewItem::new(ItemKind::Memory, owner, "rutabaga of a pair")).await;
    }
    let anns = Owner::User { user: o.ann.id };
    let hers = w.make(&o.as_turn(&o.agent, Some(&o.ann)), NewItem::new(ItemKind::Note, anns, "bread of hers")).await;
    let (gone, kept) = (assistants_key(&w, &o.agent, &o.ann).await, assistants_key(&w, &o.other_agent, &o.ann).await);
    let receipt = w.erase(EraseTarget::Agent(o.agent.id)).await;
    assert_eq!((receipt.items, receipt.passages), (3, 3));
    w.assert_forgotten("rutabaga").await;
    assert_eq!(w.store.item(&o.as_user(&o.ann), hers.id).await.expect("there").item, hers);
    assert_eq!(w.find(&o.as_user(&o.ann), "bread").await, ["bread of hers"]);
    assert_eq!(w.store.key_by_hash(&gone.hash).await.expect("asked"), None);
    assert_eq!(w.store.key_by_hash(&kept.hash).await.expect("asked"), Some(kept));
    let left = w.store.items(&o.scope, &ItemFilter::of(Whose::Everybody), PageRequest { after: None, limit: 9 }).await;
    assert_eq!(left.expect("listed").items.len(), 1);
}

/// What was written in a conversation goes with it, with all that is below.
pub async fn items_go_with_their_conversation(w: World) {
    let o = &w.ours;
    let (talk, other) = (w.talk(&o.ann).await, w.talk(&o.ann).await);
    let (turn, anns) = (o.as_turn(&o.agent, Some(&o.ann)), Owner::User { user: o.ann.id });
    let from = |conversation: &Conversation| Provenance { conversation: Some(conversation.id), ..provenance("tool") };
    let said = |title: &str, conversation| NewItem { provenance: from(conversation), ..NewItem::new(ItemKind::Page, anns, title) };
    let top = w.make(&turn, said("rutabaga", &talk)).await;
    let below = |title: &str, conversation| NewItem { parent: Some(top.id), ..said(title, conversation) };
    w.make(&turn, below("rutabaga below", &other)).await;
    w.make(&turn, below("rutabaga, the same", &talk)).await;
    w.make(&turn, NewItem { kind: ItemKind::Session, ..said("rutabaga session", &talk) }).await;
    let kept = w.make(&turn, said("bread", &other)).await;
    let changed = w.make(&turn, said("bread at first", &other)).await;
    let change = sid_store::ItemChange { title: Some("rutabaga at last".into()), provenance: from(&talk), ..Default::default() };
    let change = ItemWrite::Change { item: changed.id, expected_version: None, change: Box::new(change) };
    w.store.write_items(&turn, vec![change]).await.expect("changed");
    let receipt = w.forget(&talk).await;
    assert_eq!((receipt.items, receipt.passages), (5, 3), "passages of the conversation itself are counted");
    w.assert_forgotten("rutabaga").await;
    assert_eq!(w.find(&turn, "bread").await, ["bread"]);
    let left = w.store.items(&turn, &ItemFilter::of(Whose::User(o.ann.id)), PageRequest { after: None, limit: 9 }).await;
    assert_eq!(left.expect("listed").items.into_iter().map(|seen| seen.item.id).collect::<Vec<_>>(), [kept.id]);
}

/// Nothing is left of what somebody makes for a user who is erased at the same moment.
pub async fn making_while_erasing_leaves_nothing_behind(w: World) {
    let o = &w.ours;
    let (anns, parts) = (Owner::User { user: o.ann.id }, [o.pair(), Owner::User { user: o.ann.id }]);
    let top = w.make(&o.scope, NewItem::new(ItemKind::Page, anns, "rutabaga")).await;
    let making = (0..12).map(|n| {
        let new = NewItem::new(ItemKind::Session, parts[n % 2], format!("rutabaga {n}"));
        let below = NewItem { parent: Some(top.id), ..NewItem::new(ItemKind::Session, anns, "rutabaga below") };
        w.store.write_items(&o.scope, vec![ItemWrite::Make(Box::new(if n % 3 == 0 { below } else { new }))])
    });
    let (made, erased) = futures::join!(futures::future::join_all(making), w.store.erase(&o.scope, EraseTarget::User(o.ann.id)));
    assert!(made.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::NotFound { .. }))), "{made:?}");
    let count = made.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert_eq!(erased.expect("erased").items, 1 + count);
    let left = w.store.items(&o.scope, &ItemFilter::of(Whose::Everybody), PageRequest { after: None, limit: 99 }).await;
    assert!(left.expect("listed").items.is_empty());
}

/// That something was done stays known; what it was done with is named by its id alone.
pub async fn the_audit_log_outlives_people(w: World) {
    let o = &w.ours;
    let item = w.make(&o.scope, NewItem::new(ItemKind::Note, Owner::User { user: o.ann.id }, "rutabaga")).await;
    let entry = AuditEntry {
        tenant: o.tenant.id,
        at: w.now(),
        key: KeyId::new(),
        user: Some(o.ann.id),
        agent: None,
        operation: "change_item".into(),
        subject: Some(o.ann.id),
        resource: Some(item.id.to_string()),
        status: 200,
        request: None,
    };
    // What she has called a secret, and her handle in what somebody else asked for; a name of his own stays.
    let secret = AuditEntry { resource: Some("rutabaga-shop".into()), ..entry.clone() };
    let theirs = AuditEntry { user: Some(o.bob.id), subject: None, ..entry.clone() };
    let refused = AuditEntry { resource: Some(format!("@{}", o.ann.handle)), ..theirs.clone() };
    let his = AuditEntry { resource: Some("mail".into()), ..theirs };
    w.store.record(vec![entry.clone(), secret.clone(), refused.clone(), his.clone()]).await.expect("recorded");
    w.erase(EraseTarget::User(o.ann.id)).await;
    let log = w.store.audit(&o.scope, &AuditFilter::default(), PageRequest { after: None, limit: 9 }).await.expect("read");
    let nameless = |entry| AuditEntry { resource: None, ..entry };
    assert_eq!(log.items, [his, nameless(refused), nameless(secret), entry]);
}
