//! Who sees and who writes whose memory: the only place that knows, beside `sid.visible` and `sid.turn_blocks` in the schema. The rules are those of the
//! in-process reference store; row-level security keeps tenants apart beneath them.

use sid_store::{Right, StoreError};
use sid_types::{AgentId, ConversationId, Owner, Principal, Scope, ShareLevel, TeamId, TenantId, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::codec::{Columns, Id};
use crate::error::{Result, damaged, missing};
use crate::rows::{CONV, Conv};
use crate::tx::Tx;

/// An owner as columns: kind and two ids.
pub(crate) const fn columns(owner: Owner) -> (i16, Uuid, Uuid) {
    match owner {
        Owner::Tenant => (0, Uuid::nil(), Uuid::nil()),
        Owner::Team { team } => (1, team.uuid(), Uuid::nil()),
        Owner::User { user } => (2, user.uuid(), Uuid::nil()),
        Owner::Agent { agent } => (3, agent.uuid(), Uuid::nil()),
        Owner::Pair { agent, user } => (4, agent.uuid(), user.uuid()),
    }
}

/// The owner that columns tell.
pub(crate) fn owner_of(kind: i16, a: Uuid, b: Uuid) -> Result<Owner, StoreError> {
    Ok(match kind {
        0 => Owner::Tenant,
        1 => Owner::Team { team: Id::of(a) },
        2 => Owner::User { user: Id::of(a) },
        3 => Owner::Agent { agent: Id::of(a) },
        4 => Owner::Pair { agent: Id::of(a), user: Id::of(b) },
        other => return Err(damaged(format!("a partition has kind {other}"))),
    })
}

/// The owner in columns `at`, `at + 1` and `at + 2`.
pub(crate) fn owner(row: &PgRow, at: usize) -> Result<Owner> {
    let id = |column| Ok::<Uuid, crate::error::Fault>(row.id::<AgentId>(column)?.uuid());
    Ok(owner_of(row.small(at)?, id(at + 1)?, id(at + 2)?)?)
}

/// A scope as SQL sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer {
    pub(crate) scope: Scope,
}

impl Viewer {
    pub(crate) const fn tenant(&self) -> TenantId {
        self.scope.tenant()
    }

    pub(crate) const fn raw_tenant(&self) -> Uuid {
        self.scope.tenant().uuid()
    }

    /// Whether the conversation of this agent and user is visible. Needs no look-up: membership does not matter.
    pub(crate) fn sees_conversation(&self, agent: AgentId, user: Option<UserId>) -> bool {
        Right::to_conversation(&self.scope, agent, user)
    }

    /// Whether the scope may read the owner's memory. Nobody sees the memory of an owner that is not there.
    pub(crate) async fn sees(&self, tx: &mut Tx, owner: Owner) -> Result<bool> {
        self.has(tx, Right::to_read(&self.scope, owner), owner).await
    }

    /// Whether the scope may write the owner's memory.
    pub(crate) async fn writes(&self, tx: &mut Tx, owner: Owner) -> Result<bool> {
        self.has(tx, Right::to_write(&self.scope, owner), owner).await
    }

    /// What the scope may do with items of the owner, as nobody shares them.
    pub(crate) async fn item_level(&self, tx: &mut Tx, owner: Owner) -> Result<Option<ShareLevel>> {
        let level = self.level_of_item(tx, owner).await?;
        Ok(if level.is_some() && self.exists(tx, owner).await? { level } else { None })
    }

    /// [`item_level`](Self::item_level) for an item that is there: its owner is, too, for it would have gone with its owner.
    pub(crate) async fn level_of_item(&self, tx: &mut Tx, owner: Owner) -> Result<Option<ShareLevel>> {
        if self.holds(tx, Right::to_write_item(&self.scope, owner)).await? {
            return Ok(Some(ShareLevel::Full));
        }
        Ok(self.holds(tx, Right::to_read_item(&self.scope, owner)).await?.then_some(ShareLevel::Read))
    }

