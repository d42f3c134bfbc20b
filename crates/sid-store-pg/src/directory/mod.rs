//! `Directory`: tenants, keys, users, teams, agents, conversations.

mod conversations;
mod operator;
mod rows;

use async_trait::async_trait;
use sid_store::{Directory, NewConversation, Page, PageRequest, StoreError};
use sid_types::{
    Agent, AgentId, AgentSpec, ApiKey, Conversation, ConversationId, KeyId, Membership, OperatorScope, Owner, Principal, Scope, Team,
    TeamId, TeamRole, Tenant, TenantId, Timestamp, User, UserId,
};

use crate::backend::PgStore;
use crate::codec::{At, Id, clean, kept};
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::rows::Conv;
use crate::tx::Tx;
use crate::visibility::render_anew;

pub(crate) use rows::{AGENT, agent};
use rows::{MEMBERSHIPS, TEAM, USER, check_whole, documents, find_team, membership, set_member, set_teams, team, user};
pub(crate) use rows::{find_agent, find_user};

#[async_trait]
impl Directory for PgStore {
    async fn create_tenant(&self, _operator: &OperatorScope, name: &str) -> Result<Tenant, StoreError> {
        Ok(operator::create_tenant(self, name).await?)
    }

    async fn tenants(&self, _operator: &OperatorScope) -> Result<Vec<Tenant>, StoreError> {
        Ok(operator::tenants(self).await?)
    }

    async fn find_tenant(&self, _operator: &OperatorScope, name_or_id: &str) -> Result<Option<Tenant>, StoreError> {
        Ok(operator::find_tenant(self, name_or_id).await?)
    }

    async fn put_key(&self, _operator: &OperatorScope, key: ApiKey) -> Result<(), StoreError> {
        Ok(operator::put_key(self, key).await?)
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        Ok(operator::key_by_hash(self, hash).await?)
    }

    async fn keys(&self, _operator: &OperatorScope, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError> {
        Ok(operator::keys(self, tenant).await?)
    }

    async fn expire_key(&self, _operator: &OperatorScope, id: KeyId, at: Timestamp) -> Result<ApiKey, StoreError> {
        Ok(operator::expire_key(self, id, at).await?)
    }

    async fn revoke_key(&self, _operator: &OperatorScope, id: KeyId) -> Result<ApiKey, StoreError> {
        Ok(operator::revoke_key(self, id).await?)
    }

    async fn create_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        let (mut tx, _) = self.administrate(scope, "tenant").await?;
        check_name("user", &user.handle)?;
        let outcome = create_user(&mut tx, user).await;
        tx.finish(outcome).await
    }

    async fn update_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        let (mut tx, _) = self.administrate(scope, "user").await?;
        let outcome = async {
            let query = tx.query("UPDATE sid.users SET display_name = $3, timezone = $4, quiet_hours = $5 WHERE tenant = $1 AND id = $2");
            let query = query.bind(tx.tenant).bind(user.id.uuid()).bind(clean(&user.display_name).into_owned());
            let query = query.bind(user.timezone.as_deref().map(|t| clean(t).into_owned()));
            query.bind(user.quiet_hours.map(|hours| hours.to_string())).execute(tx.conn()).await?;
            let known = find_user(&mut tx, user.id).await?.ok_or(missing("user"))?;
            render_anew(&mut tx, Owner::User { user: known.id }).await?;
            Ok(known)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn user(&self, scope: &Scope, user: UserId) -> Result<User, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let found = find_user(&mut tx, user).await?.ok_or(missing("user"))?;
        if self.viewer(scope).knows(&mut tx, found.id).await? { Ok(found) } else { Err(missing("user")) }
    }

