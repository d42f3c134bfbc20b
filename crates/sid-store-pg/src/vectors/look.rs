//! What a search takes from the index, and what it compares itself.

use std::collections::{HashMap, HashSet};

use sid_store::index::DenseHits;
use sid_store::{Chunk, GenerationId, RecordId, SearchQuery, VectorQuery};
use sqlx::postgres::PgRow;

use super::Vectors;
use crate::backend::PgStore;
use crate::codec::{Columns, from_bytes};
use crate::error::Result;
use crate::partitions::Shelf;
use crate::tx::Tx;
use crate::visibility::Partition;

/// Vectors behind the mark that a search compares itself. With more than that, the partition is not taken from the index at all.
const TAIL: usize = 1_024;
/// So many more points than candidates are asked for: several may be chunks of one record, or stale.
const MARGIN: usize = 40;
/// Vectors from which the mean of a partition is estimated. Cosines scatter by about 0.1, so it is good to half a hundredth.
const SAMPLE: i64 = 512;

/// A partition's vectors that are not in memory: those that the index has found, confirmed by the snapshot, and those behind its mark.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// By record, in order of number.
    records: Vec<(i64, Vec<Chunk>)>,
    embedded: u64,
    mean: f32,
    /// The index did not answer.
    pub(crate) is_partial: bool,
}

impl Outside {
    /// The numbers of its records before this one.
    pub(crate) fn before(&self, below: i64) -> Vec<i64> {
        self.records.iter().map(|(rid, _)| *rid).filter(|rid| *rid < below).collect()
    }

    /// Its records that are in memory, compared with the query.
    pub(crate) fn compare(&self, shelf: &Shelf, vector: &[f32]) -> DenseHits {
        let mut hits = DenseHits::of(self.embedded, self.mean);
        for (rid, chunks) in &self.records {
            if let Some(id) = shelf.named(*rid) {
                hits.add(id, vector, chunks);
            }
        }
        hits
    }
}

/// A centroid, and when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Centroid {
    values: Vec<f32>,
    records: u64,
    version: i64,
}

impl Centroid {
    /// Whether the partition has hardly changed since; small ones are looked at whole each time they change.
    fn is_good_for(&self, partition: &Partition) -> bool {
        let moved = self.records.abs_diff(partition.records);
        self.version == partition.version || (self.records > SAMPLE.unsigned_abs() * 2 && moved * 8 < self.records)
    }
}

/// Looks for the nearest vectors in those of the partitions that are taken from the index. A partition that is not in the answer is to be
/// searched in memory.
pub(crate) async fn look(
    store: &PgStore,
    tx: &mut Tx,
    partitions: &[Partition],
    query: &SearchQuery,
    asked: Option<&(GenerationId, i32)>,
) -> Result<HashMap<i64, Outside>> {
    let (Some(vectors), Some(vector), Some((name, generation))) = (store.vectors(), &query.vector, asked) else {
        return Ok(HashMap::new());
    };
    let large: Vec<&Partition> = partitions.iter().filter(|p| p.records >= store.config().vector_index_from as u64).collect();
    let mut outside = tails(tx, &large, *generation).await?;
    if outside.is_empty() {
        return Ok(outside);
    }
    let parts: Vec<i64> = outside.keys().copied().collect();
    match ask(vectors, tx, name, *generation, query, &parts).await? {
        Some(found) => {
            for (part, rid, chunks) in found {
                if let Some(outside) = outside.get_mut(&part) {
                    outside.records.push((rid, chunks));
                }
            }
        }
        // What fits into memory as easily as without an index is searched there; of the rest, what words find and what is new is compared.
        None => {
            outside.retain(|part, _| large.iter().any(|p| p.part == *part && p.records >= store.config().word_lists_threshold()));
            outside.values_mut().for_each(|o| o.is_partial = true);
        }
    }
    for partition in large {
        if let Some(outside) = outside.get_mut(&partition.part) {
            outside.records.sort_unstable_by_key(|(rid, _)| *rid);
            outside.records.dedup_by_key(|(rid, _)| *rid);
            let centroid = centroid(store, tx, partition, *generation).await?;
            outside.embedded = partition.records;
            outside.mean = centroid.values.iter().zip(&vector.values).map(|(a, b)| a * b).sum();
        }
    }
    Ok(outside)
}

