//! Owners of memory on the wire.

use serde::{Deserialize, Serialize};
use sid_types::{AgentId, Owner, TeamId, UserId};
use utoipa::ToSchema;

use crate::api::names::Names;
use crate::error::ApiError;

/// What kind of owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnerType {
    /// Everybody in the tenant.
    Tenant,
    /// Members of `team`.
    Team,
    /// `user`, through every agent.
    User,
    /// Every user of `agent`.
    Agent,
    /// What `agent` knows of `user`.
    Pair,
}

/// Whose memory it is. `team`, `user` and `agent` are ids or `@name`s.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerJson {
    /// What kind of owner.
    pub(crate) r#type: OwnerType,
    /// For `team`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) team: Option<String>,
    /// For `user` and `pair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// For `agent` and `pair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
}

impl OwnerJson {
    /// Looks the names up.
    pub(crate) async fn resolve(&self, names: &Names<'_>) -> Result<Owner, ApiError> {
        let missing = |field: &str| ApiError::bad_request(format!("an owner of this type needs `{field}`"));
        let extra = |field: &str| ApiError::bad_request(format!("an owner of this type has no `{field}`"));
        let (needs_team, needs_user, needs_agent) = match self.r#type {
            OwnerType::Tenant => (false, false, false),
            OwnerType::Team => (true, false, false),
            OwnerType::User => (false, true, false),
            OwnerType::Agent => (false, false, true),
            OwnerType::Pair => (false, true, true),
        };
        for (needed, given, field) in
            [(needs_team, &self.team, "team"), (needs_user, &self.user, "user"), (needs_agent, &self.agent, "agent")]
        {
            match (needed, given) {
                (true, None) => return Err(missing(field)),
                (false, Some(_)) => return Err(extra(field)),
                _ => {}
            }
        }
        let team = self.team.as_deref().unwrap_or_default();
        let user = self.user.as_deref().unwrap_or_default();
        let agent = self.agent.as_deref().unwrap_or_default();
        Ok(match self.r#type {
            OwnerType::Tenant => Owner::Tenant,
            OwnerType::Team => Owner::Team { team: names.team(team).await? },
            OwnerType::User => Owner::User { user: names.user(user).await? },
            OwnerType::Agent => Owner::Agent { agent: names.agent(agent).await? },
            OwnerType::Pair => Owner::Pair { agent: names.agent(agent).await?, user: names.user(user).await? },
        })
    }
}

impl From<Owner> for OwnerJson {
    fn from(owner: Owner) -> Self {
        let of = |r#type, team: Option<TeamId>, user: Option<UserId>, agent: Option<AgentId>| Self {
            r#type,
            team: team.map(|t| t.to_string()),
            user: user.map(|u| u.to_string()),
            agent: agent.map(|a| a.to_string()),
        };
        match owner {
            Owner::Tenant => of(OwnerType::Tenant, None, None, None),
            Owner::Team { team } => of(OwnerType::Team, Some(team), None, None),
            Owner::User { user } => of(OwnerType::User, None, Some(user), None),
            Owner::Agent { agent } => of(OwnerType::Agent, None, None, Some(agent)),
            Owner::Pair { agent, user } => of(OwnerType::Pair, None, Some(user), Some(agent)),
        }
    }
}