    /// Whether the scope may know of a user: the application of all, people of those who are in a team with them, a turn of its human.
    pub(crate) async fn knows(&self, tx: &mut Tx, user: UserId) -> Result<bool> {
        let me = match self.scope.principal() {
            Principal::Tenant { .. } => return Ok(true),
            Principal::User { user: me } if me == user => return Ok(true),
            Principal::User { user: me } => me,
            Principal::Turn { user: human, .. } => return Ok(human == Some(user)),
        };
        let query = tx.query(
            "SELECT 1 FROM sid.team_members m JOIN sid.team_members o ON o.tenant = $1 AND o.user_id = $3 AND o.team_id = m.team_id
             WHERE m.tenant = $1 AND m.user_id = $2 LIMIT 1",
        );
        Ok(query.bind(self.raw_tenant()).bind(me.uuid()).bind(user.uuid()).fetch_optional(tx.conn()).await?.is_some())
    }

    async fn has(&self, tx: &mut Tx, right: Right, owner: Owner) -> Result<bool> {
        Ok(self.holds(tx, right).await? && self.exists(tx, owner).await?)
    }

    async fn holds(&self, tx: &mut Tx, right: Right) -> Result<bool> {
        match right {
            Right::No => Ok(false),
            Right::Yes => Ok(true),
            Right::InTeam { agent, user, team } => self.shares_team(tx, agent, user, team).await,
        }
    }

    async fn exists(&self, tx: &mut Tx, owner: Owner) -> Result<bool> {
        let (_, a, b) = columns(owner);
        let sql = match owner {
            Owner::Tenant => "SELECT 1 FROM sid.tenants WHERE id = $1 AND $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL",
            Owner::Team { .. } => "SELECT 1 FROM sid.teams WHERE tenant = $1 AND id = $2 AND $3::uuid IS NOT NULL",
            Owner::User { .. } => "SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 AND $3::uuid IS NOT NULL",
            Owner::Agent { .. } => "SELECT 1 FROM sid.agents WHERE tenant = $1 AND id = $2 AND $3::uuid IS NOT NULL",
            Owner::Pair { .. } => {
                "SELECT 1 FROM sid.agents a, sid.users u WHERE a.tenant = $1 AND a.id = $2 AND u.tenant = $1 AND u.id = $3"
            }
        };
        Ok(tx.query(sql).bind(self.raw_tenant()).bind(a).bind(b).fetch_optional(tx.conn()).await?.is_some())
    }

    /// Whether the user is in the team and, if an agent is named, that may read it.
    async fn shares_team(&self, tx: &mut Tx, agent: Option<AgentId>, user: UserId, team: TeamId) -> Result<bool> {
        let query = tx.query(
            "SELECT 1 FROM sid.team_members m WHERE m.tenant = $1 AND m.user_id = $2 AND m.team_id = $3
             AND ($4::uuid IS NULL OR EXISTS (SELECT 1 FROM sid.agent_teams g WHERE g.tenant = $1 AND g.agent_id = $4 AND g.team_id = $3))",
        );
        let query = query.bind(self.raw_tenant()).bind(user.uuid()).bind(team.uuid()).bind(agent.map(Id::raw));
        Ok(query.fetch_optional(tx.conn()).await?.is_some())
    }

    /// Who looks, as `sid.visible` takes it: a kind, an agent, a user.
    pub(crate) fn principal(&self) -> (i16, Option<Uuid>, Option<Uuid>) {
        match self.scope.principal() {
            Principal::Tenant { .. } => (0, None, None),
            Principal::User { user } => (1, None, Some(user.raw())),
            Principal::Turn { agent, user } => (2, Some(agent.raw()), user.map(Id::raw)),
        }
    }

    /// Every partition that the scope sees and that was ever written to.
    pub(crate) async fn partitions(&self, tx: &mut Tx) -> Result<Vec<Partition>> {
        let (kind, agent, user) = self.principal();
        let query = tx
            .query("SELECT p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to FROM sid.visible($1, $2, $3, $4) p");
        let query = query.bind(self.raw_tenant()).bind(kind).bind(agent).bind(user);
        query.fetch_all(tx.conn()).await?.iter().map(Partition::read).collect()
    }
}

/// A memory partition as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) part: i64,
    pub(crate) owner: Owner,
    /// Searchable records.
    pub(crate) records: u64,
    /// The number of its last change.
    pub(crate) version: i64,
    /// Copies in memory that are older are read anew.
    pub(crate) reload_from: i64,
    /// Up to where its records are in word lists.
    pub(crate) filled_to: i64,
}

