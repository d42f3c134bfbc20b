//! Who calls, once authenticated and narrowed: handlers make their scopes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sid_types::{
    AccessRole, AgentId, ApiKey, Channel, KeyId, KeyRole, OperatorScope, Permission, Principal, Scope, Source, TenantId, UserId,
};

use super::permissions::Permissions;
use super::unauthenticated;
use crate::access::Level;
use crate::error::{ApiCode, ApiError};

/// What a credential proves, before the request's headers narrow it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity {
    /// The key that was shown; of a token, an id that stands for its issuer and subject.
    pub(crate) key: KeyId,
    pub(crate) role: KeyRole,
    pub(crate) permissions: Permissions,
}

impl Identity {
    pub(super) fn of_key(key: &ApiKey) -> Self {
        Self { key: key.id, role: key.role, permissions: Permissions::of_key(key) }
    }

    /// The process itself, on its own data folder.
    pub(super) fn of_process() -> Self {
        let key = KeyId::from_uuid(uuid::Uuid::nil());
        Self { key, role: KeyRole::Operator, permissions: Permissions::of_operator(AccessRole::Owner) }
    }
}

/// An authenticated caller, not yet a scope: handlers ask for the right that they need.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The key that was shown.
    pub(crate) key: KeyId,
    role: KeyRole,
    tenant: Option<TenantId>,
    user: Option<UserId>,
    agent: Option<AgentId>,
    permissions: Permissions,
    /// The request's id.
    request: Option<String>,
    notes: Arc<Notes>,
}

/// What a handler tells the audit log.
#[derive(Debug, Default)]
struct Notes {
    /// Whose memory the request turned out to be about.
    subject: OnceLock<UserId>,
    /// Whether the request is in the log already.
    is_logged: AtomicBool,
}

impl Caller {
    /// As whom the identity acts when no header narrows it; operators in `tenant`.
    pub(super) fn new(identity: &Identity, tenant: Option<TenantId>) -> Self {
        Self {
            key: identity.key,
            role: identity.role,
            tenant,
            user: identity.role.user(),
            agent: identity.role.agent(),
            permissions: identity.permissions,
            request: None,
            notes: Arc::default(),
        }
    }

    /// The same, in the request with this id, of which nothing is noted yet.
    pub(crate) fn in_request(self, id: Option<String>) -> Self {
        Self { request: id, notes: Arc::default(), ..self }
    }

    /// The request's id.
    pub(crate) fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// The same, as one user: with at most what a member may do.
    pub(super) fn narrow_to_user(&mut self, user: UserId) {
        self.user = Some(user);
        self.permissions = self.permissions & AccessRole::Member.into();
    }

    /// The same, as an assistant of its user: with at most what an assistant may do.
    pub(super) fn narrow_to_agent(&mut self, agent: AgentId) {
        self.agent = Some(agent);
        self.permissions = self.permissions & AccessRole::Agent.into();
    }

