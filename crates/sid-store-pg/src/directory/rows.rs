//! Rows of users, teams, agents and keys.

use sid_types::{Agent, AgentId, ApiKey, Team, TeamId, User, UserId};
use sqlx::postgres::PgRow;

use crate::codec::{Columns, to_json};
use crate::error::{Result, missing};
use crate::tx::Tx;

pub(super) const USER: &str = "u.id, u.handle, u.display_name, u.timezone, u.created_at";

pub(super) fn user(row: &PgRow) -> Result<User> {
    Ok(User { id: row.id(0)?, handle: row.text(1)?, display_name: row.text(2)?, timezone: row.maybe_text(3)?, created_at: row.time(4)? })
}

pub(crate) async fn find_user(tx: &mut Tx, id: UserId) -> Result<Option<User>> {
    let query = tx.query_of(format!("SELECT {USER} FROM sid.users u WHERE u.tenant = $1 AND u.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(user).transpose()
}

/// A team from a row of `id, name, created_at`.
pub(super) fn team(row: &PgRow) -> Result<Team> {
    Ok(Team { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)? })
}

pub(super) async fn find_team(tx: &mut Tx, id: TeamId) -> Result<Option<Team>> {
    let query = tx.query("SELECT id, name, created_at FROM sid.teams WHERE tenant = $1 AND id = $2");
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(team).transpose()
}

pub(super) const AGENT: &str = "a.id, a.spec, a.teams, a.created_at, a.updated_at";

pub(super) fn agent(row: &PgRow) -> Result<Agent> {
    Ok(Agent { id: row.id(0)?, spec: row.json(1)?, teams: row.json(2)?, created_at: row.time(3)?, updated_at: row.time(4)? })
}

pub(crate) async fn find_agent(tx: &mut Tx, id: AgentId) -> Result<Option<Agent>> {
    let query = tx.query_of(format!("SELECT {AGENT} FROM sid.agents a WHERE a.tenant = $1 AND a.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(agent).transpose()
}

/// Teams that the agent may read, as rows. Errors: `NotFound` (team).
pub(super) async fn set_teams(tx: &mut Tx, agent: &Agent) -> Result<()> {
    let query = tx.query("DELETE FROM sid.agent_teams WHERE tenant = $1 AND agent_id = $2");
    query.bind(tx.tenant).bind(agent.id.uuid()).execute(tx.conn()).await?;
    for team in &agent.teams {
        find_team(tx, *team).await?.ok_or(missing("team"))?;
        let query = tx.query("INSERT INTO sid.agent_teams (tenant, agent_id, team_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        query.bind(tx.tenant).bind(agent.id.uuid()).bind(team.uuid()).execute(tx.conn()).await?;
    }
    Ok(())
}

/// An agent's columns, in the order of `sid.agents` after the id.
pub(super) fn documents(agent: &Agent) -> Result<(String, String)> {
    Ok((to_json(&agent.spec)?, to_json(&agent.teams)?))
}

pub(super) fn key(row: &PgRow) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.id(0)?,
        name: row.text(1)?,
        role: row.json(2)?,
        hash: row.text(3)?,
        created_at: row.time(4)?,
        expires_at: row.maybe_time(5)?,
        revoked_at: row.maybe_time(6)?,
    })
}
