//! `Directory`: tenants, keys, users, teams, agents, conversations.

mod conversations;
mod rows;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{Directory, NewConversation, Page, PageRequest, StoreError};
use sid_types::{
    Agent, AgentId, AgentSpec, ApiKey, Conversation, ConversationId, KeyId, Membership, OperatorScope, Owner, Principal, Scope, Team,
    TeamId, TeamRole, Tenant, TenantId, Timestamp, User, UserId,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json, word};
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::visibility::{Conv, Viewer, render_anew};
use crate::writer::Tx;

pub(crate) use conversations::conversation;
pub(crate) use rows::{AGENT, USER, agent_at, find_agent, find_user, user_at};
use rows::{KEY, TEAM, agent, check_whole, find_team, key, membership, set_member, set_teams, team, user};

#[async_trait]
impl Directory for SqliteStore {
    async fn create_tenant(&self, _operator: &OperatorScope, name: &str) -> Result<Tenant, StoreError> {
        check_name("tenant", name)?;
        let name = name.to_owned();
        self.write(move |tx| {
            async move {
                let tenant = Tenant { id: TenantId::new(), name, created_at: tx.now };
                sqlx::query("INSERT INTO tenants (id, name, created_at) VALUES (?, ?, ?)")
                    .bind(tenant.id.blob())
                    .bind(tenant.name.as_str())
                    .bind(nanos(tenant.created_at))
                    .execute(&mut tx.conn)
                    .await
                    .map_err(|e| taken(e, "tenant", &tenant.name))?;
                Ok(tenant)
            }
            .boxed()
        })
        .await
    }

    async fn tenants(&self, _operator: &OperatorScope) -> Result<Vec<Tenant>, StoreError> {
        let rows = sqlx::query("SELECT id, name, created_at FROM tenants ORDER BY created_at, id")
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(rows.iter().map(tenant).collect::<Result<_>>()?)
    }

