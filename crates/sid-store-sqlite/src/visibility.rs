//! Who sees and who writes whose memory: the only place that knows. The rules are those of the in-process reference store.

use sid_store::Right;
use sid_types::{AgentId, ConversationId, Owner, Principal, Scope, ShareLevel, TenantId, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, Id};
use crate::error::{Result, damaged, missing};
use crate::writer::Tx;

/// An owner as columns: kind and two ids.
pub(crate) fn columns(owner: Owner) -> (i64, Vec<u8>, Vec<u8>) {
    match owner {
        Owner::Tenant => (0, Vec::new(), Vec::new()),
        Owner::Team { team } => (1, team.blob(), Vec::new()),
        Owner::User { user } => (2, user.blob(), Vec::new()),
        Owner::Agent { agent } => (3, agent.blob(), Vec::new()),
        Owner::Pair { agent, user } => (4, agent.blob(), user.blob()),
    }
}

/// The owner in columns `at`, `at + 1` and `at + 2`.
pub(crate) fn owner(row: &SqliteRow, at: usize) -> Result<Owner> {
    Ok(match row.int(at)? {
        0 => Owner::Tenant,
        1 => Owner::Team { team: row.id(at + 1)? },
        2 => Owner::User { user: row.id(at + 1)? },
        3 => Owner::Agent { agent: row.id(at + 1)? },
        4 => Owner::Pair { agent: row.id(at + 1)?, user: row.id(at + 2)? },
        other => return Err(damaged(format!("a partition has kind {other}")).into()),
    })
}

/// A scope as SQL sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer {
    /// The tenant's number; -1 for a tenant that is not there.
    pub(crate) tenant: i64,
    pub(crate) scope: Scope,
}

impl Viewer {
    pub(crate) fn tenant_id(&self) -> TenantId {
        self.scope.tenant()
    }

    /// Whether the conversation of this agent and user is visible. Needs no look-up: membership does not matter.
    pub(crate) fn sees_conversation(&self, agent: AgentId, user: Option<UserId>) -> bool {
        Right::to_conversation(&self.scope, agent, user)
    }

    /// Whether the scope may read the owner's memory. Nobody sees the memory of an owner that is not there.
    pub(crate) async fn sees(&self, conn: &mut SqliteConnection, owner: Owner) -> Result<bool> {
        self.has(conn, Right::to_read(&self.scope, owner), owner).await
    }

    /// Whether the scope may write the owner's memory.
    pub(crate) async fn writes(&self, conn: &mut SqliteConnection, owner: Owner) -> Result<bool> {
        self.has(conn, Right::to_write(&self.scope, owner), owner).await
    }

    /// What the scope may do with items of the owner, as nobody shares them.
    pub(crate) async fn item_level(&self, conn: &mut SqliteConnection, owner: Owner) -> Result<Option<ShareLevel>> {
        let level = self.level_of_item(conn, owner).await?;
        Ok(if level.is_some() && self.exists(conn, owner).await? { level } else { None })
    }

    /// [`item_level`](Self::item_level) for an item that is there: its owner is, too, for it would have gone with its owner.
    pub(crate) async fn level_of_item(&self, conn: &mut SqliteConnection, owner: Owner) -> Result<Option<ShareLevel>> {
        if self.holds(conn, Right::to_write_item(&self.scope, owner)).await? {
            return Ok(Some(ShareLevel::Full));
        }
        Ok(self.holds(conn, Right::to_read_item(&self.scope, owner)).await?.then_some(ShareLevel::Read))
    }

    /// Whether the scope may know of a user: the application of all, people of those who are in a team with them, a turn of its human.
    pub(crate) async fn knows(&self, conn: &mut SqliteConnection, user: UserId) -> Result<bool> {
        let me = match self.scope.principal() {
            Principal::Tenant { .. } => return Ok(true),
            Principal::User { user: me } if me == user => return Ok(true),
            Principal::User { user: me } => me,
            Principal::Turn { user: human, .. } => return Ok(human == Some(user)),
        };
        let found = sqlx::query(
            "SELECT 1 FROM team_members m CROSS JOIN team_members o ON o.tenant = ?1 AND o.user = ?3 AND o.team = m.team
             WHERE m.tenant = ?1 AND m.user = ?2",
        );
        Ok(found.bind(self.tenant).bind(me.blob()).bind(user.blob()).fetch_optional(conn).await?.is_some())
    }

