//! `Directory`: tenants, keys, users, teams, agents, conversations.

use std::fmt::Display;

use async_trait::async_trait;
use sid_types::{
    Agent, AgentId, AgentSpec, ApiKey, Conversation, ConversationId, KeyId, KeyRole, Membership, OperatorScope, Principal,
    RecursiveSummary, Scope, Seq, Team, TeamId, TeamRole, Tenant, TenantId, Timestamp, User, UserId,
};

use super::room::{Room, Thread};
use super::{InProcess, missing};
use crate::{Directory, NewConversation, Order, Page, PageRequest, StoreError};

#[async_trait]
impl Directory for InProcess {
    async fn create_tenant(&self, _operator: &OperatorScope, name: &str) -> Result<Tenant, StoreError> {
        self.write(|state, now| {
            check_name("tenant", name, state.rooms.values().map(|room| room.tenant.name.as_str()))?;
            let tenant = Tenant { id: TenantId::new(), name: name.to_owned(), created_at: now };
            state.rooms.insert(tenant.id, Room::new(tenant.clone(), state.ordinals.clone()));
            Ok(tenant)
        })
    }

    async fn tenants(&self, _operator: &OperatorScope) -> Result<Vec<Tenant>, StoreError> {
        let mut tenants: Vec<Tenant> = self.read().rooms.values().map(|room| room.tenant.clone()).collect();
        tenants.sort_by_key(|t| (t.created_at, t.id));
        Ok(tenants)
    }

    async fn find_tenant(&self, _operator: &OperatorScope, name_or_id: &str) -> Result<Option<Tenant>, StoreError> {
        let state = self.read();
        let is_it = |t: &&Tenant| t.name == name_or_id || name_or_id.parse() == Ok(t.id);
        Ok(state.rooms.values().map(|room| &room.tenant).find(is_it).cloned())
    }

    async fn put_key(&self, _operator: &OperatorScope, key: ApiKey) -> Result<(), StoreError> {
        self.write(|state, _| {
            let role_exists = match key.role {
                KeyRole::Operator => true,
                KeyRole::Tenant { tenant } => state.rooms.contains_key(&tenant),
                KeyRole::User { tenant, user } => state.rooms.get(&tenant).is_some_and(|room| room.users.contains_key(&user)),
                KeyRole::Agent { tenant, user, agent } => {
                    state.rooms.get(&tenant).is_some_and(|room| room.users.contains_key(&user) && room.agents.contains_key(&agent))
                }
            };
            if !role_exists {
                return Err(missing("tenant or user of the key"));
            }
            state.keys.insert(key.id, key);
            Ok(())
        })
    }