/// For each partition that is in the index: what is behind its mark. Partitions that are too far behind are left out.
async fn tails(tx: &mut Tx, large: &[&Partition], generation: i32) -> Result<HashMap<i64, Outside>> {
    if large.is_empty() {
        return Ok(HashMap::new());
    }
    let query = tx.query(
        "SELECT m.part, v.rid, v.first_byte, v.end_byte, v.vector FROM sid.index_marks m LEFT JOIN LATERAL (
            SELECT x.rid, x.chunk, x.first_byte, x.end_byte, x.vector FROM sid.vectors x WHERE x.tenant = $1 AND x.part = m.part
            AND x.generation = $3 AND x.change > m.indexed_to LIMIT $4) v ON true
         WHERE m.tenant = $1 AND m.part = ANY ($2) AND m.generation = $3 ORDER BY m.part, v.rid, v.chunk",
    );
    let parts: Vec<i64> = large.iter().map(|p| p.part).collect();
    let rows = query.bind(tx.tenant).bind(parts).bind(generation).bind(TAIL as i64).fetch_all(tx.conn()).await?;
    let mut tails: HashMap<i64, (Outside, usize)> = HashMap::new();
    for row in &rows {
        let (outside, count) = tails.entry(row.int(0)?).or_default();
        if row.maybe_int(1)?.is_some() {
            add(&mut outside.records, row)?;
            *count += 1;
        }
    }
    Ok(tails.into_iter().filter(|(_, (_, count))| *count < TAIL).map(|(part, (outside, _))| (part, outside)).collect())
}

/// What the index finds and the snapshot confirms, with all chunks of each record: stale, foreign and deleted points have no row here.
async fn ask(
    vectors: &Vectors,
    tx: &mut Tx,
    name: &GenerationId,
    generation: i32,
    query: &SearchQuery,
    parts: &[i64],
) -> Result<Option<Vec<(i64, i64, Vec<Chunk>)>>> {
    let tenant = sid_types::TenantId::from_uuid(tx.tenant);
    let asked = VectorQuery { tenant, partitions: parts, query, limit: query.per_channel + MARGIN };
    let Some(hits) = vectors.search(name, &asked).await else { return Ok(None) };
    let known: HashSet<i64> = parts.iter().copied().collect();
    let keys = || hits.iter().map(|hit| hit.key).filter(|key| key.tenant == tenant && known.contains(&key.partition));
    let query = tx.query(
        // Each a look-up by key, whatever is believed of the table's size: a join may read all vectors of the tenant.
        "SELECT v.part, v.rid, v.first_byte, v.end_byte, v.vector FROM (
            SELECT DISTINCT h.part, h.rid FROM unnest($3::bigint[], $4::bigint[], $5::int[], $6::bigint[]) AS h(part, rid, chunk, version)
            CROSS JOIN LATERAL (SELECT 1 FROM sid.vectors x WHERE x.tenant = $1 AND x.part = h.part AND x.generation = $2 AND x.rid = h.rid
                AND x.chunk = h.chunk AND x.change = h.version LIMIT 1) there) k
         CROSS JOIN LATERAL (SELECT x.part, x.rid, x.chunk, x.first_byte, x.end_byte, x.vector FROM sid.vectors x WHERE x.tenant = $1
            AND x.part = k.part AND x.generation = $2 AND x.rid = k.rid OFFSET 0) v ORDER BY v.part, v.rid, v.chunk",
    );
    let query = query.bind(tx.tenant).bind(generation);
    let query = query.bind(keys().map(|k| k.partition).collect::<Vec<i64>>()).bind(keys().map(|k| k.record).collect::<Vec<i64>>());
    let query = query.bind(keys().map(|k| k.chunk).collect::<Vec<i32>>()).bind(keys().map(|k| k.version).collect::<Vec<i64>>());
    let mut found: Vec<(i64, i64, Vec<Chunk>)> = Vec::new();
    for row in &query.fetch_all(tx.conn()).await? {
        let (part, rid) = (row.int(0)?, row.int(1)?);
        if found.last().is_none_or(|(p, r, _)| (*p, *r) != (part, rid)) {
            found.push((part, rid, Vec::new()));
        }
        if let Some((.., chunks)) = found.last_mut() {
            chunks.extend(chunk(row)?);
        }
    }
    Ok(Some(found))
}