    async fn has(&self, conn: &mut SqliteConnection, right: Right, owner: Owner) -> Result<bool> {
        Ok(self.holds(conn, right).await? && self.exists(conn, owner).await?)
    }

    async fn holds(&self, conn: &mut SqliteConnection, right: Right) -> Result<bool> {
        match right {
            Right::No => Ok(false),
            Right::Yes => Ok(true),
            Right::InTeam { agent, user, team } => self.shares_team(conn, agent, user, team).await,
        }
    }

    async fn exists(&self, conn: &mut SqliteConnection, owner: Owner) -> Result<bool> {
        let (_, a, b) = columns(owner);
        let sql = match owner {
            Owner::Tenant => return Ok(self.tenant >= 0),
            Owner::Team { .. } => "SELECT 1 FROM teams WHERE tenant = ?1 AND id = ?2",
            Owner::User { .. } => "SELECT 1 FROM users WHERE tenant = ?1 AND id = ?2",
            Owner::Agent { .. } => "SELECT 1 FROM agents WHERE tenant = ?1 AND id = ?2",
            Owner::Pair { .. } => "SELECT 1 FROM agents a, users u WHERE a.tenant = ?1 AND a.id = ?2 AND u.tenant = ?1 AND u.id = ?3",
        };
        Ok(sqlx::query(sql).bind(self.tenant).bind(a).bind(b).fetch_optional(conn).await?.is_some())
    }

    /// Whether the user is in the team and, if an agent is named, that may read it.
    async fn shares_team(
        &self,
        conn: &mut SqliteConnection,
        agent: Option<AgentId>,
        user: UserId,
        team: sid_types::TeamId,
    ) -> Result<bool> {
        let found = sqlx::query(
            "SELECT 1 FROM team_members m WHERE m.tenant = ?1 AND m.user = ?2 AND m.team = ?3
             AND (?4 IS NULL OR EXISTS (SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?4 AND g.team = ?3))",
        )
        .bind(self.tenant)
        .bind(user.blob())
        .bind(team.blob())
        .bind(agent.map(Id::blob))
        .fetch_optional(conn)
        .await?;
        Ok(found.is_some())
    }

    /// Every partition that the scope sees and that has something in it.
    ///
    /// `CROSS JOIN` here and elsewhere keeps SQLite to the order that is written: it knows nothing of the sizes of the tables.
    pub(crate) async fn partitions(&self, conn: &mut SqliteConnection) -> Result<Vec<Partition>> {
        const TENANT: &str = "SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1";
        const USER: &str = "
            SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 0
            UNION ALL SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 2 AND a = ?3
            UNION ALL SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions INDEXED BY partitions_by_user WHERE tenant = ?1 AND kind = 4 AND b = ?3
            UNION ALL SELECT p.part, p.kind, p.a, p.b, p.records, p.is_full_text AND p.filled_to >= p.fill_end FROM team_members m
                CROSS JOIN partitions p ON p.tenant = ?1 AND p.kind = 1 AND p.a = m.team WHERE m.tenant = ?1 AND m.user = ?3";
        const TURN: &str = "
            SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 0
            UNION ALL SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 2 AND a = ?3
            UNION ALL SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 3 AND a = ?2
            UNION ALL SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ?1 AND kind = 4 AND a = ?2 AND b = ?3
            UNION ALL SELECT p.part, p.kind, p.a, p.b, p.records, p.is_full_text AND p.filled_to >= p.fill_end FROM team_members m
                CROSS JOIN agent_teams g ON g.tenant = ?1 AND g.agent = ?2 AND g.team = m.team
                CROSS JOIN partitions p ON p.tenant = ?1 AND p.kind = 1 AND p.a = m.team WHERE m.tenant = ?1 AND m.user = ?3";
        let (sql, agent, user) = match self.scope.principal() {
            Principal::Tenant { .. } => (TENANT, None, None),
            Principal::User { user } => (USER, None, Some(user)),
            Principal::Turn { agent, user } => (TURN, Some(agent), user),
        };
        let query = sqlx::query(sql).bind(self.tenant).bind(agent.map(Id::blob)).bind(user.map(Id::blob));
        query.fetch_all(conn).await?.iter().map(Partition::read).collect()
    }
}

