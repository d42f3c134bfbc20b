//! Rows of users, teams, agents and keys.

use sid_types::{Agent, AgentId, ApiKey, Team, TeamId, User, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, Id};
use crate::error::{Result, missing};
use crate::writer::Tx;

pub(crate) const USER: &str = "u.id, u.handle, u.display_name, u.timezone, u.created_at";

pub(super) fn user(row: &SqliteRow) -> Result<User> {
    user_at(row, 0)
}

/// A user from five columns, [`USER`], from `at` on.
pub(crate) fn user_at(row: &SqliteRow, at: usize) -> Result<User> {
    let (id, handle, display_name) = (row.id(at)?, row.text(at + 1)?, row.text(at + 2)?);
    Ok(User { id, handle, display_name, timezone: row.maybe_text(at + 3)?, created_at: row.time(at + 4)? })
}

pub(crate) async fn find_user(conn: &mut SqliteConnection, tenant: i64, id: UserId) -> Result<Option<User>> {
    let sql = format!("SELECT {USER} FROM users u WHERE u.tenant = ? AND u.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    row.as_ref().map(user).transpose()
}

/// A team from a row of `id, name, created_at`.
pub(crate) fn team(row: &SqliteRow) -> Result<Team> {
    Ok(Team { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)? })
}

pub(super) async fn find_team(conn: &mut SqliteConnection, tenant: i64, id: TeamId) -> Result<Option<Team>> {
    let row = sqlx::query("SELECT id, name, created_at FROM teams WHERE tenant = ? AND id = ?")
        .bind(tenant)
        .bind(id.blob())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(team).transpose()
}

pub(crate) const AGENT: &str = "a.id, a.spec, a.teams, a.created_at, a.updated_at";

pub(super) fn agent(row: &SqliteRow) -> Result<Agent> {
    agent_at(row, 0)
}

/// An agent from five columns, [`AGENT`], from `at` on.
pub(crate) fn agent_at(row: &SqliteRow, at: usize) -> Result<Agent> {
    let (id, spec, teams) = (row.id(at)?, row.json(at + 1)?, row.json(at + 2)?);
    Ok(Agent { id, spec, teams, created_at: row.time(at + 3)?, updated_at: row.time(at + 4)? })
}

pub(crate) async fn find_agent(conn: &mut SqliteConnection, tenant: i64, id: AgentId) -> Result<Option<Agent>> {
    let sql = format!("SELECT {AGENT} FROM agents a WHERE a.tenant = ? AND a.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    row.as_ref().map(agent).transpose()
}

/// Teams that the agent may read, as rows. Errors: `NotFound` (team).
pub(super) async fn set_teams(tx: &mut Tx, tenant: i64, agent: &Agent) -> Result<()> {
    sqlx::query("DELETE FROM agent_teams WHERE tenant = ? AND agent = ?").bind(tenant).bind(agent.id.blob()).execute(&mut tx.conn).await?;
    for team in &agent.teams {
        find_team(&mut tx.conn, tenant, *team).await?.ok_or(missing("team"))?;
        sqlx::query("INSERT OR IGNORE INTO agent_teams (tenant, agent, team) VALUES (?, ?, ?)")
            .bind(tenant)
            .bind(agent.id.blob())
            .bind(team.blob())
            .execute(&mut tx.conn)
            .await?;
    }
    Ok(())
}

pub(super) fn key(row: &SqliteRow) -> Result<ApiKey> {
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