    async fn user_by_handle(&self, scope: &Scope, handle: &str) -> Result<User, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {USER} FROM sid.users u WHERE u.tenant = $1 AND u.handle = $2"));
        let query = query.bind(tx.tenant).bind(clean(handle).into_owned());
        let row = query.fetch_optional(tx.conn()).await.map_err(Fault::Sql)?;
        let found = user(&row.ok_or(missing("user"))?)?;
        if self.viewer(scope).knows(&mut tx, found.id).await? { Ok(found) } else { Err(missing("user")) }
    }

    async fn users(&self, scope: &Scope, page: PageRequest) -> Result<Page<User>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let cursor = Cursor::ascending::<UserId>(&page)?;
        let query = tx.query_of(format!(
            "SELECT {USER} FROM sid.users u WHERE u.tenant = $1 AND (u.created_at, u.id) > ($2, $3) AND ($4 OR u.id = $5)
             ORDER BY u.created_at, u.id LIMIT $6"
        ));
        let query = query.bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(scope.is_tenant_wide());
        let query = query.bind(scope.user().map(Id::raw)).bind(cursor.fetch());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let users: Vec<User> = rows.iter().map(user).collect::<Result<_>>()?;
        Ok(cursor.page(users, |u| (u.created_at, u.id)))
    }

    async fn create_team(&self, scope: &Scope, team: Team) -> Result<Team, StoreError> {
        let (mut tx, _) = self.administrate(scope, "tenant").await?;
        check_name("team", &team.name)?;
        let outcome = create_team(&mut tx, team).await;
        tx.finish(outcome).await
    }

    async fn team(&self, scope: &Scope, team: TeamId) -> Result<Team, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !self.viewer(scope).sees(&mut tx, Owner::Team { team }).await? {
            return Err(missing("team"));
        }
        find_team(&mut tx, team).await?.ok_or(missing("team"))
    }

    async fn teams(&self, scope: &Scope) -> Result<Vec<Team>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let (is_all, agent, user) = looker(scope);
        let query = tx.query_of(format!("SELECT {TEAM} FROM sid.teams t WHERE t.tenant = $1 AND {SEEN_TEAM}"));
        let query = query.bind(tx.tenant).bind(is_all).bind(agent.map(Id::raw)).bind(user.map(Id::raw));
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut teams: Vec<Team> = rows.iter().map(team).collect::<Result<_>>()?;
        teams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(teams)
    }

    async fn team_members(&self, scope: &Scope, team: TeamId) -> Result<Vec<Membership>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !self.viewer(scope).sees(&mut tx, Owner::Team { team }).await? {
            return Err(missing("team"));
        }
        let query = tx.query_of(format!("{MEMBERSHIPS} WHERE m.tenant = $1 AND m.team_id = $2"));
        let rows = query.bind(tx.tenant).bind(team.uuid()).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut members: Vec<Membership> = rows.iter().map(membership).collect::<Result<_>>()?;
        members.sort_by(|a, b| a.user.handle.cmp(&b.user.handle));
        Ok(members)
    }

    async fn user_teams(&self, scope: &Scope, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !sees_user(scope, user) || find_user(&mut tx, user).await?.is_none() {
            return Err(missing("user"));
        }
        let (is_all, agent, me) = looker(scope);
        let query = tx.query_of(format!("{MEMBERSHIPS} WHERE m.tenant = $1 AND m.user_id = $5 AND {SEEN_TEAM}"));
        let query = query.bind(tx.tenant).bind(is_all).bind(agent.map(Id::raw)).bind(me.map(Id::raw)).bind(user.uuid());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut teams: Vec<Membership> = rows.iter().map(membership).collect::<Result<_>>()?;
        teams.sort_by(|a, b| a.team.name.cmp(&b.team.name));
        Ok(teams)
    }

    async fn set_team_member(&self, scope: &Scope, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<(), StoreError> {
        let (mut tx, _) = self.administrate(scope, "team").await?;
        let outcome = async {
            find_team(&mut tx, team).await?.ok_or(missing("team"))?;
            // The user's row is held: two changes of the same user's memberships come one after the other.
            let query = tx.query("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE");
            query.bind(tx.tenant).bind(user.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("user"))?;
            if set_member(&mut tx, team, user, role).await? {
                render_anew(&mut tx, Owner::User { user }).await?;
            }
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }

    async fn create_agent(&self, scope: &Scope, id: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        let (mut tx, _) = self.administrate(scope, "tenant").await?;
        check_name("agent", &spec.name)?;
        let agent = Agent { id, spec, teams, created_at: tx.now, updated_at: tx.now };
        let outcome = create_agent(&mut tx, agent).await;
        tx.finish(outcome).await
    }

    async fn update_agent(&self, scope: &Scope, agent: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        let (mut tx, _) = self.administrate(scope, "agent").await?;
        let outcome = async {
            let known = find_agent(&mut tx, agent).await?.ok_or(missing("agent"))?;
            check_name("agent", &spec.name)?;
            let changed = Agent { id: agent, spec, teams, created_at: known.created_at, updated_at: tx.now };
            let (spec, teams) = documents(&changed)?;
            let query = tx.query("UPDATE sid.agents SET name = $3, spec = $4, teams = $5, updated_at = $6 WHERE tenant = $1 AND id = $2");
            let query = query.bind(tx.tenant).bind(agent.uuid()).bind(clean(&changed.spec.name).into_owned());
            let query = query.bind(spec).bind(teams).bind(At(tx.now));
            query.execute(tx.conn()).await.map_err(|e| taken(e, "agent", &changed.spec.name))?;
            set_teams(&mut tx, &changed).await?;
            render_anew(&mut tx, Owner::Agent { agent }).await?;
            Ok(changed)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn agent(&self, scope: &Scope, agent: AgentId) -> Result<Agent, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let found = find_agent(&mut tx, agent).await?;
        found.filter(|a| sees_agent(scope, a.id)).ok_or(missing("agent"))
    }

    async fn agent_by_name(&self, scope: &Scope, name: &str) -> Result<Agent, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {AGENT} FROM sid.agents a WHERE a.tenant = $1 AND a.name = $2"));
        let query = query.bind(tx.tenant).bind(clean(name).into_owned());
        let row = query.fetch_optional(tx.conn()).await.map_err(Fault::Sql)?;
        row.as_ref().map(agent).transpose()?.filter(|a| sees_agent(scope, a.id)).ok_or(missing("agent"))
    }

    async fn agents(&self, scope: &Scope, page: PageRequest) -> Result<Page<Agent>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let cursor = Cursor::ascending::<AgentId>(&page)?;
        let only = match scope.principal() {
            Principal::Turn { agent, .. } => Some(agent),
            Principal::Tenant { .. } | Principal::User { .. } => None,
        };
        let query = tx.query_of(format!(
            "SELECT {AGENT} FROM sid.agents a WHERE a.tenant = $1 AND (a.created_at, a.id) > ($2, $3) AND ($4::uuid IS NULL OR a.id = $4)
             ORDER BY a.created_at, a.id LIMIT $5"
        ));
        let query = query.bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(only.map(Id::raw)).bind(cursor.fetch());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let agents: Vec<Agent> = rows.iter().map(agent).collect::<Result<_>>()?;
        Ok(cursor.page(agents, |a| (a.created_at, a.id)))
    }

    async fn open_conversation(&self, scope: &Scope, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = conversations::open(&mut tx, &self.viewer(scope), id, new).await;
        tx.finish(outcome).await
    }

    async fn conversation(&self, scope: &Scope, conversation: ConversationId) -> Result<Conversation, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(Conv::get(&mut tx, &self.viewer(scope), conversation).await?.conversation()?)
    }

    async fn conversations(
        &self,
        scope: &Scope,
        agent: Option<AgentId>,
        user: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        Ok(conversations::list(self, scope, agent, user, &page).await?)
    }
}

