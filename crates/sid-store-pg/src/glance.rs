//! A search whose partitions are all in memory: one statement for how they stand and what they have had since, one for each kind of record
//! that was found. Whatever else there is to read, the caller searches in a transaction. A run's first look comes with its loading
//! (ADR 0038).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use sid_store::{Chunk, GenerationId, QueryVector, Record, RecordId, SearchQuery, StoreError};
use sid_types::{Message, MessageId, Role, Scope, Seq};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::call::Call;
use crate::codec::{Columns, clean, from_bytes};
use crate::error::{Fault, Result};
use crate::looked::Look;
use crate::partitions::{Changes, Entry, Row};
use crate::records::record_id;
use crate::rows::MessageRow;
use crate::visibility::{Partition, owner};
use crate::words;
use crate::{archival, diary};

/// Most rows of one kind that are taken in on the way.
const MOST: i32 = 256;

/// Partitions with their memory.
type Looks = Vec<(Partition, Arc<Entry>)>;

/// Everything that a search looks at, in memory and as young as the database's answer.
pub(crate) struct Glance {
    pub(crate) looks: Looks,
    /// The query's generation with its number, if any vectors are in it.
    pub(crate) asked: Option<(GenerationId, i32)>,
}

/// What a look asks: how all that the scope sees stands, and what has come into what is in memory.
#[derive(Clone)]
pub(crate) struct Inquiry {
    scope: Scope,
    generation: Option<GenerationId>,
    /// The partition, the version that was read, and its memory.
    known: Vec<(i64, i64, Arc<Entry>)>,
}

impl Inquiry {
    /// `None`: the scope has not searched here.
    fn of(store: &PgStore, scope: &Scope, generation: Option<GenerationId>) -> Option<Self> {
        Some(Self { scope: *scope, generation, known: store.partitions().seen_by(scope)? })
    }

    /// What the scope's next search asks, if it is like the last; `None`: a look was not enough for that one.
    pub(crate) fn foreseen(store: &PgStore, scope: &Scope) -> Option<Self> {
        Self::of(store, scope, store.looked().last(scope)?.generation)
    }

    /// Binds it as the last eight arguments of `sid.look` and `sid.begin_run`.
    pub(crate) fn bind(this: Option<&Self>, store: &PgStore, call: Call) -> Call {
        let (kind, agent, user) = this.map_or((None, None, None), |q| {
            let (kind, agent, user) = store.viewer(&q.scope).principal();
            (Some(kind), agent, user)
        });
        let known = this.map(|q| &q.known[..]).unwrap_or_default();
        let mut generations: Vec<i32> =
            known.iter().flat_map(|(_, _, entry)| entry.shelf().generations.values().copied().collect::<Vec<_>>()).collect();
        generations.sort_unstable();
        generations.dedup();
        call.bind(kind)
            .bind(agent)
            .bind(user)
            .bind(this.and_then(|q| q.generation.as_ref()).map(|g| clean(&g.0).into_owned()))
            .bind(known.iter().map(|(part, ..)| *part).collect::<Vec<i64>>())
            .bind(known.iter().map(|(_, seen, _)| *seen).collect::<Vec<i64>>())
            .bind(generations)
            .bind(MOST)
    }
}

/// What `sid.look` tells.
#[derive(Default)]
struct Told {
    partitions: Vec<Partition>,
    /// Number and dimensions.
    generation: Option<(i32, Option<usize>)>,
    changes: HashMap<i64, Arrived>,
}

/// What a partition has had.
#[derive(Default)]
struct Arrived {
    changes: Changes,
    /// By generation and number of the record.
    vectors: BTreeMap<(i64, i64), Vec<Chunk>>,
    /// How many rows came of each kind: a kind with [`MOST`] may have more.
    rows: [i32; 8],
}

/// `None`: something is not in memory, or is not all of what a search needs.
pub(crate) async fn glance(store: &PgStore, scope: &Scope, query: &SearchQuery) -> Result<Option<Glance>> {
    if query.conversation.is_some() {
        return Ok(None);
    }
    let generation = query.vector.as_ref().map(|v| &v.generation);
    let Some(inquiry) = Inquiry::of(store, scope, generation.cloned()) else { return Ok(None) };
    let is_asked = |p: &Partition| query.owners.as_ref().is_none_or(|owners| owners.contains(&p.owner));
    if let Some(look) = query.follows.and_then(|moment| store.looked().since(scope, moment, generation)) {
        let asked = numbered(query.vector.as_ref(), look.number)?;
        if let Some(looks) = looks(store, &inquiry, &look.partitions, HashMap::new(), is_asked, asked.as_ref()).await {
            return Ok(Some(Glance { looks, asked }));
        }
    }
    let began = Instant::now();
    let call =
        store.call("SELECT * FROM sid.look($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)").bind(scope.tenant().uuid()).bind(store.clock());
    let told = Told::read(&store.timely(Inquiry::bind(Some(&inquiry), store, call).fetch_all()).await?)?;
    let asked = numbered(query.vector.as_ref(), told.generation)?;
    let Some(looks) = looks(store, &inquiry, &told.partitions, told.changes, is_asked, asked.as_ref()).await else { return Ok(None) };
    let look = Look { began, generation: inquiry.generation, number: told.generation, partitions: told.partitions.into() };
    store.looked().keep(scope, look);
    Ok(Some(Glance { looks, asked }))
}