    async fn find_tenant(&self, _operator: &OperatorScope, name_or_id: &str) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT id, name, created_at FROM tenants WHERE name = ? OR id = ?")
            .bind(name_or_id.to_owned())
            .bind(name_or_id.parse::<TenantId>().ok().map(|id| id.blob()))
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(row.as_ref().map(tenant).transpose()?)
    }

    async fn put_key(&self, _operator: &OperatorScope, key: ApiKey) -> Result<(), StoreError> {
        self.write(move |tx| put_key(tx, key).boxed()).await
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {KEY} FROM api_keys WHERE hash = ?")))
            .bind(hash)
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(row.as_ref().map(key).transpose()?)
    }

    async fn keys(&self, _operator: &OperatorScope, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError> {
        let sql = format!("SELECT {KEY} FROM api_keys WHERE ?1 IS NULL OR tenant_id = ?1 ORDER BY created_at, id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.map(Id::blob))
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(rows.iter().map(key).collect::<Result<_>>()?)
    }

    async fn expire_key(&self, _operator: &OperatorScope, id: KeyId, at: Timestamp) -> Result<ApiKey, StoreError> {
        self.write(move |tx| end_key(tx, id, "expires_at = min(ifnull(expires_at, ?1), ?1)", at).boxed()).await
    }

    async fn revoke_key(&self, _operator: &OperatorScope, id: KeyId) -> Result<ApiKey, StoreError> {
        self.write(move |tx| {
            let now = tx.now;
            end_key(tx, id, "revoked_at = ifnull(revoked_at, ?1)", now).boxed()
        })
        .await
    }

    async fn create_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        let viewer = self.administrator(scope, "tenant").await?;
        check_name("user", &user.handle)?;
        self.write(move |tx| {
            async move {
                if let Some(known) = find_user(&mut tx.conn, viewer.tenant, user.id).await?.filter(|k| k.handle == user.handle) {
                    return Ok(known);
                }
                sqlx::query(
                    "INSERT INTO users (tenant, id, handle, display_name, timezone, created_at, quiet_hours) VALUES (?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(viewer.tenant)
                .bind(user.id.blob())
                .bind(user.handle.as_str())
                .bind(user.display_name.as_str())
                .bind(user.timezone.as_deref())
                .bind(nanos(user.created_at))
                .bind(user.quiet_hours.map(|hours| hours.to_string()))
                .execute(&mut tx.conn)
                .await
                .map_err(|e| taken(e, "user", &user.handle))?;
                Ok(user)
            }
            .boxed()
        })
        .await
    }

    async fn update_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        let viewer = self.administrator(scope, "user").await?;
        self.write(move |tx| {
            async move {
                sqlx::query("UPDATE users SET display_name = ?, timezone = ?, quiet_hours = ? WHERE tenant = ? AND id = ?")
                    .bind(user.display_name)
                    .bind(user.timezone)
                    .bind(user.quiet_hours.map(|hours| hours.to_string()))
                    .bind(viewer.tenant)
                    .bind(user.id.blob())
                    .execute(&mut tx.conn)
                    .await?;
                let known = find_user(&mut tx.conn, viewer.tenant, user.id).await?.ok_or(missing("user"))?;
                render_anew(tx, viewer.tenant, Owner::User { user: known.id }).await?;
                Ok(known)
            }
            .boxed()
        })
        .await
    }

    async fn user(&self, scope: &Scope, user: UserId) -> Result<User, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let found = find_user(&mut conn, viewer.tenant, user).await?.ok_or(missing("user"))?;
        if viewer.knows(&mut conn, found.id).await? { Ok(found) } else { Err(missing("user")) }
    }

    async fn user_by_handle(&self, scope: &Scope, handle: &str) -> Result<User, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let sql = format!("SELECT {USER} FROM users u WHERE u.tenant = ? AND u.handle = ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(handle);
        let row = query.fetch_optional(&mut *conn).await.map_err(Fault::Sql)?;
        let found = user(&row.ok_or(missing("user"))?)?;
        if viewer.knows(&mut conn, found.id).await? { Ok(found) } else { Err(missing("user")) }
    }

    async fn users(&self, scope: &Scope, page: PageRequest) -> Result<Page<User>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let cursor = Cursor::ascending::<UserId>(&page)?;
        let sql = format!(
            "SELECT {USER} FROM users u WHERE u.tenant = ?1 AND (u.created_at, u.id) > (?2, ?3) AND (?4 OR u.id = ?5)
             ORDER BY u.created_at, u.id LIMIT ?6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(cursor.at)
            .bind(cursor.id.clone())
            .bind(scope.is_tenant_wide())
            .bind(scope.user().map(Id::blob))
            .bind(cursor.fetch())
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        let users: Vec<User> = rows.iter().map(user).collect::<Result<_>>()?;
        Ok(cursor.page(users, |u| (u.created_at, u.id)))
    }

    async fn create_team(&self, scope: &Scope, team: Team) -> Result<Team, StoreError> {
        let viewer = self.administrator(scope, "tenant").await?;
        check_name("team", &team.name)?;
        self.write(move |tx| {
            async move {
                if let Some(known) = find_team(&mut tx.conn, viewer.tenant, team.id).await?.filter(|k| k.name == team.name) {
                    return Ok(known);
                }
                if let Some(whole) = team.parent {
                    check_whole(&mut tx.conn, viewer.tenant, whole).await?;
                }
                sqlx::query("INSERT INTO teams (tenant, id, name, created_at, parent) VALUES (?, ?, ?, ?, ?)")
                    .bind(viewer.tenant)
                    .bind(team.id.blob())
                    .bind(team.name.as_str())
                    .bind(nanos(team.created_at))
                    .bind(team.parent.map(Id::blob))
                    .execute(&mut tx.conn)
                    .await
                    .map_err(|e| taken(e, "team", &team.name))?;
                Ok(team)
            }
            .boxed()
        })
        .await
    }

    async fn team(&self, scope: &Scope, team: TeamId) -> Result<Team, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, Owner::Team { team }).await? {
            return Err(missing("team"));
        }
        find_team(&mut conn, viewer.tenant, team).await?.ok_or(missing("team"))
    }

    async fn teams(&self, scope: &Scope) -> Result<Vec<Team>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let (is_all, agent, user) = looker(scope);
        let sql = format!("SELECT {TEAM} FROM teams t WHERE t.tenant = ?1 AND {SEEN_TEAM} ORDER BY t.name");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(is_all)
            .bind(agent.map(Id::blob))
            .bind(user.map(Id::blob))
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(rows.iter().map(team).collect::<Result<_>>()?)
    }

    async fn team_members(&self, scope: &Scope, team: TeamId) -> Result<Vec<Membership>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, Owner::Team { team }).await? {
            return Err(missing("team"));
        }
        let sql = format!("{MEMBERSHIPS} WHERE m.tenant = ? AND m.team = ? ORDER BY u.handle");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(team.blob()).fetch_all(&mut *conn).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(membership).collect::<Result<_>>()?)
    }

    async fn user_teams(&self, scope: &Scope, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !sees_user(scope, user) || find_user(&mut conn, viewer.tenant, user).await?.is_none() {
            return Err(missing("user"));
        }
        let (is_all, agent, me) = looker(scope);
        let sql = format!("{MEMBERSHIPS} WHERE m.tenant = ?1 AND m.user = ?5 AND {SEEN_TEAM} ORDER BY t.name");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(is_all).bind(agent.map(Id::blob));
        let query = query.bind(me.map(Id::blob)).bind(user.blob());
        let rows = query.fetch_all(&mut *conn).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(membership).collect::<Result<_>>()?)
    }

    async fn set_team_member(&self, scope: &Scope, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<(), StoreError> {
        let viewer = self.administrator(scope, "team").await?;
        self.write(move |tx| {
            async move {
                find_team(&mut tx.conn, viewer.tenant, team).await?.ok_or(missing("team"))?;
                find_user(&mut tx.conn, viewer.tenant, user).await?.ok_or(missing("user"))?;
                if set_member(tx, viewer.tenant, team, user, role).await? {
                    render_anew(tx, viewer.tenant, Owner::User { user }).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn create_agent(&self, scope: &Scope, id: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        let viewer = self.administrator(scope, "tenant").await?;
        check_name("agent", &spec.name)?;
        self.write(move |tx| {
            async move {
                if let Some(known) = find_agent(&mut tx.conn, viewer.tenant, id).await?.filter(|k| k.spec.name == spec.name) {
                    return Ok(known);
                }
                let agent = Agent { id, spec, teams, created_at: tx.now, updated_at: tx.now };
                sqlx::query("INSERT INTO agents (tenant, id, name, spec, teams, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)")
                    .bind(viewer.tenant)
                    .bind(id.blob())
                    .bind(agent.spec.name.as_str())
                    .bind(to_json(&agent.spec)?)
                    .bind(to_json(&agent.teams)?)
                    .bind(nanos(tx.now))
                    .bind(nanos(tx.now))
                    .execute(&mut tx.conn)
                    .await
                    .map_err(|e| taken(e, "agent", &agent.spec.name))?;
                set_teams(tx, viewer.tenant, &agent).await?;
                Ok(agent)
            }
            .boxed()
        })
        .await
    }

    async fn update_agent(&self, scope: &Scope, agent: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        let viewer = self.administrator(scope, "agent").await?;
        self.write(move |tx| {
            async move {
                let known = find_agent(&mut tx.conn, viewer.tenant, agent).await?.ok_or(missing("agent"))?;
                check_name("agent", &spec.name)?;
                let changed = Agent { id: agent, spec, teams, created_at: known.created_at, updated_at: tx.now };
                sqlx::query("UPDATE agents SET name = ?, spec = ?, teams = ?, updated_at = ? WHERE tenant = ? AND id = ?")
                    .bind(changed.spec.name.as_str())
                    .bind(to_json(&changed.spec)?)
                    .bind(to_json(&changed.teams)?)
                    .bind(nanos(tx.now))
                    .bind(viewer.tenant)
                    .bind(agent.blob())
                    .execute(&mut tx.conn)
                    .await
                    .map_err(|e| taken(e, "agent", &changed.spec.name))?;
                set_teams(tx, viewer.tenant, &changed).await?;
                render_anew(tx, viewer.tenant, Owner::Agent { agent }).await?;
                Ok(changed)
            }
            .boxed()
        })
        .await
    }

    async fn agent(&self, scope: &Scope, agent: AgentId) -> Result<Agent, StoreError> {
        let viewer = self.viewer(scope).await?;
        let found = find_agent(&mut *self.reader().await?, viewer.tenant, agent).await?;
        found.filter(|a| sees_agent(scope, a.id)).ok_or(missing("agent"))
    }

    async fn agent_by_name(&self, scope: &Scope, name: &str) -> Result<Agent, StoreError> {
        let viewer = self.viewer(scope).await?;
        let sql = format!("SELECT {AGENT} FROM agents a WHERE a.tenant = ? AND a.name = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(name)
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        row.as_ref().map(agent).transpose()?.filter(|a| sees_agent(scope, a.id)).ok_or(missing("agent"))
    }

    async fn agents(&self, scope: &Scope, page: PageRequest) -> Result<Page<Agent>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let cursor = Cursor::ascending::<AgentId>(&page)?;
        let only = match scope.principal() {
            Principal::Turn { agent, .. } => Some(agent),
            Principal::Tenant { .. } | Principal::User { .. } => None,
        };
        let sql = format!(
            "SELECT {AGENT} FROM agents a WHERE a.tenant = ?1 AND (a.created_at, a.id) > (?2, ?3) AND (?4 IS NULL OR a.id = ?4)
             ORDER BY a.created_at, a.id LIMIT ?5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(cursor.at)
            .bind(cursor.id.clone())
            .bind(only.map(Id::blob))
            .bind(cursor.fetch())
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        let agents: Vec<Agent> = rows.iter().map(agent).collect::<Result<_>>()?;
        Ok(cursor.page(agents, |a| (a.created_at, a.id)))
    }

    async fn open_conversation(&self, scope: &Scope, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| conversations::open(tx, viewer, id, new).boxed()).await
    }

    async fn conversation(&self, scope: &Scope, conversation: ConversationId) -> Result<Conversation, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let conv = Conv::get(&mut conn, &viewer, conversation).await?;
        conversations::find(&mut conn, &conv).await?.ok_or(missing("conversation"))
    }

    async fn conversations(
        &self,
        scope: &Scope,
        agent: Option<AgentId>,
        user: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        conversations::list(self, scope, agent, user, &page).await
    }
}

async fn put_key(tx: &mut Tx, key: ApiKey) -> Result<()> {
    let (tenant, user, agent) = (key.role.tenant(), key.role.user(), key.role.agent());
    let known = sqlx::query(
        "SELECT (?1 IS NULL OR EXISTS (SELECT 1 FROM tenants WHERE id = ?1)) AND (?2 IS NULL OR EXISTS (
            SELECT 1 FROM users u JOIN tenants t ON t.tenant = u.tenant WHERE t.id = ?1 AND u.id = ?2)) AND (?3 IS NULL OR EXISTS (
            SELECT 1 FROM agents a JOIN tenants t ON t.tenant = a.tenant WHERE t.id = ?1 AND a.id = ?3))",
    )
    .bind(tenant.map(Id::blob))
    .bind(user.map(Id::blob))
    .bind(agent.map(Id::blob))
    .fetch_one(&mut tx.conn)
    .await?;
    if !known.flag(0)? {
        return Err(missing("tenant, user or agent of the key").into());
    }
    sqlx::query(
        "INSERT INTO api_keys (id, hash, name, role, tenant_id, user_id, agent_id, access, scopes, created_at, expires_at, revoked_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, name = excluded.name, role = excluded.role, tenant_id = excluded.tenant_id,
         user_id = excluded.user_id, agent_id = excluded.agent_id, access = excluded.access, scopes = excluded.scopes, created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at",
    )
    .bind(key.id.blob())
    .bind(key.hash.as_str())
    .bind(key.name.as_str())
    .bind(to_json(&key.role)?)
    .bind(tenant.map(Id::blob))
    .bind(user.map(Id::blob))
    .bind(agent.map(Id::blob))
    .bind(word(&key.access)?)
    .bind(key.scopes.as_ref().map(to_json).transpose()?)
    .bind(nanos(key.created_at))
    .bind(key.expires_at.map(nanos))
    .bind(key.revoked_at.map(nanos))
    .execute(&mut tx.conn)
    .await
    .map_err(|e| taken(e, "key", &key.name))?;
    Ok(())
}

/// Lets a key end, by what `change` sets to `at`.
async fn end_key(tx: &mut Tx, id: KeyId, change: &str, at: Timestamp) -> Result<ApiKey> {
    let sql = format!("UPDATE api_keys SET {change} WHERE id = ?2 RETURNING {KEY}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(nanos(at)).bind(id.blob()).fetch_optional(&mut tx.conn).await?;
    key(&row.ok_or(missing("key"))?)
}

/// What the user is in the teams whose memory a turn of this agent sees.
pub(crate) async fn turn_teams(
    conn: &mut SqliteConnection,
    viewer: &Viewer,
    agent: &Agent,
    user: Option<&User>,
) -> Result<Vec<Membership>> {
    let Some(user) = user.filter(|_| !agent.teams.is_empty()) else { return Ok(Vec::new()) };
    let sql = format!(
        "{MEMBERSHIPS} WHERE m.tenant = ?1 AND m.user = ?2
         AND EXISTS (SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?3 AND g.team = m.team) ORDER BY t.id"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(user.id.blob()).bind(agent.id.blob());
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(membership).collect()
}

/// Memberships `m` with their team `t` and user `u`.
const MEMBERSHIPS: &str =
    "SELECT t.id, t.name, t.created_at, t.parent, u.id, u.handle, u.display_name, u.timezone, u.created_at, u.quiet_hours,
        m.role, m.given IS NOT NULL
     FROM team_members m JOIN users u ON u.tenant = m.tenant AND u.id = m.user JOIN teams t ON t.tenant = m.tenant AND t.id = m.team";

/// Whether a team `t` of tenant ?1 is seen by a [`looker`], ?2, ?3 and ?4.
const SEEN_TEAM: &str = "(?2 OR (
    EXISTS (SELECT 1 FROM team_members s WHERE s.tenant = ?1 AND s.user = ?4 AND s.team = t.id)
    AND (?3 IS NULL OR EXISTS (SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?3 AND g.team = t.id))))";

/// Whether the scope sees all teams, or else through which agent and as whom.
const fn looker(scope: &Scope) -> (bool, Option<AgentId>, Option<UserId>) {
    match scope.principal() {
        Principal::Tenant { .. } => (true, None, None),
        Principal::User { user } => (false, None, Some(user)),
        Principal::Turn { agent, user } => (false, Some(agent), user),
    }
}

fn sees_user(scope: &Scope, user: UserId) -> bool {
    scope.is_tenant_wide() || scope.user() == Some(user)
}

fn sees_agent(scope: &Scope, agent: AgentId) -> bool {
    !matches!(scope.principal(), Principal::Turn { agent: me, .. } if me != agent)
}

fn check_name(what: &'static str, name: &str) -> Result<(), StoreError> {
    if name.trim().is_empty() {
        return Err(StoreError::Invalid(format!("the name of a {what} is not empty")));
    }
    Ok(())
}

/// A unique rule was broken: the name is taken.
fn taken(error: sqlx::Error, what: &'static str, name: &str) -> Fault {
    match Fault::Sql(error) {
        f if f.is_unique_violation() => StoreError::Exists { what, name: name.to_owned() }.into(),
        other => other,
    }
}

fn tenant(row: &SqliteRow) -> Result<Tenant> {
    Ok(Tenant { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)? })
}
