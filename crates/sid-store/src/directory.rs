//! Tenants, teams, users, agents, conversations and keys: the admin side, which the loop never sees.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{
    Agent, AgentId, AgentSpec, ApiKey, Conversation, ConversationId, KeyId, Membership, OperatorScope, Scope, Team, TeamId, TeamRole,
    Tenant, TenantId, Timestamp, User, UserId,
};

use crate::StoreError;

/// Which part of a list to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// [`Page::next`] of the page before; `None` = the first page.
    pub after: Option<String>,
    /// Most items; stores cut it to 1..=1,000.
    pub limit: usize,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, newest first unless the method says otherwise.
    pub items: Vec<T>,
    /// Opaque: give it back to read on; `None` = there is nothing more.
    pub next: Option<String>,
}

/// How many levels teams have at most; a team that is no part of another is the first.
pub const MOST_TEAM_LEVELS: usize = 8;

/// A conversation to be opened.
#[derive(Debug, Clone)]
pub struct NewConversation {
    /// The agent.
    pub agent: AgentId,
    /// The human; `None` for autonomous work.
    pub user: Option<UserId>,
    /// The application's own name for it.
    pub key: Option<String>,
}

/// Names a conversation by the application's own key.
pub type ConversationKey = NewConversation;

/// The directory. Tenant principals read and write all of their tenant; user principals read their tenant's agents, themselves, those
/// who are in a team with them (`user` and `user_by_handle`; lists show nobody else), their teams, and open, read and list their own conversations; anything else is `NotFound`.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Makes a tenant. Errors: `Exists`.
    async fn create_tenant(&self, operator: &OperatorScope, name: &str) -> Result<Tenant, StoreError>;
    /// All tenants, oldest first.
    async fn tenants(&self, operator: &OperatorScope) -> Result<Vec<Tenant>, StoreError>;

    /// The tenant with this name or id. Authentication's own call.
    async fn find_tenant(&self, operator: &OperatorScope, name_or_id: &str) -> Result<Option<Tenant>, StoreError>;

    /// Stores a key (already hashed).
    async fn put_key(&self, operator: &OperatorScope, key: ApiKey) -> Result<(), StoreError>;
    /// The key with this hash, revoked or expired ones too. Authentication's own call.
    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>, StoreError>;
    /// All keys, oldest first, of one tenant or of all.
    async fn keys(&self, operator: &OperatorScope, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError>;
    /// Lets a key end at `at`, or when it ends already if that is sooner: another key takes its place.
    async fn expire_key(&self, operator: &OperatorScope, key: KeyId, at: Timestamp) -> Result<ApiKey, StoreError>;
    /// Revokes a key; again changes nothing.
    async fn revoke_key(&self, operator: &OperatorScope, key: KeyId) -> Result<ApiKey, StoreError>;

    /// Makes a user. Errors: `Exists` (handle).
    async fn create_user(&self, scope: &Scope, user: User) -> Result<User, StoreError>;
    /// Changes display name and time zone.
    async fn update_user(&self, scope: &Scope, user: User) -> Result<User, StoreError>;
    /// One user.
    async fn user(&self, scope: &Scope, user: UserId) -> Result<User, StoreError>;
    /// The user with this handle.
    async fn user_by_handle(&self, scope: &Scope, handle: &str) -> Result<User, StoreError>;
    /// Users, oldest first.
    async fn users(&self, scope: &Scope, page: PageRequest) -> Result<Page<User>, StoreError>;

    /// Makes a team. Errors: `Exists` (name), `NotFound` (parent), `Invalid` (more than eight levels).
    async fn create_team(&self, scope: &Scope, team: Team) -> Result<Team, StoreError>;
    /// One team.
    async fn team(&self, scope: &Scope, team: TeamId) -> Result<Team, StoreError>;
    /// All teams that the scope sees, by name.
    async fn teams(&self, scope: &Scope) -> Result<Vec<Team>, StoreError>;
    /// Members of a team and of its parts, by handle.
    async fn team_members(&self, scope: &Scope, team: TeamId) -> Result<Vec<Membership>, StoreError>;
    /// The teams that a user is in, by name: those it was put in, and those that these are parts of.
    async fn user_teams(&self, scope: &Scope, user: UserId) -> Result<Vec<Membership>, StoreError>;
    /// Adds a user, changes the role, or (`None`) removes the user; again changes nothing. In force for the very next search.
    ///
    /// Who is in a part of the team stays in it through that part.
    async fn set_team_member(&self, scope: &Scope, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<(), StoreError>;

    /// Makes an agent; it may read its teams and those that they are parts of. Errors: `Exists` (name), `NotFound` (team).
    async fn create_agent(&self, scope: &Scope, id: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError>;
    /// Changes an agent. Its conversations render their prompt's head anew at the next turn.
    async fn update_agent(&self, scope: &Scope, agent: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError>;
    /// One agent.
    async fn agent(&self, scope: &Scope, agent: AgentId) -> Result<Agent, StoreError>;
    /// The agent with this name.
    async fn agent_by_name(&self, scope: &Scope, name: &str) -> Result<Agent, StoreError>;
    /// Agents, oldest first.
    async fn agents(&self, scope: &Scope, page: PageRequest) -> Result<Page<Agent>, StoreError>;

    /// Opens a conversation. With a key that exists for this agent and user, answers that one; the `bool` says whether it is new.
    async fn open_conversation(&self, scope: &Scope, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool), StoreError>;
    /// One conversation.
    async fn conversation(&self, scope: &Scope, conversation: ConversationId) -> Result<Conversation, StoreError>;
    /// Conversations, newest first, of one agent, one user, or all that the scope sees.
    async fn conversations(
        &self,
        scope: &Scope,
        agent: Option<AgentId>,
        user: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError>;
}