    /// As whom it acts now.
    pub(crate) fn level(&self) -> Level {
        match (self.agent, self.user, self.role) {
            (Some(_), _, _) => Level::Agent,
            (None, Some(_), _) => Level::User,
            (None, None, KeyRole::Operator) => Level::Operator,
            (None, None, _) => Level::Tenant,
        }
    }

    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }

    /// The right to manage tenants and keys.
    pub(crate) fn operator(&self) -> Result<OperatorScope, ApiError> {
        if self.level() == Level::Operator {
            return Ok(OperatorScope::grant());
        }
        Err(ApiError::forbidden("only an operator key may do this"))
    }

    /// What the caller sees of one tenant.
    pub(crate) fn scope(&self) -> Result<Scope, ApiError> {
        let principal = match (self.agent, self.user) {
            (Some(agent), user) => Principal::Turn { agent, user },
            (None, Some(user)) => Principal::User { user },
            (None, None) => Principal::Tenant { key: self.key },
        };
        Ok(grant(self.tenant()?, principal))
    }

    /// Like [`Caller::scope`], for what only a tenant's application may do.
    pub(crate) fn tenant_scope(&self) -> Result<Scope, ApiError> {
        if self.level() < Level::Tenant {
            return Err(ApiError::forbidden("only a tenant or operator key may do this"));
        }
        self.scope()
    }

    /// Narrowed to one user. A caller that is a user already may name nobody else.
    pub(crate) fn scope_for(&self, user: UserId) -> Result<Scope, ApiError> {
        if self.user.is_some_and(|own| own != user) {
            return Err(ApiError::forbidden("this key belongs to another user"));
        }
        self.about(Some(user));
        if self.agent.is_some() {
            return self.scope();
        }
        Ok(grant(self.tenant()?, Principal::User { user }))
    }

    /// The user's own scope, an assistant's too: for looking for what all of the user's assistants keep. What is found is read with
    /// [`Caller::scope`] before it is shown.
    pub(crate) fn scope_of_user(&self, user: UserId) -> Result<Scope, ApiError> {
        self.scope_for(user)?;
        Ok(grant(self.tenant()?, Principal::User { user }))
    }

    /// What a turn of this agent sees, with the user if there is one. An assistant may look through no other's eyes.
    pub(crate) fn turn_scope(&self, agent: AgentId, user: Option<UserId>) -> Result<Scope, ApiError> {
        if self.agent.is_some_and(|own| own != agent) {
            return Err(ApiError::forbidden("this key belongs to another assistant"));
        }
        if let Some(user) = user {
            self.scope_for(user)?;
        }
        Ok(self.scope()?.turn(agent, user))
    }

    pub(crate) fn tenant(&self) -> Result<TenantId, ApiError> {
        self.tenant.ok_or_else(|| {
            ApiError::new(ApiCode::TenantRequired, "an operator acts inside a tenant: name one in the header X-Sid-Tenant (id or name)")
        })
    }

    /// The tenant whose requests these are; `None` for operators, who look after tenants.
    pub(crate) fn limited_tenant(&self) -> Option<TenantId> {
        self.tenant.filter(|_| self.role != KeyRole::Operator)
    }

    /// The user that the caller is, or is narrowed to.
    pub(crate) const fn user(&self) -> Option<UserId> {
        self.user
    }

    /// The assistant that the caller is, or is narrowed to.
    pub(crate) const fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// The sources of what the caller writes, where it is not to be trusted: another agent's words are told, not followed.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.agent.map(|agent| Source::new(Channel::Agent, agent.to_string())).into_iter().collect()
    }

    /// Notes whose memory the request is about, for the audit log. The first note holds.
    pub(crate) fn about(&self, user: Option<UserId>) {
        if let Some(user) = user {
            let _ = self.notes.subject.set(user);
        }
    }

    /// What was noted; else the user that the caller is.
    pub(crate) fn subject(&self) -> Option<UserId> {
        self.notes.subject.get().copied().or(self.user)
    }

    /// Notes that the request is in the audit log already.
    pub(crate) fn set_logged(&self) {
        self.notes.is_logged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.notes.is_logged.load(Ordering::Relaxed)
    }

    /// The right to read a list of keys, and whose it must be cut to: all for an operator, those of the own tenant for others.
    pub(crate) fn key_list(&self) -> Result<(OperatorScope, Option<TenantId>), ApiError> {
        match self.operator() {
            Ok(operator) => Ok((operator, None)),
            Err(_) => Ok((OperatorScope::grant(), Some(self.tenant()?))),
        }
    }

    /// Checks that the caller may give out, or take back, a key that acts as this and may do that: nobody gives more than it has.
    pub(crate) fn may_manage(&self, role: &KeyRole, permissions: Permissions) -> Result<OperatorScope, ApiError> {
        let is_within = match (self.level(), role) {
            (Level::Operator, _) => true,
            (Level::Tenant, role) => role.tenant().is_some() && role.tenant() == self.tenant,
            (Level::User, KeyRole::User { tenant, user } | KeyRole::Agent { tenant, user, .. }) => {
                Some(*tenant) == self.tenant && Some(*user) == self.user
            }
            _ => false,
        };
        if !is_within {
            return Err(ApiError::forbidden(
                "a key manages keys of its own reach and below: an operator all, a tenant its own, a user its own",
            ));
        }
        let beyond: Vec<&str> = permissions.beyond(self.permissions).map(Permission::as_str).collect();
        if !beyond.is_empty() {
            let detail = format!("nobody gives out more than it has: this key has no `{}`; name fewer `scopes`", beyond.join("`, `"));
            return Err(ApiError::forbidden(detail));
        }
        Ok(OperatorScope::grant())
    }
}

/// The server's own right, for its first start and its gauges.
pub(crate) const fn house_right() -> OperatorScope {
    OperatorScope::grant()
}

/// The only place of the server where rights are stated.
#[allow(clippy::disallowed_methods, reason = "authentication is where scopes are made")]
const fn grant(tenant: TenantId, principal: Principal) -> Scope {
    Scope::grant(tenant, principal)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route that was forgotten in the layer still refuses.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}
