//! Rows of users, teams, agents and keys.

use sid_store::{MOST_TEAM_LEVELS, StoreError};
use sid_types::{Agent, AgentId, ApiKey, KeyRole, Membership, Team, TeamId, TeamRole, User, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, Id, from_word};
use crate::error::{Result, damaged, missing};
use crate::writer::Tx;

pub(crate) const USER: &str = "u.id, u.handle, u.display_name, u.timezone, u.created_at, u.quiet_hours";

pub(super) fn user(row: &SqliteRow) -> Result<User> {
    user_at(row, 0)
}

/// A user from six columns, [`USER`], from `at` on.
pub(crate) fn user_at(row: &SqliteRow, at: usize) -> Result<User> {
    let (id, handle, display_name) = (row.id(at)?, row.text(at + 1)?, row.text(at + 2)?);
    let quiet_hours = row.maybe_text(at + 5)?.map(|hours| hours.parse().map_err(|e| damaged(format!("user {id}: {e}")))).transpose()?;
    Ok(User { id, handle, display_name, timezone: row.maybe_text(at + 3)?, quiet_hours, created_at: row.time(at + 4)? })
}

pub(crate) async fn find_user(conn: &mut SqliteConnection, tenant: i64, id: UserId) -> Result<Option<User>> {
    let sql = format!("SELECT {USER} FROM users u WHERE u.tenant = ? AND u.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    row.as_ref().map(user).transpose()
}

/// The columns of [`team`], of table `t`.
pub(crate) const TEAM: &str = "t.id, t.name, t.created_at, t.parent";

/// A team from a row that begins with [`TEAM`].
pub(crate) fn team(row: &SqliteRow) -> Result<Team> {
    Ok(Team { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)?, parent: row.maybe_id(3)? })
}

pub(super) const fn role_number(role: TeamRole) -> i64 {
    match role {
        TeamRole::Member => 0,
        TeamRole::Lead => 1,
    }
}

/// Memberships, from rows of [`TEAM`], [`USER`], the role and whether it was given in this very team.
pub(super) fn membership(row: &SqliteRow) -> Result<Membership> {
    let role = match row.int(10)? {
        0 => TeamRole::Member,
        1 => TeamRole::Lead,
        other => return Err(damaged(format!("a user is in a team with role {other}")).into()),
    };
    Ok(Membership { team: team(row)?, user: user_at(row, 4)?, role, is_direct: row.flag(11)? })
}

pub(super) async fn find_team(conn: &mut SqliteConnection, tenant: i64, id: TeamId) -> Result<Option<Team>> {
    let sql = format!("SELECT {TEAM} FROM teams t WHERE t.tenant = ? AND t.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    row.as_ref().map(team).transpose()
}

/// Fails if a team cannot be a part of this one. Errors: `NotFound` (team), `Invalid` (too many levels).
pub(super) async fn check_whole(conn: &mut SqliteConnection, tenant: i64, whole: TeamId) -> Result<()> {
    let row = sqlx::query(
        "WITH RECURSIVE above (parent) AS (
            SELECT parent FROM teams WHERE tenant = ?1 AND id = ?2
            UNION ALL SELECT t.parent FROM above CROSS JOIN teams t ON t.tenant = ?1 AND t.id = above.parent)
         SELECT count(*) FROM above",
    )
    .bind(tenant)
    .bind(whole.blob())
    .fetch_one(conn)
    .await?;
    match row.int(0)? {
        0 => Err(missing("team").into()),
        levels if levels >= MOST_TEAM_LEVELS as i64 => {
            Err(StoreError::Invalid(format!("teams have at most {MOST_TEAM_LEVELS} levels")).into())
        }
        _ => Ok(()),
    }
}

/// Gives a user a role in a team, or takes it; answers whether that changes anything.
pub(super) async fn set_member(tx: &mut Tx, tenant: i64, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<bool> {
    let known = sqlx::query("SELECT given FROM team_members WHERE tenant = ? AND user = ? AND team = ?");
    let known = known.bind(tenant).bind(user.blob()).bind(team.blob()).fetch_optional(&mut tx.conn).await?;
    let given = role.map(role_number);
    if known.map_or(Ok(None), |row| row.maybe_int(0))? == given {
        return Ok(false);
    }
    // What was given is changed first; the rest follows from it.
    sqlx::query(
        "INSERT INTO team_members (tenant, user, team, given) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, user, team) DO UPDATE SET given = excluded.given",
    )
    .bind(tenant)
    .bind(user.blob())
    .bind(team.blob())
    .bind(given)
    .execute(&mut tx.conn)
    .await?;
    sqlx::query(
        "DELETE FROM team_members WHERE tenant = ?1 AND user = ?2 AND given IS NULL;
         WITH RECURSIVE line (team, role) AS (
            SELECT team, given FROM team_members WHERE tenant = ?1 AND user = ?2
            UNION SELECT t.parent, line.role FROM line CROSS JOIN teams t ON t.tenant = ?1 AND t.id = line.team WHERE t.parent IS NOT NULL)
         INSERT INTO team_members (tenant, user, team, given, role) SELECT ?1, ?2, team, NULL, max(role) FROM line WHERE true GROUP BY team
         ON CONFLICT (tenant, user, team) DO UPDATE SET role = excluded.role",
    )
    .bind(tenant)
    .bind(user.blob())
    .execute(&mut tx.conn)
    .await?;
    Ok(true)
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

/// Teams that the agent may read, and those that they are parts of, as rows. Errors: `NotFound` (team).
pub(super) async fn set_teams(tx: &mut Tx, tenant: i64, agent: &Agent) -> Result<()> {
    sqlx::query("DELETE FROM agent_teams WHERE tenant = ? AND agent = ?").bind(tenant).bind(agent.id.blob()).execute(&mut tx.conn).await?;
    for team in &agent.teams {
        find_team(&mut tx.conn, tenant, *team).await?.ok_or(missing("team"))?;
        sqlx::query(
            "WITH RECURSIVE line (team) AS (
                VALUES (?3)
                UNION SELECT t.parent FROM line CROSS JOIN teams t ON t.tenant = ?1 AND t.id = line.team WHERE t.parent IS NOT NULL)
             INSERT OR IGNORE INTO agent_teams (tenant, agent, team) SELECT ?1, ?2, team FROM line",
        )
        .bind(tenant)
        .bind(agent.id.blob())
        .bind(team.blob())
        .execute(&mut tx.conn)
        .await?;
    }
    Ok(())
}

/// The columns of [`key`].
pub(super) const KEY: &str = "id, name, role, hash, created_at, expires_at, revoked_at, access, scopes";

pub(super) fn key(row: &SqliteRow) -> Result<ApiKey> {
    let role: KeyRole = row.json(2)?;
    Ok(ApiKey {
        id: row.id(0)?,
        name: row.text(1)?,
        role,
        access: row.maybe_text(7)?.map_or(Ok(role.usual_access()), |word| from_word(&word))?,
        scopes: if row.maybe_text(8)?.is_some() { row.json(8)? } else { None },
        hash: row.text(3)?,
        created_at: row.time(4)?,
        expires_at: row.maybe_time(5)?,
        revoked_at: row.maybe_time(6)?,
    })
}