async fn create_user(tx: &mut Tx, mut user: User) -> Result<User> {
    if let Some(known) = find_user(tx, user.id).await?.filter(|k| k.handle == user.handle) {
        return Ok(known);
    }
    user.created_at = kept(user.created_at);
    let query = tx.query(
        "INSERT INTO sid.users (tenant, id, handle, display_name, timezone, created_at, quiet_hours) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    query
        .bind(tx.tenant)
        .bind(user.id.uuid())
        .bind(clean(&user.handle).into_owned())
        .bind(clean(&user.display_name).into_owned())
        .bind(user.timezone.as_deref().map(|t| clean(t).into_owned()))
        .bind(At(user.created_at))
        .bind(user.quiet_hours.map(|hours| hours.to_string()))
        .execute(tx.conn())
        .await
        .map_err(|e| taken(e, "user", &user.handle))?;
    Ok(user)
}

async fn create_team(tx: &mut Tx, mut team: Team) -> Result<Team> {
    if let Some(known) = find_team(tx, team.id).await?.filter(|k| k.name == team.name) {
        return Ok(known);
    }
    if let Some(whole) = team.parent {
        check_whole(tx, whole).await?;
    }
    team.created_at = kept(team.created_at);
    let query = tx.query("INSERT INTO sid.teams (tenant, id, name, created_at, parent) VALUES ($1, $2, $3, $4, $5)");
    let query = query.bind(tx.tenant).bind(team.id.uuid()).bind(clean(&team.name).into_owned()).bind(At(team.created_at));
    let query = query.bind(team.parent.map(Id::raw));
    query.execute(tx.conn()).await.map_err(|e| taken(e, "team", &team.name))?;
    Ok(team)
}

async fn create_agent(tx: &mut Tx, agent: Agent) -> Result<Agent> {
    if let Some(known) = find_agent(tx, agent.id).await?.filter(|k| k.spec.name == agent.spec.name) {
        return Ok(known);
    }
    let (spec, teams) = documents(&agent)?;
    let query =
        tx.query("INSERT INTO sid.agents (tenant, id, name, spec, teams, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)");
    query
        .bind(tx.tenant)
        .bind(agent.id.uuid())
        .bind(clean(&agent.spec.name).into_owned())
        .bind(spec)
        .bind(teams)
        .bind(At(agent.created_at))
        .execute(tx.conn())
        .await
        .map_err(|e| taken(e, "agent", &agent.spec.name))?;
    set_teams(tx, &agent).await?;
    Ok(agent)
}

/// Whether a team `t` of tenant $1 is seen by a [`looker`], $2, $3 and $4.
const SEEN_TEAM: &str = "($2 OR (
    EXISTS (SELECT 1 FROM sid.team_members s WHERE s.tenant = $1 AND s.user_id = $4 AND s.team_id = t.id)
    AND ($3::uuid IS NULL OR EXISTS (SELECT 1 FROM sid.agent_teams g WHERE g.tenant = $1 AND g.agent_id = $3 AND g.team_id = t.id))))";

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
pub(crate) fn taken(error: sqlx::Error, what: &'static str, name: &str) -> Fault {
    let fault = Fault::Sql(error);
    if fault.broken_rule().is_some() { StoreError::Exists { what, name: name.to_owned() }.into() } else { fault }
}