/// A memory partition as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) part: i64,
    pub(crate) owner: Owner,
    /// Searchable records.
    pub(crate) records: u64,
    /// Whether the full-text index has all of it.
    pub(crate) is_full_text: bool,
}

impl Partition {
    fn read(row: &SqliteRow) -> Result<Self> {
        Ok(Self { part: row.int(0)?, owner: owner(row, 1)?, records: row.count(4)?, is_full_text: row.flag(5)? })
    }

    /// The owner's partition, if anything was ever written there.
    pub(crate) async fn find(conn: &mut SqliteConnection, tenant: i64, owner: Owner) -> Result<Option<Self>> {
        let (kind, a, b) = columns(owner);
        sqlx::query("SELECT part, kind, a, b, records, is_full_text AND filled_to >= fill_end FROM partitions WHERE tenant = ? AND kind = ? AND a = ? AND b = ?")
            .bind(tenant)
            .bind(kind)
            .bind(a)
            .bind(b)
            .fetch_optional(conn)
            .await?
            .as_ref()
            .map(Self::read)
            .transpose()
    }

    /// The owner's partition, made if it is not there.
    pub(crate) async fn open(tx: &mut Tx, tenant: i64, owner: Owner) -> Result<Self> {
        if let Some(known) = Self::find(&mut tx.conn, tenant, owner).await? {
            return Ok(known);
        }
        let (kind, a, b) = columns(owner);
        let row = sqlx::query("INSERT INTO partitions (tenant, kind, a, b) VALUES (?, ?, ?, ?) RETURNING part")
            .bind(tenant)
            .bind(kind)
            .bind(a)
            .bind(b)
            .fetch_one(&mut tx.conn)
            .await?;
        Ok(Self { part: row.int(0)?, owner, records: 0, is_full_text: false })
    }
}

/// A conversation's row: what writes to it need.
#[derive(Debug, Clone)]
pub(crate) struct Conv {
    pub(crate) tenant: i64,
    pub(crate) tenant_id: TenantId,
    pub(crate) conv: i64,
    pub(crate) id: ConversationId,
    pub(crate) part: i64,
    pub(crate) agent: AgentId,
    pub(crate) user: Option<UserId>,
    pub(crate) last_seq: u64,
    pub(crate) queue_start: u64,
    pub(crate) last_at: Option<i64>,
    pub(crate) epoch: u64,
    pub(crate) holder: Option<sid_types::WorkerId>,
    pub(crate) expires_at: Option<i64>,
    /// How long a lease lasts, in nanoseconds, as its worker asked.
    pub(crate) ttl: Option<i64>,
    /// The oldest run that has not ended.
    pub(crate) head: Option<i64>,
    /// The user's time zone.
    pub(crate) zone: Option<String>,
    /// Searchable records of the partition.
    pub(crate) records: u64,
    /// Whether the partition's new records go into the full-text index.
    pub(crate) is_full_text: bool,
    /// Whether the pair has its copies of the agent's block templates.
    pub(crate) has_met: bool,
}

/// The columns of [`Conv::read`].
pub(crate) const CONV: &str =
    "c.conv, c.id, c.part, c.agent, c.user, c.last_seq, c.queue_start, c.last_at, c.epoch, c.holder, c.expires_at,
    c.ttl, c.head, (SELECT u.timezone FROM users u WHERE u.tenant = c.tenant AND u.id = c.user),
    (SELECT records FROM partitions p WHERE p.part = c.part), (SELECT is_full_text FROM partitions p WHERE p.part = c.part),
    (SELECT has_met FROM partitions p WHERE p.part = c.part)";

