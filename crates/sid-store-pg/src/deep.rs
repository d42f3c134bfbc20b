//! Search below what is in memory: what word lists and the time index bring, scored by [`OlderWords`].

use std::collections::BTreeSet;

use sid_store::index::{IndexHits, OlderWords};
use sid_store::{SearchQuery, TimeRange};

use crate::codec::{At, Columns};
use crate::error::Result;
use crate::records;
use crate::tx::Tx;
use crate::visibility::Partition;
use crate::words::{self, STEP};

/// Newest records that are looked at in any case while the partition is not in memory: those that no list has yet are among them.
const NEWEST: i64 = STEP as i64;
/// Records of a span that the query filters by, or names.
const PER_SPAN: i64 = 1_000;
const PER_NAMED_SPAN: i64 = 64;

/// Looks for records before `below` (`i64::MAX`: for all, the newest in any case). `near`: numbers of records that their vectors have found.
pub(crate) async fn look(
    tx: &mut Tx,
    partition: &Partition,
    query: &SearchQuery,
    generation: Option<i32>,
    below: i64,
    near: &[i64],
) -> Result<IndexHits> {
    let words = look_up(tx, partition, query, below).await?;
    let is_filtered = query.conversation.is_some() || query.role.is_some() || query.within.is_some();
    let mut rids: BTreeSet<i64> = words.best(query.kinds, is_filtered).into_iter().chain(near.iter().copied()).collect();
    if let Some(span) = &query.within {
        rids.extend(spanned(tx, partition.part, span, below, PER_SPAN).await?);
    }
    for span in &query.named_times {
        rids.extend(spanned(tx, partition.part, span, below, PER_NAMED_SPAN).await?);
    }
    if below == i64::MAX {
        rids.extend(newest(tx, partition.part).await?);
    }
    if rids.is_empty() {
        return Ok(IndexHits { searched: partition.records, ..IndexHits::default() });
    }
    rids.extend(neighbours(tx, partition.part, &rids).await?);
    let rids: Vec<i64> = rids.into_iter().collect();
    let records = records::numbered(tx, partition.part, &rids).await?;
    let vectors = match generation {
        Some(generation) => records::vectors_of(tx, partition.part, generation, &rids).await?,
        None => Vec::new(),
    };
    Ok(words.score(query, &records, &vectors))
}

async fn look_up(tx: &mut Tx, partition: &Partition, query: &SearchQuery, below: i64) -> Result<OlderWords> {
    let mut words = OlderWords::of(&query.text, partition.records, below);
    let lists = words::find(tx, partition.part, &words.singles(), below, OlderWords::PER_LIST).await?;
    words.take_singles(&lists);
    let (asked, weights): (Vec<_>, Vec<f32>) = words.pairs().into_iter().map(|pair| (pair.stems.clone(), pair.weight())).unzip();
    let lists = words::find(tx, partition.part, &asked, below, OlderWords::PER_LIST).await?;
    words.take_pairs(&weights, &lists);
    Ok(words)
}

async fn spanned(tx: &mut Tx, part: i64, span: &TimeRange, below: i64, limit: i64) -> Result<Vec<i64>> {
    let query = tx.query(
        "(SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid IS NOT NULL AND at >= $3 AND at < $4 AND rid < $5
            ORDER BY at DESC LIMIT $6)
         UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 AND at >= $3 AND at < $4 AND rid < $5 ORDER BY at DESC LIMIT $6)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(At(span.from)).bind(At(span.to)).bind(below).bind(limit);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}

async fn newest(tx: &mut Tx, part: i64) -> Result<Vec<i64>> {
    let query = tx.query(
        "SELECT rid FROM (
            (SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid IS NOT NULL ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.diary WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)) x ORDER BY rid DESC LIMIT $3",
    );
    let query = query.bind(tx.tenant).bind(part).bind(NEWEST);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}

/// The searchable messages right before and after these.
async fn neighbours(tx: &mut Tx, part: i64, rids: &BTreeSet<i64>) -> Result<Vec<i64>> {
    let messages: Vec<i64> = rids.iter().copied().filter(|rid| rid & 3 == 0).collect();
    let query = tx.query(
        "SELECT n.rid FROM sid.messages m CROSS JOIN LATERAL (
            (SELECT b.rid FROM sid.messages b WHERE b.tenant = $1 AND b.part = $2 AND b.conv = m.conv AND b.seq < m.seq AND b.rid IS NOT NULL
                ORDER BY b.seq DESC LIMIT 1)
            UNION ALL (SELECT a.rid FROM sid.messages a WHERE a.tenant = $1 AND a.part = $2 AND a.conv = m.conv AND a.seq > m.seq
                AND a.rid IS NOT NULL ORDER BY a.seq LIMIT 1)) n
         WHERE m.tenant = $1 AND m.part = $2 AND m.rid = ANY ($3)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(messages);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}
