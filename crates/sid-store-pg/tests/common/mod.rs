//! A database with Sid's schema for each test.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;

use sid_store::{Accept, Commit, Directory, Effect, Lease, NewConversation, OnBusy, StateStore};
use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::{Cluster, Database};
use sid_types::{
    AgentId, AgentSpec, Conversation, ConversationId, KeyId, ManualClock, NewMessage, OperatorScope, Priority, RunId, RunLimits, Scope,
    StopReason, Timestamp, User, UserId, WorkerId,
};

/// What servers connect as: a member of `sid_app` and nothing more.
pub(crate) const SERVER: &str = "sid_test_server";

/// A fresh database, migrated.
pub(crate) async fn database() -> Database {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    cluster
        .database("migrated", async |admin| {
            PgStore::migrate(&admin).await.expect("the schema is made");
            // Roles belong to the cluster: the second template finds them there.
            let _ = cluster.sql(
                "postgres",
                &format!("DO $$ BEGIN CREATE ROLE {SERVER} LOGIN IN ROLE sid_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$"),
            );
        })
        .await
}

pub(crate) fn config(database: &Database) -> PgConfig {
    // Patient: the machine that runs the tests may be busy.
    let patience = Duration::from_secs(180);
    PgConfig {
        connections: 4,
        acquire_timeout: patience,
        statement_timeout: patience,
        lock_timeout: patience,
        ..PgConfig::new(database.url(SERVER))
    }
}

pub(crate) async fn open(database: &Database, clock: &Arc<ManualClock>) -> PgStore {
    PgStore::open_with_test_clock(config(database), Arc::clone(clock) as _).await.expect("the store opens")
}

pub(crate) async fn open_unprepared(database: &Database, clock: &Arc<ManualClock>) -> PgStore {
    let config = PgConfig { prepared_statements: false, ..config(database) };
    PgStore::open_with_test_clock(config, Arc::clone(clock) as _).await.expect("the store opens")
}

/// A tenant with an agent, a user and a conversation.
pub(crate) struct Home {
    pub(crate) scope: Scope,
    pub(crate) agent: AgentId,
    pub(crate) user: UserId,
    pub(crate) talk: Conversation,
}

pub(crate) const TTL: Duration = Duration::from_secs(30);

pub(crate) fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a time")
}

impl Home {
    pub(crate) async fn build(store: &PgStore, name: &str) -> Self {
        let tenant = store.create_tenant(&OperatorScope::grant(), name).await.expect("a tenant");
        let scope = OperatorScope::grant().enter(tenant.id, KeyId::new());
        let user = User {
            id: UserId::new(),
            handle: "ann".into(),
            display_name: "Ann".into(),
            timezone: None,
            quiet_hours: None,
            created_at: now(),
        };
        let user = store.create_user(&scope, user).await.expect("a user").id;
        let spec = AgentSpec::new("sid", "scripted");
        let agent = store.create_agent(&scope, AgentId::new(), spec, Vec::new()).await.expect("an agent").id;
        let talk = Self::open(store, &scope, agent, user).await;
        Self { scope, agent, user, talk }
    }

    pub(crate) async fn open(store: &PgStore, scope: &Scope, agent: AgentId, user: UserId) -> Conversation {
        let new = NewConversation { agent, user: Some(user), key: None };
        store.open_conversation(scope, ConversationId::new(), new).await.expect("a conversation").0
    }

    /// A conversation with each of so many new users.
    pub(crate) async fn open_for_others(&self, store: &PgStore, count: usize) -> Vec<Conversation> {
        let mut talks = Vec::new();
        for i in 0..count {
            let user = User {
                id: UserId::new(),
                handle: format!("user-{i}"),
                display_name: "U".into(),
                timezone: None,
                quiet_hours: None,
                created_at: now(),
            };
            let user = store.create_user(&self.scope, user).await.expect("a user").id;
            talks.push(Self::open(store, &self.scope, self.agent, user).await);
        }
        talks
    }

    pub(crate) fn stimulus(&self, text: &str) -> Accept {
        Accept {
            run: RunId::new(),
            conversation: self.talk.id,
            messages: vec![NewMessage::user(text, now())],
            idempotency: None,
            limits: RunLimits::default(),
            priority: Priority::User,
            client_tools: Vec::new(),
            only_after: None,
            on_busy: OnBusy::Queue,
            queue_depth: 256,
            claim_for: Some((WorkerId::new(), TTL)),
        }
    }

    /// Accepts and claims in one.
    pub(crate) async fn begin(&self, store: &PgStore, text: &str) -> Lease {
        store.accept(&self.scope, self.stimulus(text)).await.expect("accepted").lease.expect("idle")
    }

    /// A whole turn.
    pub(crate) async fn turn(&self, store: &PgStore, said: &str, answer: &str) {
        let lease = self.begin(store, said).await;
        store.commit(&lease, finish(1, answer)).await.expect("committed");
    }
}

/// A commit that answers and ends the run.
pub(crate) fn finish(number: u64, answer: &str) -> Commit {
    let answer = Effect::Append(vec![NewMessage::assistant(answer, now())]);
    Commit { number, effects: vec![answer, Effect::Finish { reason: StopReason::EndTurn, error: None }] }
}
