//! Who is asking: the value that every store call takes first.

use serde::{Deserialize, Serialize};

use crate::{AgentId, KeyId, TenantId, UserId};

/// Who acts inside a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Principal {
    /// The application behind a tenant key: reads and writes everything in its tenant.
    Tenant {
        /// The key it came with.
        key: KeyId,
    },
    /// One person: sees own conversations and memory, own teams' and the tenant's shared memory.
    User {
        /// The person.
        user: UserId,
    },
    /// An agent's turn with a person (or alone): sees what the *turn* may see, nothing more.
    ///
    /// Visible owners: the agent's, the pair's, the user's, those of teams that both the user and the agent are in, the tenant's.
    Turn {
        /// The agent.
        agent: AgentId,
        /// The human of the conversation, if there is one.
        user: Option<UserId>,
    },
}

/// A tenant and a principal in it.
///
/// Made by authentication, by the driver from a lease, and by tests. Stores check it; nothing else may make one
/// (`clippy.toml` disallows [`Scope::grant`] elsewhere).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    tenant: TenantId,
    principal: Principal,
}

impl Scope {
    /// States that `principal` has been authenticated in `tenant`.
    #[must_use]
    pub const fn grant(tenant: TenantId, principal: Principal) -> Self {
        Self { tenant, principal }
    }

    /// The tenant: no call with this scope reads or writes outside it.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Who is asking.
    #[must_use]
    pub const fn principal(&self) -> Principal {
        self.principal
    }

    /// Narrows this scope to an agent's turn in the same tenant.
    #[must_use]
    pub const fn turn(&self, agent: AgentId, user: Option<UserId>) -> Self {
        Self { tenant: self.tenant, principal: Principal::Turn { agent, user } }
    }

    /// Whether the principal has the rights of the tenant's application.
    #[must_use]
    pub const fn is_tenant_wide(&self) -> bool {
        matches!(self.principal, Principal::Tenant { .. })
    }

    /// The human on whose behalf the call is made, if there is one.
    #[must_use]
    pub const fn user(&self) -> Option<UserId> {
        match self.principal {
            Principal::User { user } => Some(user),
            Principal::Turn { user, .. } => user,
            Principal::Tenant { .. } => None,
        }
    }
}

/// The right to manage tenants and keys: above every tenant, inside none.
#[derive(Debug, Clone, Copy)]
pub struct OperatorScope(());

impl OperatorScope {
    /// States that an operator has been authenticated.
    #[must_use]
    pub const fn grant() -> Self {
        Self(())
    }

    /// A scope with tenant-wide rights, for an operator who acts inside one tenant.
    #[must_use]
    pub const fn enter(&self, tenant: TenantId, key: KeyId) -> Scope {
        Scope { tenant, principal: Principal::Tenant { key } }
    }
}