    async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        Ok(self.read().keys.values().find(|key| key.hash == hash).cloned())
    }

    async fn keys(&self, _operator: &OperatorScope, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError> {
        let is_asked = |key: &&ApiKey| tenant.is_none() || key.role.tenant() == tenant;
        let mut keys: Vec<ApiKey> = self.read().keys.values().filter(is_asked).cloned().collect();
        keys.sort_by_key(|k| (k.created_at, k.id));
        Ok(keys)
    }

    async fn expire_key(&self, _operator: &OperatorScope, key: KeyId, at: Timestamp) -> Result<ApiKey, StoreError> {
        self.write(|state, _| {
            let key = state.keys.get_mut(&key).ok_or(missing("key"))?;
            key.expires_at = Some(key.expires_at.map_or(at, |known| known.min(at)));
            Ok(key.clone())
        })
    }

    async fn revoke_key(&self, _operator: &OperatorScope, key: KeyId) -> Result<ApiKey, StoreError> {
        self.write(|state, now| {
            let key = state.keys.get_mut(&key).ok_or(missing("key"))?;
            key.revoked_at.get_or_insert(now);
            Ok(key.clone())
        })
    }

    async fn create_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        self.write(|state, _| {
            let room = administered(state.room_mut(scope, "tenant")?, scope)?;
            if let Some(known) = room.users.get(&user.id).filter(|known| known.handle == user.handle) {
                return Ok(known.clone());
            }
            check_name("user", &user.handle, room.users.values().map(|u| u.handle.as_str()))?;
            room.users.insert(user.id, user.clone());
            Ok(user)
        })
    }

    async fn update_user(&self, scope: &Scope, user: User) -> Result<User, StoreError> {
        self.write(|state, _| {
            let room = administered(state.room_mut(scope, "user")?, scope).map_err(|_| missing("user"))?;
            let known = room.users.get_mut(&user.id).ok_or(missing("user"))?;
            (known.display_name, known.timezone, known.quiet_hours) = (user.display_name, user.timezone, user.quiet_hours);
            let known = known.clone();
            room.render_anew(|c| c.user == Some(known.id));
            Ok(known)
        })
    }

    async fn user(&self, scope: &Scope, user: UserId) -> Result<User, StoreError> {
        let state = self.read();
        let room = state.room(scope, "user")?;
        room.users.get(&user).filter(|u| room.knows(scope, u.id)).cloned().ok_or(missing("user"))
    }

    async fn user_by_handle(&self, scope: &Scope, handle: &str) -> Result<User, StoreError> {
        let state = self.read();
        let room = state.room(scope, "user")?;
        room.users.values().find(|u| u.handle == handle && room.knows(scope, u.id)).cloned().ok_or(missing("user"))
    }

    async fn users(&self, scope: &Scope, page: PageRequest) -> Result<Page<User>, StoreError> {
        let state = self.read();
        let users = state.room(scope, "tenant")?.users.values().filter(|u| sees_user(scope, u));
        paged(users, Order::Ascending, &page, |u| (u.created_at, u.id))
    }

    async fn create_team(&self, scope: &Scope, team: Team) -> Result<Team, StoreError> {
        self.write(|state, _| administered(state.room_mut(scope, "tenant")?, scope)?.make_team(team))
    }

    async fn team(&self, scope: &Scope, team: TeamId) -> Result<Team, StoreError> {
        Ok(self.read().room(scope, "team")?.seen_team(scope, team)?.clone())
    }

    async fn teams(&self, scope: &Scope) -> Result<Vec<Team>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "tenant")?;
        let mut teams: Vec<Team> = room.teams.values().filter(|t| room.seen_team(scope, t.id).is_ok()).cloned().collect();
        teams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(teams)
    }

    async fn team_members(&self, scope: &Scope, team: TeamId) -> Result<Vec<Membership>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "team")?;
        room.seen_team(scope, team)?;
        let mut members: Vec<Membership> = room.users.keys().filter_map(|user| room.membership(team, *user)).collect();
        members.sort_by(|a, b| a.user.handle.cmp(&b.user.handle));
        Ok(members)
    }

    async fn user_teams(&self, scope: &Scope, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "user")?;
        room.users.get(&user).filter(|u| sees_user(scope, u)).ok_or(missing("user"))?;
        let seen = room.teams.keys().filter(|team| room.seen_team(scope, **team).is_ok());
        let mut teams: Vec<Membership> = seen.filter_map(|team| room.membership(*team, user)).collect();
        teams.sort_by(|a, b| a.team.name.cmp(&b.team.name));
        Ok(teams)
    }

    async fn set_team_member(&self, scope: &Scope, team: TeamId, user: UserId, role: Option<TeamRole>) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = administered(state.room_mut(scope, "team")?, scope).map_err(|_| missing("team"))?;
            room.set_member(team, user, role)
        })
    }

    async fn create_agent(&self, scope: &Scope, id: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        self.write(|state, now| {
            let room = administered(state.room_mut(scope, "tenant")?, scope)?;
            if let Some(known) = room.agents.get(&id).filter(|known| known.spec.name == spec.name) {
                return Ok(known.clone());
            }
            check_name("agent", &spec.name, room.agents.values().map(|a| a.spec.name.as_str()))?;
            room.check_teams(&teams)?;
            let agent = Agent { id, spec, teams, created_at: now, updated_at: now };
            room.agents.insert(id, agent.clone());
            Ok(agent)
        })
    }

    async fn update_agent(&self, scope: &Scope, agent: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Result<Agent, StoreError> {
        self.write(|state, now| {
            let room = administered(state.room_mut(scope, "agent")?, scope).map_err(|_| missing("agent"))?;
            let known = room.agents.get(&agent).ok_or(missing("agent"))?;
            if known.spec.name != spec.name {
                check_name("agent", &spec.name, room.agents.values().map(|a| a.spec.name.as_str()))?;
            }
            room.check_teams(&teams)?;
            let changed = Agent { id: agent, spec, teams, created_at: known.created_at, updated_at: now };
            room.agents.insert(agent, changed.clone());
            room.render_anew(|c| c.agent == agent);
            Ok(changed)
        })
    }

    async fn agent(&self, scope: &Scope, agent: AgentId) -> Result<Agent, StoreError> {
        let state = self.read();
        state.room(scope, "agent")?.agents.get(&agent).filter(|a| sees_agent(scope, a)).cloned().ok_or(missing("agent"))
    }

    async fn agent_by_name(&self, scope: &Scope, name: &str) -> Result<Agent, StoreError> {
        let state = self.read();
        let room = state.room(scope, "agent")?;
        room.agents.values().find(|a| a.spec.name == name && sees_agent(scope, a)).cloned().ok_or(missing("agent"))
    }

    async fn agents(&self, scope: &Scope, page: PageRequest) -> Result<Page<Agent>, StoreError> {
        let state = self.read();
        let agents = state.room(scope, "tenant")?.agents.values().filter(|a| sees_agent(scope, a));
        paged(agents, Order::Ascending, &page, |a| (a.created_at, a.id))
    }

    async fn open_conversation(&self, scope: &Scope, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool), StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "agent")?;
            let NewConversation { agent, user, key } = new;
            room.agents.get(&agent).filter(|a| sees_agent(scope, a)).ok_or(missing("agent"))?;
            let may = user.map_or(!matches!(scope.principal(), Principal::User { .. }), |user| {
                room.users.get(&user).is_some_and(|u| sees_user(scope, u))
            });
            let may = may && !matches!(scope.principal(), Principal::Turn { user: human, .. } if human != user);
            if !may {
                return Err(missing("user"));
            }
            let is_same = |c: &Conversation| c.agent == agent && c.user == user && key.is_some() && c.key == key;
            if let Some(known) = room.threads.values().map(|t| &t.conversation).find(|c| c.id == id || is_same(c)) {
                let is_repetition = known.agent == agent && known.user == user && known.key == key;
                let name = id.to_string();
                return if is_repetition { Ok((known.clone(), false)) } else { Err(StoreError::Exists { what: "conversation", name }) };
            }
            let conversation = Conversation {
                id,
                agent,
                user,
                key,
                last_seq: Seq(0),
                queue_start: Seq(1),
                summary: RecursiveSummary::default(),
                prefix: None,
                created_at: now,
                last_at: None,
            };
            room.threads.insert(id, Thread::new(conversation.clone()));
            Ok((conversation, true))
        })
    }

    async fn conversation(&self, scope: &Scope, conversation: ConversationId) -> Result<Conversation, StoreError> {
        Ok(self.read().room(scope, "conversation")?.thread(scope, conversation)?.conversation.clone())
    }

    async fn conversations(
        &self,
        scope: &Scope,
        agent: Option<AgentId>,
        user: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "tenant")?;
        let visible = room.threads.values().filter(|t| room.sees(scope, t.owner())).map(|t| &t.conversation);
        let is_asked = |c: &&Conversation| agent.is_none_or(|a| c.agent == a) && (user.is_none() || c.user == user);
        paged(visible.filter(is_asked), Order::Descending, &page, |c| (c.created_at, c.id))
    }
}

