//! `Eraser`: forgetting, with all that derives from what is forgotten. One transaction each.

mod blocks;
mod pages;
mod traces;

use async_trait::async_trait;
use sid_store::{EraseTarget, Eraser, Receipt, RecordId, StoreError};
use sid_types::{AgentId, ConversationId, ItemId, NewMessage, Principal, RunId, Scope, UserId};
use uuid::Uuid;

use crate::archival::{self, known_of, note, remove};
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id};
use crate::directory;
use crate::error::{Result, missing};
use crate::items::{drop_rows, remove_passages};
use crate::rows::Conv;
use crate::state::accept::user_principal;
use crate::tasks;
use crate::tx::Tx;
use crate::vectors::{self, Removal};
use crate::visibility::{Partition, Viewer, render_anew};
use crate::words;

#[async_trait]
impl Eraser for PgStore {
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError> {
        let mut tx = self.begin_long(scope.tenant()).await?;
        let mut work = Work {
            store: self,
            viewer: self.viewer(scope),
            receipt: Receipt::default(),
            gone: Vec::new(),
            dropped: Vec::new(),
            conversations: Vec::new(),
        };
        let outcome = async {
            work.erase(&mut tx, target).await?;
            vectors::written(&mut tx).await
        }
        .await;
        let written = tx.finish(outcome).await?;
        work.receipt.pending = self.verify_removals(scope.tenant(), &written).await?;
        // Those who follow a run learn that it is gone.
        for run in &work.gone {
            self.watchers().wake(scope.tenant(), *run);
        }
        for part in &work.dropped {
            self.partitions().forget(*part);
        }
        for conversation in &work.conversations {
            self.known().forget(*conversation);
            self.queues().forget(*conversation);
        }
        Ok(work.receipt)
    }
}

/// One erasure.
struct Work<'s> {
    store: &'s PgStore,
    viewer: Viewer,
    receipt: Receipt,
    gone: Vec<RunId>,
    /// Partitions that are no more.
    dropped: Vec<i64>,
    /// Conversations that are no more.
    conversations: Vec<ConversationId>,
}

