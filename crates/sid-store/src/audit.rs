//! The audit log: who read or wrote whose memory.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{AgentId, KeyId, Scope, TenantId, Timestamp, UserId};

use crate::{Page, PageRequest, StoreError};

/// One thing that was done, or refused. It names things, and holds nothing of what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// In which tenant.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// The key that was shown; the nil key stands for the process itself.
    pub key: KeyId,
    /// The person who acted, or for whom an assistant did.
    pub user: Option<UserId>,
    /// The assistant that acted.
    pub agent: Option<AgentId>,
    /// The operation, as in the OpenAPI document.
    pub operation: String,
    /// Whose memory it was, where that is one person's.
    pub subject: Option<UserId>,
    /// The thing, by its id or name.
    pub resource: Option<String>,
    /// How it was answered: an HTTP status.
    pub status: u16,
    /// The request's id.
    pub request: Option<String>,
}

/// What to read of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only about this person's memory, or by this person.
    pub about: Option<UserId>,
    /// Only this operation.
    pub operation: Option<String>,
    /// Only from this moment on.
    pub since: Option<Timestamp>,
}

/// The log. It is only added to; [`Maintenance`](crate::Maintenance) drops what is older than the store keeps it, 400 days unless it is
/// told otherwise.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds entries of any tenants, all or none.
    async fn record(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError>;

    /// Entries of the scope's tenant, newest first. A tenant principal reads all, a user those about itself or by itself, a turn none.
    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError>;
}