impl Room {
    fn check_teams(&self, teams: &[TeamId]) -> Result<(), StoreError> {
        if teams.iter().all(|team| self.teams.contains_key(team)) { Ok(()) } else { Err(missing("team")) }
    }
}

/// The room, for those who manage the tenant.
fn administered<'a>(room: &'a mut Room, scope: &Scope) -> Result<&'a mut Room, StoreError> {
    if scope.is_tenant_wide() { Ok(room) } else { Err(missing("tenant")) }
}

fn sees_user(scope: &Scope, user: &User) -> bool {
    scope.is_tenant_wide() || scope.user() == Some(user.id)
}

fn sees_agent(scope: &Scope, agent: &Agent) -> bool {
    match scope.principal() {
        Principal::Tenant { .. } | Principal::User { .. } => true,
        Principal::Turn { agent: me, .. } => me == agent.id,
    }
}

pub(super) fn check_name<'a>(what: &'static str, name: &str, mut taken: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
    if name.trim().is_empty() {
        return Err(StoreError::Invalid(format!("the name of a {what} is not empty")));
    }
    if taken.any(|known| known == name) {
        return Err(StoreError::Exists { what, name: name.to_owned() });
    }
    Ok(())
}

/// One page of a list, by the time and id that `key` tells. The cursor is the last item's key, so it stays good when that item goes.
pub(super) fn paged<'a, T: Clone + 'a, I: Display>(
    items: impl Iterator<Item = &'a T>,
    order: Order,
    page: &PageRequest,
    key: impl Fn(&T) -> (Timestamp, I),
) -> Result<Page<T>, StoreError> {
    let text = |item: &T| {
        let (at, id) = key(item);
        format!("{:020}.{id}", at.as_microsecond())
    };
    let mut sorted: Vec<(String, &T)> = items.map(|item| (text(item), item)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    if order == Order::Descending {
        sorted.reverse();
    }
    if let Some(after) = &page.after {
        if after.split_once('.').is_none_or(|(at, _)| at.len() != 20) {
            return Err(StoreError::Invalid("this is not a cursor: start the list again".into()));
        }
        sorted.retain(|(key, _)| if order == Order::Ascending { key > after } else { key < after });
    }
    let is_more = sorted.len() > page.limit.clamp(1, 1_000);
    sorted.truncate(page.limit.clamp(1, 1_000));
    let next = sorted.last().filter(|_| is_more).map(|(key, _)| key.clone());
    Ok(Page { items: sorted.into_iter().map(|(_, item)| item.clone()).collect(), next })
}
