//! Whose memory a scope may read and write: one set of rules for every store.

use sid_types::{AgentId, Owner, Principal, Scope, TeamId, UserId};

/// Whether a scope may do something with an owner's memory. Besides, the owner must be there: nobody sees the memory of one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// It may not, and is told that there is nothing.
    No,
    /// It may.
    Yes,
    /// It may if the user is in the team and the agent, if one is named, may read the team's memory.
    InTeam {
        /// The agent of the turn.
        agent: Option<AgentId>,
        /// The person.
        user: UserId,
        /// The team.
        team: TeamId,
    },
}

impl Right {
    const fn when(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Reading: ARCHITECTURE.md, section 6.
    #[must_use]
    pub fn to_read(scope: &Scope, owner: Owner) -> Self {
        match (scope.principal(), owner) {
            (Principal::Tenant { .. }, _) | (_, Owner::Tenant) => Self::Yes,
            (Principal::User { user }, Owner::Team { team }) => Self::InTeam { agent: None, user, team },
            (Principal::User { user: me }, Owner::User { user } | Owner::Pair { user, .. }) => Self::when(me == user),
            (Principal::User { .. }, Owner::Agent { .. }) => Self::No,
            (Principal::Turn { agent, user: Some(user) }, Owner::Team { team }) => Self::InTeam { agent: Some(agent), user, team },
            (Principal::Turn { user: None, .. }, Owner::Team { .. }) => Self::No,
            (Principal::Turn { user: human, .. }, Owner::User { user }) => Self::when(human == Some(user)),
            (Principal::Turn { agent: me, .. }, Owner::Agent { agent }) => Self::when(me == agent),
            (Principal::Turn { agent: me, user: human }, Owner::Pair { agent, user }) => Self::when(me == agent && human == Some(user)),
        }
    }

    /// Writing: see [`ArchivalStore::upsert`](crate::ArchivalStore::upsert).
    #[must_use]
    pub fn to_write(scope: &Scope, owner: Owner) -> Self {
        match (scope.principal(), owner) {
            (Principal::Tenant { .. }, _) => Self::Yes,
            (Principal::User { user: me }, Owner::User { user } | Owner::Pair { user, .. }) => Self::when(me == user),
            (Principal::User { user }, Owner::Team { team }) => Self::InTeam { agent: None, user, team },
            (Principal::User { .. }, Owner::Agent { .. } | Owner::Tenant) => Self::No,
            (Principal::Turn { agent, user }, owner) => Self::when(owner == Owner::of_conversation(agent, user)),
        }
    }

    /// Reading the conversation of this agent and user; membership does not matter to it.
    #[must_use]
    pub fn to_conversation(scope: &Scope, agent: AgentId, user: Option<UserId>) -> bool {
        match scope.principal() {
            Principal::Tenant { .. } => true,
            Principal::User { user: me } => user == Some(me),
            Principal::Turn { agent: mine, user: human } => agent == mine && (user.is_none() || user == human),
        }
    }

    /// Reading items: what one assistant of a user keeps, all of the user's assistants read.
    #[must_use]
    pub fn to_read_item(scope: &Scope, owner: Owner) -> Self {
        match (scope.principal(), owner) {
            (Principal::Turn { user: Some(me), .. }, Owner::Pair { user, .. }) => Self::when(me == user),
            _ => Self::to_read(scope, owner),
        }
    }

    /// Writing items: a user's are written by all of the user's assistants, an assistant's by that one and by the user.
    #[must_use]
    pub fn to_write_item(scope: &Scope, owner: Owner) -> Self {
        match (scope.principal(), owner) {
            (Principal::Turn { user: Some(me), .. }, Owner::User { user }) => Self::when(me == user),
            _ => Self::to_write(scope, owner),
        }
    }

    /// Sharing items with others: the person whose they are, or the tenant's application; never an assistant.
    #[must_use]
    pub fn to_share(scope: &Scope, owner: Owner) -> bool {
        match scope.principal() {
            Principal::Tenant { .. } => true,
            Principal::User { user } => owner.user() == Some(user),
            Principal::Turn { .. } => false,
        }
    }
}
