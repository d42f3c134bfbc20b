//! The log of erasures: kept beside the store, so that an older copy of the store, put in its place, does not bring back what was erased.
//!
//! A line of JSON for each, on the disk before the erasure begins: it holds ids and nothing else. At the start everything that the log names
//! and the store still has is erased again, before anybody is let in.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sid_store::{EraseTarget, Store, StoreError};
use sid_types::{AgentId, ConversationId, KeyId, Scope, TenantId, Timestamp, UserId};

use crate::auth::house_right;
use crate::config::{Config, StoreKind};
use crate::error::ApiError;

/// One line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Entry {
    tenant: TenantId,
    at: Timestamp,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    User(UserId),
    Agent(AgentId),
    Conversation(ConversationId),
}

impl From<EraseTarget> for What {
    fn from(target: EraseTarget) -> Self {
        match target {
            EraseTarget::User(id) => Self::User(id),
            EraseTarget::Agent(id) => Self::Agent(id),
            EraseTarget::Conversation(id) | EraseTarget::Idle { conversation: id, .. } => Self::Conversation(id),
        }
    }
}

impl From<What> for EraseTarget {
    fn from(what: What) -> Self {
        match what {
            What::User(id) => Self::User(id),
            What::Agent(id) => Self::Agent(id),
            What::Conversation(id) => Self::Conversation(id),
        }
    }
}

/// The log, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Erasures {
    path: Option<PathBuf>,
    /// Lines of several requests do not mix.
    writing: Arc<Mutex<()>>,
}

impl Erasures {
    /// Where `store.erasures` says; else in the data folder of an embedded store. A shared database has one only where it is named.
    pub(crate) fn of(config: &Config) -> Self {
        let usual = || (config.store.kind == StoreKind::Sqlite).then(|| config.store.path.join("erasures.ndjson"));
        Self { path: config.store.erasures.clone().or_else(usual), writing: Arc::default() }
    }

    /// Erases again what the log names and the store has. Answers how much that was.
    pub(crate) async fn repeat(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let Some(path) = &self.path else { return Ok(0) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(unreadable(path, error)),
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut repeated = 0;
        for (i, line) in lines.iter().enumerate() {
            let entry: Entry = match serde_json::from_str(line) {
                Ok(entry) => entry,
                // A crash in the middle of the last line: what it was about was not begun.
                Err(_) if i + 1 == lines.len() => break,
                Err(error) => return Err(unreadable(path, format!("line {}: {error}", i + 1))),
            };
            let scope = house_right().enter(entry.tenant, KeyId::from_uuid(uuid::Uuid::nil()));
            match made_at(store, &scope, entry.what).await {
                // Made anew since, under an id that an idempotency key gave it.
                Ok(made_at) if made_at > entry.at => {}
                Ok(_) => {
                    store.erase(&scope, entry.what.into()).await?;
                    repeated += 1;
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if repeated > 0 {
            tracing::warn!(
                repeated,
                "the store had things that were erased before: it was restored from an older copy, and they are erased again"
            );
        }
        Ok(repeated)
    }

    /// Writes down that something is about to be erased; it is on the disk when this returns.
    pub(crate) async fn note(&self, tenant: TenantId, target: EraseTarget, at: Timestamp) -> Result<(), ApiError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let line = serde_json::to_string(&Entry { tenant, at, what: target.into() }).unwrap_or_default();
        let writing = self.writing.clone();
        let shown = path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _one = writing.lock();
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()
        });
        let outcome = written.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        outcome.map_err(|error| unreadable(&shown, error).into())
    }
}

async fn made_at(store: &dyn Store, scope: &Scope, what: What) -> Result<Timestamp, StoreError> {
    Ok(match what {
        What::User(id) => store.user(scope, id).await?.created_at,
        What::Agent(id) => store.agent(scope, id).await?.created_at,
        What::Conversation(id) => store.conversation(scope, id).await?.created_at,
    })
}

fn unreadable(path: &std::path::Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Setup(format!("the log of erasures {} cannot be used: {why}; without it, what was erased might come back", path.display()))
}

#[cfg(test)]
mod tests {
    use sid_store::{Directory, InProcess};
    use sid_types::{OperatorScope, User};

    use super::*;

    #[tokio::test]
    async fn what_was_erased_is_erased_again_in_an_older_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Erasures { path: Some(folder.path().join("erasures.ndjson")), writing: Arc::default() };
        let store = InProcess::default();
        let operator = OperatorScope::grant();
        let tenant = store.create_tenant(&operator, "acme").await.expect("a tenant").id;
        let scope = operator.enter(tenant, KeyId::new());
        let user = async |handle: &str, id: UserId| {
            let user = User {
                id,
                handle: handle.into(),
                display_name: handle.into(),
                timezone: None,
                quiet_hours: None,
                created_at: Timestamp::now(),
            };
            store.create_user(&scope, user).await.expect("a user").id
        };
        let (ann, bob) = (user("ann", UserId::new()).await, user("bob", UserId::new()).await);
        assert_eq!(log.repeat(&store).await.expect("there is no log yet"), 0);
        log.note(tenant, EraseTarget::User(ann), Timestamp::now()).await.expect("noted");
        // The store still has her, as an older copy would.
        assert_eq!(log.repeat(&store).await.expect("repeated"), 1);
        assert!(store.user(&scope, ann).await.is_err() && store.user(&scope, bob).await.is_ok());
        assert_eq!(log.repeat(&store).await.expect("repeated"), 0);
        // Somebody new under the same id stays.
        user("ann", ann).await;
        assert_eq!(log.repeat(&store).await.expect("repeated"), 0);
        assert!(store.user(&scope, ann).await.is_ok());
    }

    #[tokio::test]
    async fn a_line_that_was_cut_off_is_passed_over_at_the_end_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("erasures.ndjson");
        let log = Erasures { path: Some(path.clone()), writing: Arc::default() };
        let store = InProcess::default();
        log.note(TenantId::new(), EraseTarget::User(UserId::new()), Timestamp::now()).await.expect("noted");
        let good = std::fs::read_to_string(&path).expect("the log");
        std::fs::write(&path, format!("{good}{}", &good[..20])).expect("written");
        assert_eq!(log.repeat(&store).await.expect("repeated"), 0);
        std::fs::write(&path, format!("{}\n{good}", &good[..20])).expect("written");
        let refused = log.repeat(&store).await.expect_err("a damaged log").to_string();
        assert!(refused.contains("line 1"), "{refused}");
    }
}