impl Partition {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            part: row.int(0)?,
            owner: owner(row, 1)?,
            records: row.count(4)?,
            version: row.int(5)?,
            reload_from: row.int(6)?,
            filled_to: row.int(7)?,
        })
    }

    /// The owner's partition, if anything was ever written there.
    pub(crate) async fn find(tx: &mut Tx, owner: Owner) -> Result<Option<Self>> {
        let (kind, a, b) = columns(owner);
        let query = tx.query(
            "SELECT p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to FROM sid.partitions p
             WHERE p.tenant = $1 AND p.kind = $2 AND p.a = $3 AND p.b = $4",
        );
        let row = query.bind(tx.tenant).bind(kind).bind(a).bind(b).fetch_optional(tx.conn()).await?;
        row.as_ref().map(Self::read).transpose()
    }

    /// The partition with this number.
    pub(crate) async fn numbered(tx: &mut Tx, part: i64) -> Result<Option<Self>> {
        let query = tx.query(
            "SELECT p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to FROM sid.partitions p
             WHERE p.tenant = $1 AND p.part = $2",
        );
        let row = query.bind(tx.tenant).bind(part).fetch_optional(tx.conn()).await?;
        row.as_ref().map(Self::read).transpose()
    }

    /// The number of the owner's partition, made if it is not there.
    pub(crate) async fn open(tx: &mut Tx, owner: Owner) -> Result<i64> {
        if let Some(known) = Self::find(tx, owner).await? {
            return Ok(known.part);
        }
        let (kind, a, b) = columns(owner);
        // Somebody else may make it at the same moment.
        let query = tx.query(
            "INSERT INTO sid.partitions (tenant, kind, a, b) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant, kind, a, b) DO UPDATE SET kind = excluded.kind RETURNING part",
        );
        query.bind(tx.tenant).bind(kind).bind(a).bind(b).fetch_one(tx.conn()).await?.int(0)
    }
}

impl Conv {
    /// The conversation, if the scope may see it.
    pub(crate) async fn get(tx: &mut Tx, viewer: &Viewer, id: ConversationId) -> Result<Self> {
        let found = Self::find(tx, id).await?;
        Ok(found.filter(|c| viewer.sees_conversation(c.agent, c.user)).ok_or(missing("conversation"))?)
    }

    /// The conversation, if it is there; nobody has checked who may see it.
    pub(crate) async fn find(tx: &mut Tx, id: ConversationId) -> Result<Option<Self>> {
        let sql = format!("SELECT row_to_json(x)::text FROM ({CONV} WHERE c.tenant = $1 AND c.id = $2) x");
        let row = tx.query_of(sql).bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
        row.map(|r| r.json(0)).transpose()
    }
}

/// Conversations whose prompt shows memory of this owner render their head anew at the next turn.
pub(crate) async fn render_anew(tx: &mut Tx, owner: Owner) -> Result<()> {
    let (_, a, b) = columns(owner);
    let whose = match owner {
        Owner::Tenant => "SELECT id FROM sid.conversations WHERE tenant = $1",
        Owner::Team { .. } => {
            "SELECT c.id FROM sid.team_members m JOIN sid.conversations c ON c.tenant = $1 AND c.user_id = m.user_id
             JOIN sid.agent_teams g ON g.tenant = $1 AND g.agent_id = c.agent_id AND g.team_id = m.team_id WHERE m.tenant = $1 AND m.team_id = $2"
        }
        Owner::User { .. } => "SELECT id FROM sid.conversations WHERE tenant = $1 AND user_id = $2",
        Owner::Agent { .. } => "SELECT id FROM sid.conversations WHERE tenant = $1 AND agent_id = $2",
        Owner::Pair { .. } => "SELECT id FROM sid.conversations WHERE tenant = $1 AND agent_id = $2 AND user_id = $3",
    };
    let sql = format!(
        "UPDATE sid.conversation_heads SET prefix = NULL WHERE tenant = $1 AND prefix IS NOT NULL AND conv IN ({whose})
         AND $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL"
    );
    tx.query_of(sql).bind(tx.tenant).bind(a).bind(b).execute(tx.conn()).await?;
    Ok(())
}
