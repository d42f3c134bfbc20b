//! A tenant with an agent and a user on a store in a temporary folder.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sid_store::{Accept, Accepted, Commit, Committed, Directory, Effect, Lease, NewConversation, OnBusy, StateStore, StoreError};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::{
    AgentId, AgentSpec, Conversation, ConversationId, KeyId, ManualClock, NewMessage, OperatorScope, Priority, RunId, RunLimits, Scope,
    StopReason, Timestamp, User, UserId, WorkerId,
};

pub(crate) const TTL: Duration = Duration::from_secs(30);

pub(crate) fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a time")
}

pub(crate) async fn open(config: SqliteConfig) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(config, Arc::new(ManualClock::new(now()))).await
}

pub(crate) async fn open_at(path: &Path) -> SqliteStore {
    open(SqliteConfig::new(path)).await.expect("the store opens")
}

pub(crate) struct Home {
    pub(crate) scope: Scope,
    pub(crate) agent: AgentId,
    pub(crate) user: UserId,
    pub(crate) conversation: Conversation,
}

impl Home {
    pub(crate) async fn build(store: &SqliteStore) -> Self {
        let tenant = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
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
        let agent = store.create_agent(&scope, AgentId::new(), AgentSpec::new("sid", "scripted"), Vec::new()).await.expect("an agent").id;
        let conversation = open_conversation(store, &scope, agent, user).await;
        Self { scope, agent, user, conversation }
    }
}

pub(crate) async fn open_conversation(store: &SqliteStore, scope: &Scope, agent: AgentId, user: UserId) -> Conversation {
    let new = NewConversation { agent, user: Some(user), key: None };
    store.open_conversation(scope, ConversationId::new(), new).await.expect("a conversation").0
}

pub(crate) async fn accept(store: &SqliteStore, scope: &Scope, conversation: ConversationId, text: &str) -> Result<Accepted, StoreError> {
    let accept = Accept {
        run: RunId::new(),
        conversation,
        messages: vec![NewMessage::user(text, now())],
        idempotency: None,
        limits: RunLimits::default(),
        priority: Priority::User,
        client_tools: Vec::new(),
        only_after: None,
        on_busy: OnBusy::Queue,
        queue_depth: 256,
        claim_for: Some((WorkerId::new(), TTL)),
    };
    store.accept(scope, accept).await
}

pub(crate) async fn finish(store: &SqliteStore, lease: &Lease, answer: &str) -> Result<Committed, StoreError> {
    let effects =
        vec![Effect::Append(vec![NewMessage::assistant(answer, now())]), Effect::Finish { reason: StopReason::EndTurn, error: None }];
    store.commit(lease, Commit { number: 1, effects }).await
}

/// A whole turn.
pub(crate) async fn turn(store: &SqliteStore, home: &Home, said: &str, answer: &str) -> Result<(), StoreError> {
    let lease = accept(store, &home.scope, home.conversation.id, said).await?.lease.expect("idle");
    store.load(&lease).await?;
    finish(store, &lease, answer).await.map(|_| ())
}