impl Conv {
    pub(crate) fn read(row: &SqliteRow, tenant: i64, tenant_id: TenantId) -> Result<Self> {
        Ok(Self {
            tenant,
            tenant_id,
            conv: row.int(0)?,
            id: row.id(1)?,
            part: row.int(2)?,
            agent: row.id(3)?,
            user: row.maybe_id(4)?,
            last_seq: row.count(5)?,
            queue_start: row.count(6)?,
            last_at: row.maybe_int(7)?,
            epoch: row.count(8)?,
            holder: row.maybe_id(9)?,
            expires_at: row.maybe_int(10)?,
            ttl: row.maybe_int(11)?,
            head: row.maybe_int(12)?,
            zone: row.maybe_text(13)?,
            records: row.count(14)?,
            is_full_text: row.flag(15)?,
            has_met: row.flag(16)?,
        })
    }

    /// The conversation, if it is there; nobody has checked who may see it.
    pub(crate) async fn find(conn: &mut SqliteConnection, tenant: i64, tenant_id: TenantId, id: ConversationId) -> Result<Option<Self>> {
        let sql = format!("SELECT {CONV} FROM conversations c WHERE c.tenant = ? AND c.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
        row.map(|r| Self::read(&r, tenant, tenant_id)).transpose()
    }

    /// The conversation, if the scope may see it.
    pub(crate) async fn get(conn: &mut SqliteConnection, viewer: &Viewer, id: ConversationId) -> Result<Self> {
        let found = Self::find(conn, viewer.tenant, viewer.tenant_id(), id).await?;
        Ok(found.filter(|c| viewer.sees_conversation(c.agent, c.user)).ok_or(missing("conversation"))?)
    }

    /// Writes back what a job has changed of it.
    pub(crate) fn save(&self, tx: &mut Tx) {
        tx.later(
            "UPDATE conversations SET last_seq = ?, queue_start = ?, last_at = ?, epoch = ?, holder = ?, expires_at = ?, ttl = ?,
             head = ? WHERE conv = ?",
        )
        .bind(self.last_seq as i64)
        .bind(self.queue_start as i64)
        .bind(self.last_at)
        .bind(self.epoch as i64)
        .bind(self.holder.map(Id::blob))
        .bind(self.expires_at)
        .bind(self.ttl)
        .bind(self.head)
        .bind(self.conv);
    }

    /// Whose memory its messages are.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of_conversation(self.agent, self.user)
    }

    /// The scope of a turn in it.
    pub(crate) fn turn_scope(&self) -> Scope {
        turn_scope(self.tenant_id, self.agent, self.user)
    }
}

/// The scope of a turn of this agent with this user.
pub(crate) fn turn_scope(tenant: TenantId, agent: AgentId, user: Option<UserId>) -> Scope {
    #[allow(clippy::disallowed_methods, reason = "the store states what a lease's turn may see: its own agent and user")]
    Scope::grant(tenant, Principal::Turn { agent, user })
}

/// Conversations whose prompt shows memory of this owner render their head anew at the next turn.
pub(crate) async fn render_anew(tx: &mut Tx, tenant: i64, owner: Owner) -> Result<()> {
    let (_, a, b) = columns(owner);
    let whose = match owner {
        Owner::Tenant => "SELECT conv FROM conversations WHERE tenant = ?1",
        Owner::Team { .. } => {
            "SELECT c.conv FROM team_members m CROSS JOIN conversations c ON c.tenant = ?1 AND c.user = m.user
             CROSS JOIN agent_teams g ON g.tenant = ?1 AND g.agent = c.agent AND g.team = m.team WHERE m.tenant = ?1 AND m.team = ?2"
        }
        Owner::User { .. } => "SELECT conv FROM conversations WHERE tenant = ?1 AND user = ?2",
        Owner::Agent { .. } => "SELECT conv FROM conversations WHERE tenant = ?1 AND agent = ?2",
        Owner::Pair { .. } => "SELECT conv FROM conversations WHERE tenant = ?1 AND agent = ?2 AND user = ?3",
    };
    let sql = format!("UPDATE conversation_heads SET prefix = NULL WHERE conv IN ({whose}) AND prefix IS NOT NULL");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(a).bind(b).execute(&mut tx.conn).await?;
    Ok(())
}
