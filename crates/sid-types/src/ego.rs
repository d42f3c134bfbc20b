//! Egos: several agents that meet people as one.

use serde::{Deserialize, Serialize};

use crate::{AgentId, BlockTemplate, Timestamp};

named! {
    /// Whose memory an ego's blocks are.
    EgoMemory {
        /// Each user has blocks of her own.
        PerUser = "per_user",
        /// All users share them.
        Shared = "shared",
    }
}

/// An ego as it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgoSpec {
    /// The agent that people speak with.
    pub spokesperson: AgentId,
    /// The others, who speak with people through the spokesperson only; never the spokesperson itself, each once.
    pub members: Vec<AgentId>,
    /// Whose memory its blocks are.
    pub memory: EgoMemory,
    /// Blocks that the spokesperson and all members read and write.
    #[serde(default)]
    pub blocks: Vec<BlockTemplate>,
}

impl EgoSpec {
    /// The spokesperson and the members.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> + '_ {
        std::iter::once(self.spokesperson).chain(self.members.iter().copied())
    }

    /// Whether this agent is one of them.
    #[must_use]
    pub fn has(&self, agent: AgentId) -> bool {
        self.agents().any(|id| id == agent)
    }
}

/// An ego of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ego {
    /// Unique inside the tenant; also its model name at the OpenAI door.
    pub name: String,
    /// What was put.
    #[serde(flatten)]
    pub spec: EgoSpec,
    /// Counts the puts, from 1.
    pub version: u64,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When it was last put.
    pub updated_at: Timestamp,
}

/// Begins the keys of conversations with egos.
const KEY: &str = "ego:";

impl Ego {
    /// The key of a user's conversation with an ego. `key`: the application's own name for it.
    #[must_use]
    pub fn key_of(name: &str, key: &str) -> String {
        format!("{KEY}{name}:{key}")
    }

    /// The ego that a conversation with this key is held with. Names of egos have no colons.
    ///
    /// ```
    /// # use sid_types::Ego;
    /// assert_eq!(Ego::named_in(Some(&Ego::key_of("desk", "default"))), Some("desk"));
    /// assert_eq!(Ego::named_in(Some("default")), None);
    /// ```
    #[must_use]
    pub fn named_in(key: Option<&str>) -> Option<&str> {
        key?.strip_prefix(KEY)?.split(':').next().filter(|name| !name.is_empty())
    }
}