/// Takes in what an inquiry was answered that was sent at `began`, for the search that follows.
pub(crate) async fn take_in(store: &PgStore, inquiry: Inquiry, began: Instant, rows: &[PgRow]) -> Result<()> {
    let told = Told::read(rows)?;
    let asked = inquiry.generation.clone().zip(told.generation.map(|(number, _)| number));
    if looks(store, &inquiry, &told.partitions, told.changes, |_| true, asked.as_ref()).await.is_none() {
        store.looked().forget(&inquiry.scope);
        return Ok(());
    }
    let look = Look { began, generation: inquiry.generation, number: told.generation, partitions: told.partitions.into() };
    store.looked().keep(&inquiry.scope, look);
    Ok(())
}

/// The query's generation with its number.
///
/// Errors: `Invalid`, the query's vector has another length.
fn numbered(vector: Option<&QueryVector>, told: Option<(i32, Option<usize>)>) -> Result<Option<(GenerationId, i32)>> {
    let (Some(vector), Some((number, dimensions))) = (vector, told) else { return Ok(None) };
    let found = vector.values.len();
    if let Some(dimensions) = dimensions.filter(|d| *d != found) {
        return Err(StoreError::Invalid(format!("the generation has {dimensions} dimensions, the query's vector {found}")).into());
    }
    Ok(Some((vector.generation.clone(), number)))
}

/// Partitions that a look has told of, brought up to what it told; `None`: one is not in memory as far as that.
async fn looks(
    store: &PgStore,
    inquiry: &Inquiry,
    partitions: &[Partition],
    mut changes: HashMap<i64, Arrived>,
    is_asked: impl Fn(&Partition) -> bool,
    asked: Option<&(GenerationId, i32)>,
) -> Option<Looks> {
    let mut looks = Vec::with_capacity(partitions.len());
    for partition in partitions.iter().filter(|p| p.records > 0 && is_asked(p)) {
        let (_, seen, entry) = inquiry.known.iter().find(|(part, ..)| *part == partition.part)?;
        if !is_ready(store, partition, *seen, entry, changes.remove(&partition.part), asked).await {
            return None;
        }
        looks.push((*partition, Arc::clone(entry)));
    }
    Some(looks)
}

/// Brings a partition's memory up to what was told. `false`: that is not enough.
async fn is_ready(
    store: &PgStore,
    partition: &Partition,
    seen: i64,
    entry: &Entry,
    arrived: Option<Arrived>,
    asked: Option<&(GenerationId, i32)>,
) -> bool {
    if seen < partition.reload_from || asked.is_some() && store.takes_from_index(partition) {
        return false;
    }
    if seen < partition.version {
        let Some(mut arrived) = arrived.filter(|a| a.changes.upto >= partition.version && a.rows.iter().all(|n| *n < MOST)) else {
            return false;
        };
        let _gate = entry.gate.lock().await;
        let (now, known) = {
            let shelf = entry.shelf();
            (shelf.seen, shelf.generations.clone())
        };
        // Another search may have read some of it meanwhile.
        if now < partition.version {
            if now != seen {
                return false;
            }
            for ((generation, rid), mut chunks) in std::mem::take(&mut arrived.vectors) {
                chunks.sort_unstable_by_key(|chunk| chunk.start);
                if let Some(name) = known.iter().find(|(_, number)| i64::from(**number) == generation).map(|(name, _)| name.clone()) {
                    arrived.changes.vectors.push((name, rid, chunks));
                }
            }
            for id in &arrived.changes.removed {
                if let RecordId::Message(id) = id {
                    store.recent().forget(*id);
                }
            }
            arrived.changes.records.sort_unstable_by_key(|row| row.rid);
            let capacity = store.partitions().capacity;
            entry.change(|shelf| shelf.apply(arrived.changes, capacity));
        }
    }
    let shelf = entry.shelf();
    // Where older records are only in the database, word lists are written and read.
    let is_whole = shelf.lowest <= 0;
    let has_lists = partition.records >= store.config().word_lists_threshold();
    let is_filled = !has_lists || shelf.newer_than(partition.filled_to) < words::STEP;
    is_whole && is_filled && asked.is_none_or(|(name, _)| shelf.generations.contains_key(name))
}

impl Told {
    fn read(rows: &[PgRow]) -> Result<Self> {
        let mut told = Self::default();
        for row in rows {
            told.take_in(row)?;
        }
        Ok(told)
    }

