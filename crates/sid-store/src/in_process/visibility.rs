//! Who sees and who writes whose memory, by the rules of [`Right`].

use std::collections::BTreeSet;

use sid_types::{AgentId, BlockAccess, BlockId, Owner, Scope, TeamId, UserId};

use super::room::{BlockRow, Room};
use crate::Right;

impl Room {
    fn exists(&self, owner: Owner) -> bool {
        match owner {
            Owner::Tenant => true,
            Owner::Team { team } => self.teams.contains_key(&team),
            Owner::User { user } => self.users.contains_key(&user),
            Owner::Agent { agent } => self.agents.contains_key(&agent),
            Owner::Pair { agent, user } => self.agents.contains_key(&agent) && self.users.contains_key(&user),
        }
    }

    /// Teams that the user is in and the agent may read.
    pub(super) fn turn_teams(&self, agent: AgentId, user: Option<UserId>) -> BTreeSet<TeamId> {
        let Some(user) = user else { return BTreeSet::new() };
        self.agent_teams(agent).into_iter().filter(|team| self.role_in(*team, user).is_some()).collect()
    }

    /// Whether the scope may read the owner's memory. Nobody sees the memory of an owner that is not there.
    pub(super) fn sees(&self, scope: &Scope, owner: Owner) -> bool {
        self.has(Right::to_read(scope, owner), owner)
    }

    /// Whether the scope may write the owner's memory.
    pub(super) fn writes(&self, scope: &Scope, owner: Owner) -> bool {
        self.has(Right::to_write(scope, owner), owner)
    }

    pub(super) fn has(&self, right: Right, owner: Owner) -> bool {
        let may = match right {
            Right::No => false,
            Right::Yes => true,
            Right::InTeam { agent: Some(agent), user, team } => self.turn_teams(agent, Some(user)).contains(&team),
            Right::InTeam { agent: None, user, team } => self.role_in(team, user).is_some(),
        };
        may && self.exists(owner)
    }

    /// What a turn may do with a block, if it sees it at all.
    ///
    /// Pairs write their own blocks, an agent alone the agent's; both read the others that they see. A link to the agent raises that to what it says, and shows
    /// blocks of *other* agents; but what belongs to a user or a team is never shown to a turn of somebody else.
    pub(super) fn turn_access(&self, agent: AgentId, user: Option<UserId>, row: &BlockRow) -> Option<BlockAccess> {
        let linked = self.link(row.block.id, agent);
        match row.block.owner {
            Owner::Pair { agent: a, user: u } if a == agent && Some(u) == user => Some(BlockAccess::Write),
            Owner::Agent { agent: a } if a == agent && user.is_none() => Some(BlockAccess::Write),
            Owner::Pair { user: u, .. } => linked.filter(|_| Some(u) == user),
            Owner::Agent { agent: a } if a != agent => linked,
            Owner::User { user: u } if Some(u) != user => None,
            Owner::Team { team } if !self.turn_teams(agent, user).contains(&team) => None,
            Owner::Agent { .. } | Owner::User { .. } | Owner::Team { .. } | Owner::Tenant => Some(linked.unwrap_or(BlockAccess::Read)),
        }
    }

    fn link(&self, block: BlockId, agent: AgentId) -> Option<BlockAccess> {
        self.links.get(&(block, agent)).copied()
    }
}
