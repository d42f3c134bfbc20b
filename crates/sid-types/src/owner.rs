//! Whose memory a record is.

use serde::{Deserialize, Serialize};

use crate::{AgentId, TeamId, UserId};

/// The owner of a block, a passage or a conversation's recall memory, inside one tenant.
///
/// An owner is also a *memory partition*: search runs inside partitions, never across tenants. Source: ARCHITECTURE §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Owner {
    /// Everybody in the tenant reads it.
    Tenant,
    /// Members of the team read it, through agents that may read the team.
    Team {
        /// The team.
        team: TeamId,
    },
    /// The user reads it through every agent.
    User {
        /// The user.
        user: UserId,
    },
    /// Every user of the agent reads it; also the recall memory of conversations without a human.
    Agent {
        /// The agent.
        agent: AgentId,
    },
    /// What one agent knows of one user: the usual owner of recall memory.
    Pair {
        /// The agent.
        agent: AgentId,
        /// The user.
        user: UserId,
    },
}

impl Owner {
    /// The owner of a conversation's messages and diary.
    #[must_use]
    pub const fn of_conversation(agent: AgentId, user: Option<UserId>) -> Self {
        match user {
            Some(user) => Self::Pair { agent, user },
            None => Self::Agent { agent },
        }
    }

    /// The user whose erasure takes this record along, if it is one user's.
    #[must_use]
    pub const fn user(&self) -> Option<UserId> {
        match self {
            Self::User { user } | Self::Pair { user, .. } => Some(*user),
            _ => None,
        }
    }

    /// Whether no other user may ever see it.
    #[must_use]
    pub const fn is_private_to_a_user(&self) -> bool {
        self.user().is_some()
    }
}