    /// Takes in a row; `o_what` and the columns are explained at `sid.look`.
    fn take_in(&mut self, row: &PgRow) -> Result<()> {
        let what = row.small(0)?;
        if what == 0 {
            let dimensions = row.maybe_int(6)?.and_then(|d| usize::try_from(d).ok());
            self.generation = Some((i32::try_from(row.int(5)?).unwrap_or(-1), dimensions));
            return Ok(());
        }
        let part = row.int(1)?;
        if what == 1 {
            self.partitions.push(Partition {
                part,
                owner: owner(row, 2)?,
                records: row.count(5)?,
                version: row.int(6)?,
                reload_from: row.int(7)?,
                filled_to: row.int(8)?,
            });
            return Ok(());
        }
        let arrived = self.changes.entry(part).or_default();
        if let Some(count) = usize::try_from(what).ok().and_then(|kind| arrived.rows.get_mut(kind)) {
            *count += 1;
        }
        match what {
            2 => arrived.changes.upto = row.int(5)?,
            3 => arrived.changes.removed.push(record_id(row.small(2)?, row.id::<MessageId>(3)?.uuid())),
            7 => {
                let chunks = arrived.vectors.entry((row.int(6)?, row.int(5)?)).or_default();
                let vector = from_bytes(row.bytes(12)?);
                // A record that cannot be embedded has no chunk.
                if !vector.is_empty() {
                    let byte = |column| Ok::<_, Fault>(usize::try_from(row.int(column)?).unwrap_or_default());
                    chunks.push(Chunk { start: byte(7)?, end: byte(8)?, vector });
                }
            }
            kind => arrived.changes.records.push(record(kind, row)?),
        }
        Ok(())
    }
}

fn record(kind: i16, row: &PgRow) -> Result<Row> {
    let mut said = None;
    let id = match kind {
        4 => {
            let role = if row.small(2)? == 0 { Role::User } else { Role::Assistant };
            said = Some((row.id(4)?, Seq(row.count(6)?), role));
            RecordId::Message(row.id(3)?)
        }
        5 => RecordId::Passage(row.id(3)?),
        _ => RecordId::Diary(row.id(3)?),
    };
    Ok(Row { rid: row.int(5)?, id, said, at: row.time(11)?, speaker: row.maybe_text(10)?, text: row.text(9)? })
}

/// The records of these names that are still there; each with its partition.
pub(crate) async fn named(store: &PgStore, scope: &Scope, found: &[(i64, RecordId)]) -> Result<HashMap<RecordId, Record>> {
    let mut records = HashMap::with_capacity(found.len());
    let of = |pick: fn(&RecordId) -> Option<Uuid>| found.iter().filter_map(|(_, id)| pick(id)).collect::<Vec<Uuid>>();
    let mut parts: HashMap<MessageId, i64> = HashMap::new();
    parts.extend(found.iter().filter_map(|(part, id)| if let RecordId::Message(id) = id { Some((*id, *part)) } else { None }));
    let mut ids: Vec<MessageId> = parts.keys().copied().collect();
    let known = store.recent().take(&mut ids);
    records.extend(known.iter().map(|message| (RecordId::Message(message.id), Record::Message(Message::clone(message)))));
    if !ids.is_empty() {
        let call = store
            .call("SELECT * FROM sid.named_messages($1, $2, $3, $4)")
            .bind(scope.tenant().uuid())
            .bind(store.clock())
            .bind(ids.iter().map(|id| parts[id]).collect::<Vec<i64>>())
            .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>());
        for row in store.timely(call.fetch_all()).await? {
            let message = MessageRow::read(&row)?.message()?;
            store.recent().keep(message.clone());
            records.insert(RecordId::Message(message.id), Record::Message(message));
        }
    }
    let passages = of(|id| if let RecordId::Passage(id) = id { Some(id.uuid()) } else { None });
    for row in rows(store, scope, "SELECT * FROM sid.named_passages($1, $2, $3)", passages).await? {
        let passage = archival::read(&row)?;
        records.insert(RecordId::Passage(passage.id), Record::Passage(passage));
    }
    let pages = of(|id| if let RecordId::Diary(id) = id { Some(id.uuid()) } else { None });
    for row in rows(store, scope, "SELECT * FROM sid.named_entries($1, $2, $3)", pages).await? {
        let page = diary::read(&row)?;
        records.insert(RecordId::Diary(page.id), Record::Diary(page));
    }
    Ok(records)
}

/// Named passages or pages: no trip without a name.
async fn rows(store: &PgStore, scope: &Scope, sql: &'static str, ids: Vec<Uuid>) -> Result<Vec<PgRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    store.timely(store.call(sql).bind(scope.tenant().uuid()).bind(store.clock()).bind(ids).fetch_all()).await
}
