//! Diary pages that told of an erased conversation: gone, and marked to be written anew from what is left.

use jiff::civil::Date;
use sid_store::{Receipt, RecordId};
use sid_types::DiaryLevel;

use crate::archival::forget_record;
use crate::backend::PgStore;
use crate::codec::{Columns, Day, level, level_number};
use crate::diary::{day_range, owner_zone, touch};
use crate::error::Result;
use crate::rows::Conv;
use crate::tx::Tx;

/// Erases pages that tell of the conversation, and those above them.
pub(super) async fn erase_telling(store: &PgStore, tx: &mut Tx, conv: &Conv, receipt: &mut Receipt) -> Result<()> {
    let query = tx.query("SELECT level, start FROM sid.diary WHERE tenant = $1 AND part = $2 AND position($3 IN messages) > 0");
    let rows = query.bind(tx.tenant).bind(conv.part).bind(conv.id.to_string()).fetch_all(tx.conn()).await?;
    for row in &rows {
        let (of, start) = (level(row.small(0)?)?, row.date(1)?);
        let week = DiaryLevel::Week.start_of(start);
        let above = [
            (of, start),
            (DiaryLevel::Week, week),
            (DiaryLevel::Month, DiaryLevel::Month.start_of(week)),
            (DiaryLevel::Month, DiaryLevel::Month.start_of(start)),
        ];
        for (level, start) in above {
            erase_page(store, tx, conv, level, start, receipt).await?;
        }
    }
    Ok(())
}

async fn erase_page(store: &PgStore, tx: &mut Tx, conv: &Conv, level: DiaryLevel, start: Date, receipt: &mut Receipt) -> Result<()> {
    let query = tx.query("DELETE FROM sid.diary WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4 RETURNING rid, id, text");
    let query = query.bind(tx.tenant).bind(conv.part).bind(level_number(level)).bind(Day(start));
    let Some(row) = query.fetch_optional(tx.conn()).await? else { return Ok(()) };
    receipt.diary_entries += 1;
    receipt.vectors += forget_record(store, tx, conv.part, row.int(0)?, RecordId::Diary(row.id(1)?), &row.text(2)?).await?;
    // Whether anything is left to tell is looked at when everything is gone.
    touch(tx, conv.part, level, start, tx.now).await?;
    // Nothing stands in for it any more: it does not wait for another try.
    let query = tx.query("UPDATE sid.diary_dirty SET tries = 0 WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4");
    query.bind(tx.tenant).bind(conv.part).bind(level_number(level)).bind(Day(start)).execute(tx.conn()).await?;
    Ok(())
}

/// Takes away the marks of periods that have nothing left to tell.
pub(super) async fn look_again(tx: &mut Tx, conv: &Conv) -> Result<()> {
    let zone = owner_zone(tx, conv.owner()).await?;
    let query = tx.query("SELECT start FROM sid.diary_dirty WHERE tenant = $1 AND part = $2 AND level = 0");
    for row in query.bind(tx.tenant).bind(conv.part).fetch_all(tx.conn()).await? {
        let start = row.date(0)?;
        let (from, to) = day_range(start, &zone);
        let query = tx.query(
            "DELETE FROM sid.diary_dirty WHERE tenant = $1 AND part = $2 AND level = 0 AND start = $3 AND NOT EXISTS (
                SELECT 1 FROM sid.messages m WHERE m.tenant = $1 AND m.part = $2 AND m.rid IS NOT NULL AND m.at >= $4 AND m.at < $5)",
        );
        query.bind(tx.tenant).bind(conv.part).bind(Day(start)).bind(from).bind(to).execute(tx.conn()).await?;
    }
    let query = tx.query(
        "DELETE FROM sid.diary_dirty x WHERE x.tenant = $1 AND x.part = $2 AND x.level > 0 AND NOT EXISTS (
            SELECT 1 FROM sid.diary d WHERE d.tenant = $1 AND d.part = $2 AND d.level = x.level - 1 AND d.start >= x.start AND d.start < x.ends)",
    );
    query.bind(tx.tenant).bind(conv.part).execute(tx.conn()).await?;
    Ok(())
}
