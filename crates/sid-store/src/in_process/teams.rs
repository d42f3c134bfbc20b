//! Teams: who is in them, and what follows from that for the teams that they are parts of.

use std::collections::BTreeSet;

use sid_types::{AgentId, Membership, Owner, Principal, Scope, Team, TeamId, TeamRole, UserId};

use super::directory::check_name;
use super::missing;
use super::room::Room;
use crate::{MOST_TEAM_LEVELS, StoreError};

impl Room {
    pub(super) fn make_team(&mut self, team: Team) -> Result<Team, StoreError> {
        if let Some(known) = self.teams.get(&team.id).filter(|known| known.name == team.name) {
            return Ok(known.clone());
        }
        check_name("team", &team.name, self.teams.values().map(|t| t.name.as_str()))?;
        if let Some(parent) = team.parent {
            if !self.teams.contains_key(&parent) {
                return Err(missing("team"));
            }
            if self.lineage(parent).len() >= MOST_TEAM_LEVELS {
                return Err(StoreError::Invalid(format!("teams have at most {MOST_TEAM_LEVELS} levels")));
            }
        }
        self.teams.insert(team.id, team.clone());
        Ok(team)
    }

    pub(super) fn set_member(&mut self, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<(), StoreError> {
        if !self.teams.contains_key(&team) {
            return Err(missing("team"));
        }
        if !self.users.contains_key(&user) {
            return Err(missing("user"));
        }
        let before = match role {
            Some(role) => self.members.insert((team, user), role),
            None => self.members.remove(&(team, user)),
        };
        if before != role {
            self.render_anew(|c| c.user == Some(user));
        }
        Ok(())
    }

    /// A team and those that it is a part of, from the inside out.
    fn lineage(&self, team: TeamId) -> Vec<TeamId> {
        std::iter::successors(Some(team), |team| self.teams.get(team)?.parent).collect()
    }

    /// What a user is in a team: the highest role that was given, there or in a part of it.
    pub(super) fn role_in(&self, team: TeamId, user: UserId) -> Option<TeamRole> {
        let given = self.members.iter().filter(|((_, member), _)| *member == user);
        given.filter(|((of, _), _)| self.lineage(*of).contains(&team)).map(|(_, role)| *role).max()
    }

    /// Teams whose memory an agent may read.
    pub(super) fn agent_teams(&self, agent: AgentId) -> BTreeSet<TeamId> {
        self.agents.get(&agent).into_iter().flat_map(|a| &a.teams).flat_map(|team| self.lineage(*team)).collect()
    }

    pub(super) fn membership(&self, team: TeamId, user: UserId) -> Option<Membership> {
        let role = self.role_in(team, user)?;
        let is_direct = self.members.contains_key(&(team, user));
        Some(Membership { team: self.teams.get(&team)?.clone(), user: self.users.get(&user)?.clone(), role, is_direct })
    }

    pub(super) fn seen_team(&self, scope: &Scope, team: TeamId) -> Result<&Team, StoreError> {
        self.teams.get(&team).filter(|_| self.sees(scope, Owner::Team { team })).ok_or(missing("team"))
    }

    /// Whether the scope may know of a user: the application of all, people of those who are in a team with them, a turn of its human.
    pub(super) fn knows(&self, scope: &Scope, user: UserId) -> bool {
        match scope.principal() {
            Principal::Tenant { .. } => true,
            Principal::User { user: me } => {
                me == user || self.teams.keys().any(|team| self.role_in(*team, me).is_some() && self.role_in(*team, user).is_some())
            }
            Principal::Turn { user: human, .. } => human == Some(user),
        }
    }
}
