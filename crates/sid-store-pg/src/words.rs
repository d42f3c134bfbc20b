//! Word lists of large partitions: what keeps every detail findable at bounded cost.
//!
//! A stretch of older records is written as one row per word: which of them have it. That happens in the background, oldest stretch first, by
//! whichever process notices; a turn's own writes carry none of it. The newest records have no lists: they are in memory, or looked at.

use std::collections::{BTreeMap, BTreeSet};

use sid_store::index::terms;
use sid_store::{Record, StoreError};
use sid_types::TenantId;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::Columns;
use crate::error::Result;
use crate::records;
use crate::tx::Tx;

/// Records of one stretch.
pub(crate) const STEP: usize = 512;

/// The number that stands for a stem. Stored, so it must never change. Two stems with one number only cost a look at a record too many.
pub(crate) fn token(stem: &str) -> i64 {
    let hash = stem.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}

/// The numbers of all stems of a record.
pub(crate) fn tokens(speaker: Option<&str>, text: &str) -> Vec<i64> {
    let mut stems: BTreeSet<String> = terms(text).into_iter().collect();
    stems.extend(speaker.map(terms).unwrap_or_default());
    stems.iter().map(|stem| token(stem)).collect()
}

/// For each list of stems: records before `below` that have all of them, newest first, at most `limit`. One trip for all lists of one size.
pub(crate) async fn find(tx: &mut Tx, part: i64, asked: &[Vec<&str>], below: i64, limit: usize) -> Result<Vec<Vec<i64>>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let first: Vec<i64> = asked.iter().map(|stems| stems.first().map_or(0, |s| token(s))).collect();
    let is_pairs = asked.iter().all(|stems| stems.len() == 2);
    let query = if is_pairs {
        let second: Vec<i64> = asked.iter().map(|stems| token(stems[1])).collect();
        tx.query(
            "SELECT ARRAY(
                SELECT r FROM (
                    SELECT unnest(w.rids) AS r FROM sid.postings w WHERE w.tenant = $1 AND w.part = $2 AND w.token = t.a
                    INTERSECT SELECT unnest(w.rids) FROM sid.postings w WHERE w.tenant = $1 AND w.part = $2 AND w.token = t.b) both_words
                WHERE r < $3 ORDER BY r DESC LIMIT $4)
             FROM unnest($5::bigint[], $6::bigint[]) WITH ORDINALITY AS t(a, b, place) ORDER BY t.place",
        )
        .bind(tx.tenant)
        .bind(part)
        .bind(below)
        .bind(limit as i64)
        .bind(first)
        .bind(second)
    } else {
        tx.query(
            "SELECT ARRAY(
                SELECT x.r FROM sid.postings w CROSS JOIN LATERAL (SELECT unnest(w.rids) AS r) x
                WHERE w.tenant = $1 AND w.part = $2 AND w.token = t.a AND x.r < $3 ORDER BY w.last_rid DESC, x.r DESC LIMIT $4)
             FROM unnest($5::bigint[]) WITH ORDINALITY AS t(a, place) ORDER BY t.place",
        )
        .bind(tx.tenant)
        .bind(part)
        .bind(below)
        .bind(limit as i64)
        .bind(first)
    };
    let rows = query.fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Ok(sqlx::Row::try_get_unchecked(row, 0)?)).collect()
}

impl PgStore {
    /// Writes what lists a partition lacks, in the background.
    pub(crate) fn spawn_filling(&self, tenant: Uuid, part: i64) {
        if !self.partitions().begin_filling(part) {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                match fill(&store, TenantId::from_uuid(tenant), part).await {
                    Ok(true) => tokio::task::yield_now().await,
                    Ok(false) => break,
                    Err(fault) => {
                        let error = StoreError::from(fault);
                        tracing::warn!(%error, part, "word lists could not be extended; a later search tries again");
                        break;
                    }
                }
            }
            store.partitions().end_filling(part);
        });
    }
}

/// Drops all lists of a partition.
pub(crate) async fn drop_all(tx: &mut Tx, part: i64) -> Result<()> {
    let query = tx.query("DELETE FROM sid.postings WHERE tenant = $1 AND part = $2");
    query.bind(tx.tenant).bind(part).execute(tx.conn()).await?;
    Ok(())
}

/// Writes the lists of the next stretch; answers whether there is another one.
async fn fill(store: &PgStore, tenant: TenantId, part: i64) -> Result<bool> {
    let mut tx = store.begin_long(tenant).await?;
    // Under the lock nothing is erased that is being listed here. Another process that is at it already goes on alone.
    let query = tx.query("SELECT filled_to FROM sid.partitions WHERE tenant = $1 AND part = $2 FOR UPDATE SKIP LOCKED");
    let Some(row) = query.bind(tx.tenant).bind(part).fetch_optional(tx.conn()).await? else { return Ok(false) };
    let from = row.int(0)?;
    let query = tx.query(
        "SELECT rid FROM (
            (SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid > $3 ORDER BY rid LIMIT $4)
            UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 AND rid > $3 ORDER BY rid LIMIT $4)
            UNION ALL (SELECT rid FROM sid.diary WHERE tenant = $1 AND part = $2 AND rid > $3 ORDER BY rid LIMIT $4)) x
         ORDER BY rid LIMIT $4",
    );
    let rows = query.bind(tx.tenant).bind(part).bind(from).bind(STEP as i64 * 2).fetch_all(tx.conn()).await?;
    if rows.len() < STEP {
        return Ok(false);
    }
    let rids: Vec<i64> = rows.iter().take(STEP).map(|row| row.int(0)).collect::<Result<_>>()?;
    let has_more = rows.len() == STEP * 2;
    let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (rid, record) in records::numbered(&mut tx, part, &rids).await? {
        let speaker = if let Record::Message(m) = &record { m.speaker.as_deref() } else { None };
        for token in tokens(speaker, record.text()) {
            lists.entry(token).or_default().push(rid);
        }
    }
    // As two flat columns, a row per place: arrays of arrays would have to be of one length.
    let (mut all_tokens, mut all_rids) = (Vec::new(), Vec::new());
    for (token, rids) in lists {
        for rid in rids {
            all_tokens.push(token);
            all_rids.push(rid);
        }
    }
    let last = rids.last().copied().unwrap_or(from);
    let query = tx.query(
        "INSERT INTO sid.postings (tenant, part, token, last_rid, rids)
         SELECT $1, $2, x.token, max(x.rid), array_agg(x.rid ORDER BY x.rid) FROM unnest($3::bigint[], $4::bigint[]) AS x(token, rid)
         GROUP BY x.token ON CONFLICT DO NOTHING",
    );
    query.bind(tx.tenant).bind(part).bind(all_tokens).bind(all_rids).execute(tx.conn()).await?;
    let query = tx.query("UPDATE sid.partitions SET filled_to = $3 WHERE tenant = $1 AND part = $2");
    query.bind(tx.tenant).bind(part).bind(last).execute(tx.conn()).await?;
    tx.commit().await?;
    Ok(has_more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_stems_each_once() {
        assert_eq!(token("pickl"), token("pickl"));
        assert_ne!(token("pickl"), token("gherkin"));
        assert_eq!(tokens(None, "pickles, pickle and the PICKLED").len(), 1);
        assert_eq!(tokens(Some("Ann"), "pickles").len(), 2);
        // As it is stored: must never change.
        assert_eq!(token("pickl"), tokens(None, "pickle")[0]);
    }
}