impl Work<'_> {
    async fn erase(&mut self, tx: &mut Tx, target: EraseTarget) -> Result<()> {
        match target {
            EraseTarget::Conversation(id) => {
                let conv = Conv::get(tx, &self.viewer, id).await?;
                if matches!(self.viewer.scope.principal(), Principal::Turn { .. }) {
                    return Err(missing("conversation").into());
                }
                self.erase_conversation(tx, &conv).await
            }
            EraseTarget::Idle { conversation, since } => {
                let conv = Conv::get(tx, &self.viewer, conversation).await?;
                let query = tx.query(
                    "SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 AND head IS NULL AND coalesce(last_at, created_at) < $3 FOR UPDATE",
                );
                let idle = query.bind(tx.tenant).bind(conversation.uuid()).bind(At(since)).fetch_optional(tx.conn()).await?;
                if idle.is_none() || matches!(self.viewer.scope.principal(), Principal::Turn { .. }) {
                    return Err(missing("conversation").into());
                }
                self.erase_conversation(tx, &conv).await
            }
            EraseTarget::User(user) => {
                if !self.viewer.scope.is_tenant_wide() || directory::find_user(tx, user).await?.is_none() {
                    return Err(missing("user").into());
                }
                self.erase_user(tx, user).await
            }
            EraseTarget::Agent(agent) => {
                if !self.viewer.scope.is_tenant_wide() || directory::find_agent(tx, agent).await?.is_none() {
                    return Err(missing("agent").into());
                }
                self.erase_agent(tx, agent).await
            }
        }
    }

    async fn erase_user(&mut self, tx: &mut Tx, user: UserId) -> Result<()> {
        // Whoever makes an item of the user holds this row: what is made meanwhile is waited for, and nothing is made afterwards.
        let query = tx.query("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR UPDATE");
        query.bind(tx.tenant).bind(user.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("user"))?;
        self.erase_conversations(tx, "SELECT id FROM sid.conversations WHERE tenant = $1 AND user_id = $2", user.uuid()).await?;
        self.erase_items(tx, "SELECT id FROM sid.items WHERE tenant = $1 AND of_user = $2", user.uuid()).await?;
        self.receipt.tasks += tasks::erase(tx, "users", user.uuid()).await?;
        let whose = "SELECT part FROM sid.partitions WHERE tenant = $1 AND kind = 2 AND a = $2
                     UNION ALL SELECT part FROM sid.partitions WHERE tenant = $1 AND kind = 4 AND b = $2";
        self.erase_owners(tx, whose, user.uuid()).await?;
        // While the handle is known.
        tx.query("SELECT sid.forget_names($1)").bind(user.uuid()).execute(tx.conn()).await?;
        for sql in [
            "DELETE FROM sid.team_members WHERE tenant = $1 AND user_id = $2",
            "DELETE FROM sid.item_shares WHERE tenant = $1 AND with_kind = 0 AND with_id = $2",
            "DELETE FROM sid.users WHERE tenant = $1 AND id = $2",
        ] {
            tx.query(sql).bind(tx.tenant).bind(user.uuid()).execute(tx.conn()).await?;
        }
        let query = tx.query("DELETE FROM sid.idempotency WHERE tenant = $1 AND principal = $2");
        query.bind(tx.tenant).bind(user_principal(user)).execute(tx.conn()).await?;
        tx.query("SELECT sid.forget_keys($1)").bind(user.uuid()).execute(tx.conn()).await?;
        Ok(())
    }

    async fn erase_agent(&mut self, tx: &mut Tx, agent: AgentId) -> Result<()> {
        let query = tx.query("SELECT 1 FROM sid.agents WHERE tenant = $1 AND id = $2 FOR UPDATE");
        query.bind(tx.tenant).bind(agent.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("agent"))?;
        self.erase_conversations(tx, "SELECT id FROM sid.conversations WHERE tenant = $1 AND agent_id = $2", agent.uuid()).await?;
        self.erase_items(tx, "SELECT id FROM sid.items WHERE tenant = $1 AND owner_kind IN (3, 4) AND a = $2", agent.uuid()).await?;
        self.receipt.tasks += tasks::erase(tx, "agents", agent.uuid()).await?;
        let whose = "SELECT part FROM sid.partitions WHERE tenant = $1 AND kind IN (3, 4) AND a = $2";
        self.erase_owners(tx, whose, agent.uuid()).await?;
        for sql in [
            "DELETE FROM sid.block_links WHERE tenant = $1 AND agent_id = $2",
            "DELETE FROM sid.agent_teams WHERE tenant = $1 AND agent_id = $2",
            "DELETE FROM sid.agents WHERE tenant = $1 AND id = $2",
        ] {
            tx.query(sql).bind(tx.tenant).bind(agent.uuid()).execute(tx.conn()).await?;
        }
        tx.query("SELECT sid.forget_agent_keys($1)").bind(agent.uuid()).execute(tx.conn()).await?;
        Ok(())
    }

    async fn erase_conversations(&mut self, tx: &mut Tx, which: &'static str, id: Uuid) -> Result<()> {
        for row in tx.query(which).bind(tx.tenant).bind(id).fetch_all(tx.conn()).await? {
            let id: ConversationId = row.id(0)?;
            if let Some(conv) = Conv::find(tx, id).await? {
                self.erase_conversation(tx, &conv).await?;
            }
        }
        Ok(())
    }

    async fn erase_conversation(&mut self, tx: &mut Tx, conv: &Conv) -> Result<()> {
        // The conversation first, as every write to it does; whoever holds it is fenced off when its row is gone. Then its partition, as
        // every change of memory does.
        let query = tx.query("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR UPDATE");
        if query.bind(tx.tenant).bind(conv.id.uuid()).fetch_optional(tx.conn()).await?.is_none() {
            return Ok(());
        }
        self.receipt.tasks += tasks::erase(tx, "conversations", conv.id.uuid()).await?;
        // Items before partitions, as whoever writes them does.
        let items = "SELECT id FROM sid.items WHERE tenant = $1 AND source_conv = $2";
        let items = self.erase_items(tx, items, conv.id.uuid()).await?;
        let query = tx.query("SELECT 1 FROM sid.partitions WHERE tenant = $1 AND part = $2 FOR UPDATE");
        query.bind(tx.tenant).bind(conv.part).execute(tx.conn()).await?;
        self.receipt.conversations += 1;
        self.receipt.redacted += traces::redact_quotes(tx, conv).await?;
        let passages = self.erase_passages_of(tx, conv).await?;
        // Those of items that were below one that was written in the conversation.
        remove_passages(self.store, tx, &items).await?;
        pages::erase_telling(self.store, tx, conv, &mut self.receipt).await?;
        self.receipt.block_versions += blocks::take_back(tx, conv.id).await?;
        traces::forget_pair(tx, conv).await?;
        traces::forget_named(tx, &passages).await?;
        self.erase_runs(tx, conv).await?;
        self.conversations.push(conv.id);
        self.erase_messages(tx, conv).await?;
        for sql in [
            "DELETE FROM sid.approvals WHERE tenant = $1 AND conv = $2",
            "DELETE FROM sid.conversation_heads WHERE tenant = $1 AND conv = $2",
            "DELETE FROM sid.conversations WHERE tenant = $1 AND id = $2",
        ] {
            tx.query(sql).bind(tx.tenant).bind(conv.id.uuid()).execute(tx.conn()).await?;
        }
        pages::look_again(tx, conv).await?;
        note(self.store, tx, "conversation.gone", Some(conv.part), conv.id.uuid()).await?;
        render_anew(tx, conv.owner()).await
    }

    /// The rows of items that a statement names by tenant and an id, with all that is below them; answers which. Their passages are left.
    async fn erase_items(&mut self, tx: &mut Tx, which: &'static str, id: Uuid) -> Result<Vec<ItemId>> {
        let rows = tx.query(which).bind(tx.tenant).bind(id).fetch_all(tx.conn()).await?;
        let tops = rows.iter().map(|row| Ok(row.id::<ItemId>(0)?.raw())).collect::<Result<Vec<_>>>()?;
        let gone = drop_rows(tx, tops).await?;
        self.receipt.items += gone.len() as u64;
        Ok(gone)
    }

    /// Passages that were written in the conversation; answers those that other owners' turns may have been shown.
    async fn erase_passages_of(&mut self, tx: &mut Tx, conv: &Conv) -> Result<Vec<RecordId>> {
        let sql = format!("SELECT {} FROM {} WHERE p.tenant = $1 AND p.source_conv = $2", archival::COLUMNS, archival::TABLES);
        let mut elsewhere = Vec::new();
        for row in tx.query_of(sql).bind(tx.tenant).bind(conv.id.uuid()).fetch_all(tx.conn()).await? {
            let known = known_of(&row)?;
            self.receipt.vectors += remove(self.store, tx, &known).await?;
            self.receipt.passages += 1;
            if known.owner != conv.owner() {
                elsewhere.push(RecordId::Passage(known.id));
            }
        }
        Ok(elsewhere)
    }

    async fn erase_runs(&mut self, tx: &mut Tx, conv: &Conv) -> Result<()> {
        let query = tx.query("SELECT id, waiting FROM sid.runs WHERE tenant = $1 AND conv = $2");
        let rows = query.bind(tx.tenant).bind(conv.id.uuid()).fetch_all(tx.conn()).await?;
        let mut runs: Vec<Uuid> = Vec::with_capacity(rows.len());
        let mut waiting: Vec<Uuid> = Vec::new();
        for row in &rows {
            self.receipt.runs += 1;
            if row.maybe_text(1)?.is_some() {
                let messages: Vec<NewMessage> = row.json(1)?;
                self.receipt.messages += messages.len() as u64;
                waiting.extend(messages.iter().map(|m| m.id.uuid()));
            }
            let run: RunId = row.id(0)?;
            self.gone.push(run);
            runs.push(run.raw());
        }
        let query = tx.query("DELETE FROM sid.message_ids WHERE tenant = $1 AND id = ANY ($2)");
        query.bind(tx.tenant).bind(waiting).execute(tx.conn()).await?;
        for sql in [
            "DELETE FROM sid.events WHERE tenant = $1 AND run = ANY ($2)",
            "DELETE FROM sid.steps WHERE tenant = $1 AND run = ANY ($2)",
            "DELETE FROM sid.idempotency WHERE tenant = $1 AND run = ANY ($2)",
            "DELETE FROM sid.runs WHERE tenant = $1 AND id = ANY ($2)",
        ] {
            tx.query(sql).bind(tx.tenant).bind(runs.clone()).execute(tx.conn()).await?;
        }
        Ok(())
    }

    async fn erase_messages(&mut self, tx: &mut Tx, conv: &Conv) -> Result<()> {
        let query = tx.query(
            "WITH gone AS (DELETE FROM sid.messages m WHERE m.tenant = $1 AND m.part = $2 AND m.conv = $3 RETURNING m.id, m.rid),
                ids AS (DELETE FROM sid.message_ids k USING gone WHERE k.tenant = $1 AND k.id = gone.id),
                quotes AS (DELETE FROM sid.quotes q USING gone WHERE q.tenant = $1 AND q.quoting = gone.id),
                vectors AS (DELETE FROM sid.vectors v USING gone WHERE v.tenant = $1 AND v.part = $2 AND v.rid = gone.rid
                    RETURNING length(v.vector) AS size)
             SELECT (SELECT count(*) FROM gone), (SELECT count(rid) FROM gone), (SELECT count(*) FROM vectors WHERE size > 0),
                (SELECT min(rid) FROM gone)",
        );
        let row = query.bind(tx.tenant).bind(conv.part).bind(conv.id.uuid()).fetch_one(tx.conn()).await?;
        self.receipt.messages += row.count(0)?;
        self.receipt.vectors += row.count(2)?;
        if row.count(2)? > 0 {
            vectors::remove(tx, conv.part, Removal::Conversation(conv.id)).await?;
        }
        let (searchable, oldest) = (row.int(1)?, row.maybe_int(3)?);
        // Copies in memory are read anew. Where word lists name the messages, all lists of the partition are written anew as well: a list
        // that is only searched for what is gone would be read whole all the same.
        let query = tx.query(
            "UPDATE sid.partitions p SET records = p.records - $3, version = x.n, reload_from = x.n,
                filled_to = CASE WHEN p.filled_to >= $4 THEN -1 ELSE p.filled_to END
             FROM (SELECT nextval('sid.rids') * 4 AS n) x WHERE p.tenant = $1 AND p.part = $2 RETURNING p.filled_to",
        );
        let query = query.bind(tx.tenant).bind(conv.part).bind(searchable).bind(oldest.unwrap_or(i64::MAX));
        if query.fetch_one(tx.conn()).await?.int(0)? < 0 {
            words::drop_all(tx, conv.part).await?;
        }
        Ok(())
    }

    /// Everything that the owners have beside conversations, and the owners' partitions.
    async fn erase_owners(&mut self, tx: &mut Tx, which: &'static str, id: Uuid) -> Result<()> {
        for row in tx.query(which).bind(tx.tenant).bind(id).fetch_all(tx.conn()).await? {
            if let Some(partition) = Partition::numbered(tx, row.int(0)?).await? {
                self.erase_partition(tx, &partition).await?;
            }
        }
        Ok(())
    }

    async fn erase_partition(&mut self, tx: &mut Tx, partition: &Partition) -> Result<()> {
        let part = partition.part;
        self.dropped.push(part);
        let query = tx.query("SELECT 1 FROM sid.partitions WHERE tenant = $1 AND part = $2 FOR UPDATE");
        query.bind(tx.tenant).bind(part).execute(tx.conn()).await?;
        let query = tx.query("SELECT id, 1 FROM sid.passages WHERE tenant = $1 AND part = $2 UNION ALL SELECT id, 2 FROM sid.diary WHERE tenant = $1 AND part = $2");
        let mut gone = Vec::new();
        for row in query.bind(tx.tenant).bind(part).fetch_all(tx.conn()).await? {
            gone.push(if row.number(1)? == 1 { RecordId::Passage(row.id(0)?) } else { RecordId::Diary(row.id(0)?) });
        }
        self.receipt.passages += gone.iter().filter(|id| matches!(id, RecordId::Passage(_))).count() as u64;
        self.receipt.diary_entries += gone.iter().filter(|id| matches!(id, RecordId::Diary(_))).count() as u64;
        traces::forget_named(tx, &gone).await?;
        // Turns of other agents may have been shown this owner's blocks through links.
        let query = tx.query(
            "UPDATE sid.conversation_heads SET prefix = NULL WHERE tenant = $1 AND prefix IS NOT NULL AND conv IN (
                SELECT c.id FROM sid.blocks b JOIN sid.block_links l ON l.tenant = b.tenant AND l.block = b.id
                JOIN sid.conversations c ON c.tenant = l.tenant AND c.agent_id = l.agent_id WHERE b.tenant = $1 AND b.part = $2)",
        );
        query.bind(tx.tenant).bind(part).execute(tx.conn()).await?;
        render_anew(tx, partition.owner).await?;
        let query = tx.query(
            "WITH vectors AS (DELETE FROM sid.vectors WHERE tenant = $1 AND part = $2 RETURNING length(vector) AS size),
                versions AS (DELETE FROM sid.block_versions v USING sid.blocks b
                    WHERE b.tenant = $1 AND b.part = $2 AND v.tenant = $1 AND v.block = b.id RETURNING 1),
                links AS (DELETE FROM sid.block_links l USING sid.blocks b
                    WHERE b.tenant = $1 AND b.part = $2 AND l.tenant = $1 AND l.block = b.id)
             SELECT (SELECT count(*) FROM vectors WHERE size > 0), (SELECT count(*) FROM versions)",
        );
        let row = query.bind(tx.tenant).bind(part).fetch_one(tx.conn()).await?;
        self.receipt.vectors += row.count(0)?;
        self.receipt.block_versions += row.count(1)?;
        vectors::remove(tx, part, Removal::Partition).await?;
        words::drop_all(tx, part).await?;
        for sql in [
            "DELETE FROM sid.blocks WHERE tenant = $1 AND part = $2",
            "DELETE FROM sid.passages WHERE tenant = $1 AND part = $2",
            "DELETE FROM sid.diary WHERE tenant = $1 AND part = $2",
            "DELETE FROM sid.diary_dirty WHERE tenant = $1 AND part = $2",
            "DELETE FROM sid.removals WHERE tenant = $1 AND part = $2",
            "DELETE FROM sid.partitions WHERE tenant = $1 AND part = $2",
        ] {
            tx.query(sql).bind(tx.tenant).bind(part).execute(tx.conn()).await?;
        }
        for id in gone {
            let raw = match id {
                RecordId::Message(id) => id.uuid(),
                RecordId::Passage(id) => id.uuid(),
                RecordId::Diary(id) => id.uuid(),
            };
            note(self.store, tx, "record.gone", Some(part), raw).await?;
        }
        Ok(())
    }
}

/// What is left of a text that quoted something erased.
const REDACTED: &str = "[erased]";
