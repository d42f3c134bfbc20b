//! The audit log: who read or wrote whose memory, and who was refused.
//!
//! Entries are queued and written in batches beside the requests. A full queue makes requests wait: nothing is dropped. A crash may
//! lose what was queued in the last [`LINGER`]; what must be in the log before it is answered goes through [`App::audit_now`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sid_store::{AuditEntry, Store, StoreError};
use sid_types::{ApprovalId, BlockId, DocumentId, ImageId, ItemId, PassageId, RunId, Scope, TimerId, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::App;
use crate::auth::{Caller, house_right, percent_decoded};
use crate::error::ApiError;

/// Entries that wait to be written at most.
const QUEUE: usize = 4_096;
/// Entries that are written at once.
const BATCH: usize = 256;
/// How long the first entry of a batch waits for others.
const LINGER: Duration = Duration::from_millis(100);
/// The longest pause before a store that did not take a batch is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Owners of things that are remembered.
const MOST_OWNERS: usize = 10_000;
/// What a request that nobody waited for is logged with, as nginx does.
const GONE: u16 = 499;
/// Resources are ids and names; what is longer is cut.
const LONGEST_RESOURCE: usize = 512;

enum Message {
    Entry(AuditEntry),
    /// Answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit {
    store: Arc<dyn Store>,
    queue: mpsc::Sender<Message>,
}

impl Audit {
    /// Starts the writer on the current runtime; it ends with the last clone of this.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        let writer = Writer { store: store.clone(), entries, owners: HashMap::new() };
        tokio::spawn(writer.run());
        Self { store, queue }
    }

    /// A request that will be in the log, whatever becomes of it, if `is_audited`; else only when it is refused.
    pub(crate) fn open(&self, entry: AuditEntry, caller: &Caller, is_audited: bool) -> Pending {
        Pending { audit: self.clone(), entry: Some(entry), caller: caller.clone(), is_audited }
    }

    /// Queues an entry; waits while the queue is full.
    pub(crate) async fn put(&self, entry: AuditEntry) {
        // The writer outlives its senders.
        let _ = self.queue.send(Message::Entry(entry)).await;
    }

    /// Writes an entry, and waits until it is there.
    async fn write_now(&self, entry: AuditEntry) -> Result<(), ApiError> {
        Ok(self.store.record(vec![entry]).await?)
    }

    /// Waits until all that was queued before is written.
    pub(crate) async fn flush(&self) {
        let (written, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(written)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

impl App {
    /// Writes to the log before the answer: a handler that must not answer without it awaits this, and answers the error if it fails. The
    /// request is then in the log once, unless it fails after all.
    pub(crate) async fn audit_now(
        &self,
        caller: &Caller,
        operation: &str,
        subject: Option<UserId>,
        resource: &str,
    ) -> Result<(), ApiError> {
        let entry = AuditEntry {
            tenant: caller.tenant()?,
            at: self.now(),
            key: caller.key,
            user: caller.user(),
            agent: caller.agent(),
            operation: operation.to_owned(),
            subject: subject.or(caller.subject()),
            resource: Some(resource.to_owned()),
            status: 200,
            request: caller.request().map(str::to_owned),
        };
        self.audit().write_now(entry).await?;
        caller.set_logged();
        Ok(())
    }
}

/// The path's own parameters, decoded, with `/` between: `conv_…`, `team_…/user_…`. `None` where the route has none.
pub(crate) fn resource(route: &str, path: &str) -> Option<String> {
    let named = route.split('/').zip(path.split('/')).filter(|(template, _)| template.starts_with('{'));
    let named: Vec<String> = named.map(|(_, text)| percent_decoded(text)).collect();
    let text: String = named.join("/").chars().filter(|c| !c.is_control()).take(LONGEST_RESOURCE).collect();
    Some(text).filter(|t| !t.is_empty())
}

/// An entry that lacks its end.
pub(crate) struct Pending {
    audit: Audit,
    entry: Option<AuditEntry>,
    caller: Caller,
    is_audited: bool,
}

impl Pending {
    /// What will be in the log, ended with this status; `None` = nothing.
    fn ended(&mut self, status: u16) -> Option<AuditEntry> {
        let entry = self.entry.take()?;
        let is_refusal = matches!(status, 401 | 403);
        let is_there = self.caller.is_logged() && status < 400;
        (is_refusal || self.is_audited && !is_there).then(|| AuditEntry { status, subject: self.caller.subject(), ..entry })
    }

    /// The request was answered. Waits while the queue is full.
    pub(crate) async fn answered(mut self, status: u16) {
        // A place first: who goes away while waiting for it leaves the entry to `drop`.
        let queue = self.audit.queue.clone();
        let Ok(place) = queue.reserve().await else { return };
        if let Some(entry) = self.ended(status) {
            place.send(Message::Entry(entry));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // The client went away, or the handler panicked: it may have read or written all the same.
        let status = if std::thread::panicking() { 500 } else { GONE };
        let (Some(entry), Ok(runtime)) = (self.ended(status), tokio::runtime::Handle::try_current()) else { return };
        let audit = self.audit.clone();
        runtime.spawn(async move { audit.put(entry).await });
    }
}

/// Writes what is queued.
struct Writer {
    store: Arc<dyn Store>,
    entries: mpsc::Receiver<Message>,
    /// Whose conversations, runs, blocks, passages and items are, by id: that never changes.
    owners: HashMap<String, Option<UserId>>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.entries.recv().await {
            let (mut batch, mut flushed) = (Vec::new(), Vec::new());
            let mut take = |message: Message| match message {
                Message::Entry(entry) => {
                    batch.push(entry);
                    batch.len() >= BATCH
                }
                Message::Flush(written) => {
                    flushed.push(written);
                    true
                }
            };
            let until = Instant::now() + LINGER;
            let mut is_full = take(first);
            while !is_full {
                match tokio::time::timeout_at(until, self.entries.recv()).await {
                    Ok(Some(message)) => is_full = take(message),
                    Ok(None) | Err(_) => break,
                }
            }
            self.write(batch).await;
            for written in flushed {
                let _ = written.send(());
            }
        }
    }

    async fn write(&mut self, mut batch: Vec<AuditEntry>) {
        for entry in &mut batch {
            // An item may be another person's who shares it: the caller is no answer then.
            if entry.subject.is_none() || names_item(entry) {
                entry.subject = self.owner(entry).await.or(entry.subject);
            }
        }
        if batch.is_empty() || self.record(&batch).await.is_ok() {
            return;
        }
        // One that cannot be written must not take the others along.
        for entry in batch {
            let (operation, request) = (entry.operation.clone(), entry.request.clone());
            if let Err(error) = self.record(&[entry]).await {
                tracing::error!(code = error.code(), operation, request, "an audit entry cannot be written: {error}");
            }
        }
    }

    /// Waits for a store that does not answer; the error is one that no waiting mends.
    async fn record(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.store.record(entries.to_vec()).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(code = error.code(), entries = entries.len(), "the audit log waits for the store: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Whose memory it was, where the path names a thing that is one person's.
    async fn owner(&mut self, entry: &AuditEntry) -> Option<UserId> {
        let id = first_named(entry)?;
        if let Some(known) = self.owners.get(id) {
            return *known;
        }
        let scope = house_right().enter(entry.tenant, entry.key);
        // What is gone, or never was, is nobody's.
        let owner = look_up(&*self.store, &scope, id).await.ok()??;
        if self.owners.len() >= MOST_OWNERS {
            self.owners.clear();
        }
        self.owners.insert(id.to_owned(), owner);
        owner
    }
}

/// The first thing that the path named.
fn first_named(entry: &AuditEntry) -> Option<&str> {
    entry.resource.as_deref()?.split('/').next()
}

fn names_item(entry: &AuditEntry) -> bool {
    first_named(entry).is_some_and(|id| id.parse::<ItemId>().is_ok())
}

/// The person whose a thing is, by the thing's id; the outer `None` = the id names nothing that has an owner.
async fn look_up(store: &dyn Store, scope: &Scope, id: &str) -> Result<Option<Option<UserId>>, StoreError> {
    let conversation = if let Ok(id) = id.parse::<RunId>() { Some(store.run(scope, id).await?.conversation) } else { id.parse().ok() };
    if let Some(conversation) = conversation {
        return Ok(Some(store.conversation(scope, conversation).await?.user));
    }
    if let Ok(id) = id.parse::<ApprovalId>() {
        return Ok(Some(store.approval(scope, id).await?.user));
    }
    if let Ok(id) = id.parse::<BlockId>() {
        return Ok(Some(store.block(scope, id).await?.owner.user()));
    }
    if let Ok(id) = id.parse::<PassageId>() {
        return Ok(Some(store.passage(scope, id).await?.owner.user()));
    }
    if let Ok(id) = id.parse::<ItemId>() {
        return Ok(Some(store.item(scope, id).await?.item.owner.user()));
    }
    if let Ok(id) = id.parse::<DocumentId>() {
        return Ok(Some(store.document(scope, id).await?.owner.user()));
    }
    if let Ok(id) = id.parse::<ImageId>() {
        return Ok(Some(store.image(scope, id).await?.user));
    }
    if let Ok(id) = id.parse::<TimerId>() {
        return Ok(Some(store.timer(scope, id).await?.user));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_what_the_path_names() {
        let check = |route: &str, path: &str, expected: Option<&str>| assert_eq!(resource(route, path).as_deref(), expected, "{path}");
        check("/api/v1/users", "/api/v1/users", None);
        check("/api/v1/users/{id}", "/api/v1/users/@ann", Some("@ann"));
        check("/api/v1/users/{id}", "/api/v1/users/@j%C3%BCrgen", Some("@jürgen"));
        check("/api/v1/teams/{id}/members/{user}", "/api/v1/teams/team_1/members/user_2", Some("team_1/user_2"));
        check("/api/v1/users/{id}", "/api/v1/users/a%0Ab", Some("ab"));
    }
}
