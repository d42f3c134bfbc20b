//! Rows of users, teams, agents and keys.

use sid_store::{MOST_TEAM_LEVELS, StoreError};
use sid_types::{Agent, AgentId, ApiKey, KeyRole, Membership, Team, TeamId, TeamRole, User, UserId};
use sqlx::postgres::PgRow;

use crate::codec::{Columns, from_word, to_json};
use crate::error::{Result, damaged, missing};
use crate::rows::team_role;
use crate::tx::Tx;

pub(super) const USER: &str = "u.id, u.handle, u.display_name, u.timezone, u.created_at, u.quiet_hours";

pub(super) fn user(row: &PgRow) -> Result<User> {
    user_at(row, 0)
}

/// A user from six columns, [`USER`], from `at` on.
fn user_at(row: &PgRow, at: usize) -> Result<User> {
    let (id, handle, display_name) = (row.id(at)?, row.text(at + 1)?, row.text(at + 2)?);
    let quiet_hours = row.maybe_text(at + 5)?.map(|hours| hours.parse().map_err(|e| damaged(format!("user {id}: {e}")))).transpose()?;
    Ok(User { id, handle, display_name, timezone: row.maybe_text(at + 3)?, quiet_hours, created_at: row.time(at + 4)? })
}

pub(crate) async fn find_user(tx: &mut Tx, id: UserId) -> Result<Option<User>> {
    let query = tx.query_of(format!("SELECT {USER} FROM sid.users u WHERE u.tenant = $1 AND u.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(user).transpose()
}

/// The columns of [`team`], of table `t`.
pub(super) const TEAM: &str = "t.id, t.name, t.created_at, t.parent";

/// A team from a row that begins with [`TEAM`].
pub(super) fn team(row: &PgRow) -> Result<Team> {
    Ok(Team { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)?, parent: row.maybe_id(3)? })
}

pub(super) async fn find_team(tx: &mut Tx, id: TeamId) -> Result<Option<Team>> {
    let query = tx.query_of(format!("SELECT {TEAM} FROM sid.teams t WHERE t.tenant = $1 AND t.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(team).transpose()
}

/// Memberships `m` with their team `t` and user `u`: the columns of [`membership`].
pub(super) const MEMBERSHIPS: &str =
    "SELECT t.id, t.name, t.created_at, t.parent, u.id, u.handle, u.display_name, u.timezone, u.created_at, u.quiet_hours, m.role, m.given IS NOT NULL
     FROM sid.team_members m JOIN sid.users u ON u.tenant = m.tenant AND u.id = m.user_id
     JOIN sid.teams t ON t.tenant = m.tenant AND t.id = m.team_id";

const fn role_number(role: TeamRole) -> i16 {
    match role {
        TeamRole::Member => 0,
        TeamRole::Lead => 1,
    }
}

pub(super) fn membership(row: &PgRow) -> Result<Membership> {
    Ok(Membership { team: team(row)?, user: user_at(row, 4)?, role: team_role(row.small(10)?)?, is_direct: row.flag(11)? })
}

/// Fails if a team cannot be a part of this one. Errors: `NotFound` (team), `Invalid` (too many levels).
pub(super) async fn check_whole(tx: &mut Tx, whole: TeamId) -> Result<()> {
    let query = tx.query(
        "WITH RECURSIVE above (parent) AS (
            SELECT t.parent FROM sid.teams t WHERE t.tenant = $1 AND t.id = $2
            UNION ALL SELECT t.parent FROM above JOIN sid.teams t ON t.tenant = $1 AND t.id = above.parent)
         SELECT count(*) FROM above",
    );
    match query.bind(tx.tenant).bind(whole.uuid()).fetch_one(tx.conn()).await?.count(0)? {
        0 => Err(missing("team").into()),
        levels if levels >= MOST_TEAM_LEVELS as u64 => {
            Err(StoreError::Invalid(format!("teams have at most {MOST_TEAM_LEVELS} levels")).into())
        }
        _ => Ok(()),
    }
}

/// Gives a user a role in a team, or takes it; answers whether that changes anything. What follows for the teams above is the schema's
/// business (`sid.follow_membership`).
pub(super) async fn set_member(tx: &mut Tx, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<bool> {
    let given = role.map(role_number);
    let query = tx.query("SELECT given FROM sid.team_members WHERE tenant = $1 AND user_id = $2 AND team_id = $3");
    let known = query.bind(tx.tenant).bind(user.uuid()).bind(team.uuid()).fetch_optional(tx.conn()).await?;
    if known.as_ref().map_or(Ok(None), |row| row.maybe_small(0))? == given {
        return Ok(false);
    }
    let query = tx.query(
        "INSERT INTO sid.team_members (tenant, user_id, team_id, given) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, user_id, team_id) DO UPDATE SET given = excluded.given",
    );
    query.bind(tx.tenant).bind(user.uuid()).bind(team.uuid()).bind(given).execute(tx.conn()).await?;
    Ok(true)
}

pub(crate) const AGENT: &str = "a.id, a.spec, a.teams, a.created_at, a.updated_at";

pub(crate) fn agent(row: &PgRow) -> Result<Agent> {
    Ok(Agent { id: row.id(0)?, spec: row.json(1)?, teams: row.json(2)?, created_at: row.time(3)?, updated_at: row.time(4)? })
}

pub(crate) async fn find_agent(tx: &mut Tx, id: AgentId) -> Result<Option<Agent>> {
    let query = tx.query_of(format!("SELECT {AGENT} FROM sid.agents a WHERE a.tenant = $1 AND a.id = $2"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(agent).transpose()
}

/// Teams that the agent may read, as rows; those that they are parts of follow (`sid.follow_agent_team`). Errors: `NotFound` (team).
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