/// Takes in a row of `part, rid, first_byte, end_byte, vector`, in order of `rid`.
fn add(records: &mut Vec<(i64, Vec<Chunk>)>, row: &PgRow) -> Result<()> {
    let rid = row.int(1)?;
    if records.last().is_none_or(|(last, _)| *last != rid) {
        records.push((rid, Vec::new()));
    }
    if let Some((_, chunks)) = records.last_mut() {
        chunks.extend(chunk(row)?);
    }
    Ok(())
}

/// `None` for a record that cannot be embedded.
fn chunk(row: &PgRow) -> Result<Option<Chunk>> {
    let byte = |column| Ok::<_, crate::error::Fault>(usize::try_from(row.int(column)?).unwrap_or_default());
    let vector = from_bytes(row.bytes(4)?);
    Ok(if vector.is_empty() { None } else { Some(Chunk { start: byte(2)?, end: byte(3)?, vector }) })
}

/// The mean of a partition's vectors, from a sample spread over all of it: its product with a query is the mean cosine.
async fn centroid(store: &PgStore, tx: &mut Tx, partition: &Partition, generation: i32) -> Result<Centroid> {
    let entry = store.partitions().get(partition.part);
    if let Some(known) = entry.centroid(generation)
        && known.is_good_for(partition)
    {
        return Ok(known);
    }
    let query = tx.query(
        "SELECT DISTINCT ON (v.rid) v.vector FROM (
            SELECT (SELECT x.rid FROM sid.vectors x WHERE x.tenant = $1 AND x.part = $2 AND x.generation = $3 ORDER BY x.rid LIMIT 1) AS first,
                (SELECT x.rid FROM sid.vectors x WHERE x.tenant = $1 AND x.part = $2 AND x.generation = $3 ORDER BY x.rid DESC LIMIT 1) AS last) e
         CROSS JOIN generate_series(e.first, e.last, greatest((e.last - e.first) / $4, 1)) AS s(from_rid)
         CROSS JOIN LATERAL (SELECT x.rid, x.vector FROM sid.vectors x WHERE x.tenant = $1 AND x.part = $2 AND x.generation = $3
            AND x.rid >= s.from_rid ORDER BY x.rid, x.chunk LIMIT 1) v ORDER BY v.rid",
    );
    let rows = query.bind(tx.tenant).bind(partition.part).bind(generation).bind(SAMPLE).fetch_all(tx.conn()).await?;
    let (mut sum, mut count): (Vec<f64>, u32) = (Vec::new(), 0);
    for row in &rows {
        let vector = from_bytes(row.bytes(0)?);
        if !vector.is_empty() {
            sum.resize(vector.len(), 0.0);
            sum.iter_mut().zip(&vector).for_each(|(sum, v)| *sum += f64::from(*v));
            count += 1;
        }
    }
    let values = sum.iter().map(|sum| (sum / f64::from(count.max(1))) as f32).collect();
    let centroid = Centroid { values, records: partition.records, version: partition.version };
    entry.keep_centroid(generation, centroid.clone());
    Ok(centroid)
}

/// The vectors of records of a partition that words have found, for [`sid_store::index::PartitionIndex::complete`].
pub(crate) async fn vectors_by_id(tx: &mut Tx, part: i64, generation: i32, vector: &[f32], named: &[(i64, RecordId)]) -> Result<DenseHits> {
    let rids: Vec<i64> = named.iter().map(|(rid, _)| *rid).collect();
    let ids: HashMap<i64, RecordId> = named.iter().copied().collect();
    let mut hits = DenseHits::default();
    for (rid, chunks) in crate::records::vectors_of(tx, part, generation, &rids).await? {
        if let Some(id) = ids.get(&rid) {
            hits.add(*id, vector, &chunks);
        }
    }
    Ok(hits)
}
