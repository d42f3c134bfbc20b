//! The world that checks play in: two tenants with people, agents and a team.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sid_store::{
    Accept, Accepted, Commit, Committed, Effect, GenerationId, Lease, Loaded, NewConversation, NewVectors, OnBusy, Order, SearchQuery,
    Store, StoreError,
};
use sid_types::{
    Agent, AgentId, AgentSpec, Body, Clock, Conversation, ConversationId, KeyId, ManualClock, Message, NewMessage, NewPassage,
    OperatorScope, Owner, PassageId, Principal, Priority, Provenance, RunId, RunLimits, Scope, StopReason, Team, TeamId, TeamRole, Tenant,
    Timestamp, ToolCall, User, UserId, WorkerId,
};

use super::{Fixture, Reopen};

/// How long leases last here.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// One tenant: an application with two agents, two people and a team.
pub struct Tenancy {
    /// The tenant.
    pub tenant: Tenant,
    /// The application's own scope.
    pub scope: Scope,
    /// An agent that may read the team.
    pub agent: Agent,
    /// An agent that may not.
    pub other_agent: Agent,
    /// A person in the team.
    pub ann: User,
    /// A person outside it.
    pub bob: User,
    /// The team.
    pub team: Team,
}

/// A fresh store with two tenants.
pub struct World {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// Opens its data again.
    pub reopen: Option<Reopen>,
    /// Where the checks play.
    pub ours: Tenancy,
    /// A neighbour with people and agents of the same names.
    pub theirs: Tenancy,
    /// The worker that claims.
    pub worker: WorkerId,
    _guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Tenancy {
    async fn build(store: &dyn Store, name: &str, now: Timestamp) -> Self {
        let tenant = store.create_tenant(&OperatorScope::grant(), name).await.expect("a tenant is made");
        let scope = grant(&tenant, Principal::Tenant { key: KeyId::new() });
        let team = Team { id: TeamId::new(), name: "crew".into(), parent: None, created_at: now };
        let team = store.create_team(&scope, team).await.expect("a team is made");
        let user = async |handle: &str| {
            let (id, handle, display_name) = (UserId::new(), handle.to_owned(), handle.to_owned());
            store
                .create_user(&scope, User { id, handle, display_name, timezone: None, quiet_hours: None, created_at: now })
                .await
                .expect("a user is made")
        };
        let agent = async |name: &str, teams: Vec<TeamId>| {
            store.create_agent(&scope, AgentId::new(), AgentSpec::new(name, "scripted"), teams).await.expect("an agent is made")
        };
        let (ann, bob) = (user("ann").await, user("bob").await);
        let (agent, other_agent) = (agent("sid", vec![team.id]).await, agent("nancy", Vec::new()).await);
        store.set_team_member(&scope, team.id, ann.id, Some(TeamRole::Member)).await.expect("a member joins");
        Self { tenant, scope, agent, other_agent, ann, bob, team }
    }

    /// The scope of one of the people.
    #[must_use]
    pub fn as_user(&self, user: &User) -> Scope {
        grant(&self.tenant, Principal::User { user: user.id })
    }

    /// The scope of an agent's turn.
    #[must_use]
    pub const fn as_turn(&self, agent: &Agent, user: Option<&User>) -> Scope {
        match user {
            Some(user) => self.scope.turn(agent.id, Some(user.id)),
            None => self.scope.turn(agent.id, None),
        }
    }

    /// What `agent` knows of `ann`.
    #[must_use]
    pub const fn pair(&self) -> Owner {
        Owner::Pair { agent: self.agent.id, user: self.ann.id }
    }
}

#[allow(clippy::disallowed_methods, reason = "tests are one of the two places that may make scopes")]
const fn grant(tenant: &Tenant, principal: Principal) -> Scope {
    Scope::grant(tenant.id, principal)
}

impl World {
    pub(super) async fn build(fixture: Fixture, clock: Arc<ManualClock>) -> Self {
        let Fixture { store, reopen, guard } = fixture;
        let ours = Tenancy::build(&*store, "ours", clock.now()).await;
        let theirs = Tenancy::build(&*store, "theirs", clock.now()).await;
        Self { store, clock, reopen, ours, theirs, worker: WorkerId::new(), _guard: guard }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// A conversation of our agent with one of our people.
    pub async fn talk(&self, user: &User) -> Conversation {
        self.open(&self.ours, &self.ours.agent, Some(user)).await
    }

    /// A conversation of any agent with any person.
    pub async fn open(&self, tenancy: &Tenancy, agent: &Agent, user: Option<&User>) -> Conversation {
        let new = NewConversation { agent: agent.id, user: user.map(|u| u.id), key: None };
        self.store.open_conversation(&tenancy.scope, ConversationId::new(), new).await.expect("a conversation opens").0
    }

    /// A stimulus of one message.
    #[must_use]
    pub fn stimulus(&self, conversation: &Conversation, text: &str) -> Accept {
        Accept {
            run: RunId::new(),
            conversation: conversation.id,
            messages: vec![NewMessage::user(text, self.now())],
            idempotency: None,
            limits: RunLimits::default(),
            priority: Priority::User,
            client_tools: Vec::new(),
            only_after: None,
            on_busy: OnBusy::Queue,
            queue_depth: 256,
            claim_for: None,
        }
    }

    /// Accepts a message that waits for a worker.
    pub async fn say(&self, conversation: &Conversation, text: &str) -> Accepted {
        self.store.accept(&self.ours.scope, self.stimulus(conversation, text)).await.expect("a message is accepted")
    }

    /// Accepts a message in an idle conversation of any tenant and claims it in the same transaction.
    pub async fn begin_in(&self, tenancy: &Tenancy, conversation: &Conversation, text: &str) -> Lease {
        let accept = Accept { claim_for: Some((self.worker, TTL)), ..self.stimulus(conversation, text) };
        let accepted = self.store.accept(&tenancy.scope, accept).await.expect("a message is accepted");
        accepted.lease.expect("an idle conversation is claimed at once")
    }

    /// Accepts a message in an idle conversation of ours and claims it.
    pub async fn begin(&self, conversation: &Conversation, text: &str) -> Lease {
        self.begin_in(&self.ours, conversation, text).await
    }

    /// Claims at most one conversation.
    pub async fn claim(&self) -> Option<Lease> {
        self.store.claim(self.worker, 1, usize::MAX, TTL).await.expect("claiming works").pop()
    }

    /// All that the run needs.
    pub async fn load(&self, lease: &Lease) -> Loaded {
        self.store.load(lease).await.expect("a held run loads")
    }

    /// Commits with the next number.
    pub async fn try_commit(&self, lease: &Lease, effects: Vec<Effect>) -> Result<Committed, StoreError> {
        let number = self.store.load(lease).await?.run.commits + 1;
        self.store.commit(lease, Commit { number, effects }).await
    }

    /// Commits with the next number; must work. A run that ends is answered as the store then has it.
    pub async fn commit(&self, lease: &Lease, effects: Vec<Effect>) -> Committed {
        let ends = matches!(effects.last(), Some(Effect::Finish { .. }));
        let committed = self.try_commit(lease, effects).await.expect("a commit is written");
        assert_eq!(committed.ended.is_some(), ends, "a commit answers the run if it ends it");
        if let Some(ended) = &committed.ended {
            let stored = self.store.run(&lease.scope, lease.run).await.expect("it is there");
            // Who asked it to stop may have been faster than this commit's knowledge of it.
            assert_eq!(*ended, sid_types::Run { cancel_requested: ended.cancel_requested, ..stored });
        }
        committed
    }

    /// Appends an answer and ends the run; answers the lease of the next one.
    pub async fn answer(&self, lease: &Lease, text: &str) -> Option<Lease> {
        let answer = NewMessage::assistant(text, self.now());
        self.commit(lease, vec![Effect::Append(vec![answer]), finish(StopReason::EndTurn)]).await.next
    }

    /// A whole turn in an idle conversation of ours; answers its messages.
    pub async fn turn(&self, conversation: &Conversation, text: &str, answer: &str) -> Vec<Message> {
        self.turn_in(&self.ours, conversation, text, answer).await
    }

    /// A whole turn in an idle conversation of any tenant.
    pub async fn turn_in(&self, tenancy: &Tenancy, conversation: &Conversation, text: &str, answer: &str) -> Vec<Message> {
        let lease = self.begin_in(tenancy, conversation, text).await;
        let run = lease.run;
        self.answer(&lease, answer).await;
        let messages = self.store.page(&tenancy.scope, conversation.id, None, Order::Ascending, 10_000).await;
        messages.expect("its messages are readable").into_iter().filter(|m| m.run == Some(run)).collect()
    }

    /// Every message of a conversation of ours, in order.
    pub async fn messages(&self, conversation: &Conversation) -> Vec<Message> {
        self.store.page(&self.ours.scope, conversation.id, None, Order::Ascending, 10_000).await.expect("a page is read")
    }

    /// The conversation as it is now.
    pub async fn reread(&self, conversation: &Conversation) -> Conversation {
        self.store.conversation(&self.ours.scope, conversation.id).await.expect("it is there")
    }

    /// Texts that a search finds, sorted.
    pub async fn find(&self, scope: &Scope, words: &str) -> Vec<String> {
        self.find_with(scope, &SearchQuery::new(words)).await
    }

    /// Texts that a search finds, sorted.
    pub async fn find_with(&self, scope: &Scope, query: &SearchQuery) -> Vec<String> {
        let found = self.store.search(scope, query).await.expect("a search answers");
        let mut texts: Vec<String> = found.items.iter().map(|c| c.record.text().to_owned()).collect();
        texts.sort_unstable();
        texts
    }

    /// Stores a passage as the application.
    pub async fn keep(&self, tenancy: &Tenancy, owner: Owner, text: &str) -> PassageId {
        let passage = self.passage(owner, text);
        let id = passage.id;
        self.store.upsert(&tenancy.scope, vec![passage]).await.expect("a passage is stored");
        id
    }

    /// A passage to be stored.
    #[must_use]
    pub fn passage(&self, owner: Owner, text: &str) -> NewPassage {
        let (id, text, tags) = (PassageId::new(), text.to_owned(), Vec::new());
        NewPassage { id, owner, text, tags, at: self.now(), provenance: provenance("api") }
    }

    /// Gives every waiting record a vector that `embed` makes of its text; answers how many there were.
    pub async fn embed_all(&self, generation: &GenerationId, embed: impl Fn(&str) -> Vec<f32>) -> usize {
        let jobs = self.store.pending(generation, 10_000).await.expect("jobs are listed");
        let vector = |job: &sid_store::EmbedJob| {
            let chunk = sid_store::Chunk { start: 0, end: job.text.len(), vector: embed(&job.text) };
            NewVectors { scope: job.scope, record: job.record, chunks: vec![chunk] }
        };
        let vectors: Vec<NewVectors> = jobs.iter().map(vector).collect();
        let count = vectors.len();
        self.store.put_vectors(generation, vectors).await.expect("vectors are stored");
        count
    }
}

/// The end of a run.
pub(crate) const fn finish(reason: StopReason) -> Effect {
    Effect::Finish { reason, error: None }
}

/// A memory that a turn was reminded of.
pub(crate) fn recollection(id: &str, text: &str) -> sid_types::Recollection {
    sid_types::Recollection { id: id.into(), score: 0.25, why: vec![("lexical".into(), 0.25)], text: text.into() }
}

pub(crate) fn provenance(channel: &str) -> Provenance {
    Provenance { channel: channel.into(), ..Provenance::default() }
}

pub(crate) fn call(id: &str, name: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: serde_json::Map::new(), for_client: false }
}

/// An assistant's message that makes one call.
pub(crate) fn calling(call: &ToolCall, at: Timestamp) -> NewMessage {
    NewMessage::of(Body::Assistant { text: String::new(), reasoning: None, tool_calls: vec![call.clone()] }, at)
}

/// The result of a call, quoting messages.
pub(crate) fn result(call: &ToolCall, text: &str, quotes: &[&Message], at: Timestamp) -> NewMessage {
    let (call_id, name, text) = (call.id.clone(), call.name.clone(), text.to_owned());
    NewMessage::of(Body::Tool { call_id, name, text, is_error: false, quotes: quotes.iter().map(|m| m.id).collect() }, at)
}

pub(crate) fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|m| m.seq.0).collect()
}

pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|m| m.body.text()).collect()
}

/// `1..=n`.
pub(crate) fn dense(n: usize) -> Vec<u64> {
    (1..=n as u64).collect()
}

/// Asserts that a result is an error of this kind.
macro_rules! assert_error {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            Err(other) => panic!("expected {}, found the error {other:?}", stringify!($pattern)),
            Ok(_) => panic!("expected {}, but it worked", stringify!($pattern)),
        }
    };
}
pub(crate) use assert_error;
