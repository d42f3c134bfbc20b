//! Diary pages that told of an erased conversation: gone, and marked to be written anew from what is left.

use sid_store::{Receipt, RecordId};
use sid_types::DiaryLevel;

use crate::archival::forget_record;
use crate::codec::{Columns, date, days, level, level_number};
use crate::diary::{day_range, owner_zone};
use crate::error::Result;
use crate::messages::touch;
use crate::visibility::Conv;
use crate::writer::Tx;

/// Erases pages that tell of the conversation, and those above them.
pub(super) async fn erase_telling(tx: &mut Tx, conv: &Conv, receipt: &mut Receipt) -> Result<()> {
    let rows = sqlx::query("SELECT level, start FROM diary WHERE tenant = ? AND part = ? AND instr(messages, ?) > 0")
        .bind(conv.tenant)
        .bind(conv.part)
        .bind(conv.id.to_string())
        .fetch_all(&mut tx.conn)
        .await?;
    for row in &rows {
        let (of, start) = (level(row.int(0)?)?, date(row.int(1)?));
        let week = DiaryLevel::Week.start_of(start);
        let above = [
            (of, start),
            (DiaryLevel::Week, week),
            (DiaryLevel::Month, DiaryLevel::Month.start_of(week)),
            (DiaryLevel::Month, DiaryLevel::Month.start_of(start)),
        ];
        for (level, start) in above {
            erase_page(tx, conv, level, days(start), receipt).await?;
        }
    }
    Ok(())
}

async fn erase_page(tx: &mut Tx, conv: &Conv, level: DiaryLevel, start: i64, receipt: &mut Receipt) -> Result<()> {
    let row = sqlx::query("DELETE FROM diary WHERE tenant = ? AND part = ? AND level = ? AND start = ? RETURNING rid, id")
        .bind(conv.tenant)
        .bind(conv.part)
        .bind(level_number(level))
        .bind(start)
        .fetch_optional(&mut tx.conn)
        .await?;
    let Some(row) = row else { return Ok(()) };
    receipt.diary_entries += 1;
    receipt.vectors += forget_record(tx, conv.part, row.int(0)?, RecordId::Diary(row.id(1)?)).await?;
    // Whether anything is left to tell is looked at when everything is gone.
    touch(tx, conv.tenant, conv.part, level, start, tx.now);
    // Nothing stands in for it any more: it does not wait for another try.
    tx.later("UPDATE diary_dirty SET tries = 0 WHERE tenant = ? AND part = ? AND level = ? AND start = ?")
        .bind(conv.tenant)
        .bind(conv.part)
        .bind(level_number(level))
        .bind(start);
    Ok(())
}

/// Takes away the marks of periods that have nothing left to tell.
pub(super) async fn look_again(tx: &mut Tx, conv: &Conv) -> Result<()> {
    tx.flush().await?;
    let zone = owner_zone(&mut tx.conn, conv.tenant, conv.owner()).await?;
    let rows = sqlx::query("SELECT start FROM diary_dirty WHERE tenant = ? AND part = ? AND level = 0")
        .bind(conv.tenant)
        .bind(conv.part)
        .fetch_all(&mut tx.conn)
        .await?;
    for row in &rows {
        let start = row.int(0)?;
        let (from, to) = day_range(date(start), &zone);
        sqlx::query(
            "DELETE FROM diary_dirty WHERE tenant = ?1 AND part = ?2 AND level = 0 AND start = ?3
             AND NOT EXISTS (SELECT 1 FROM messages WHERE part = ?2 AND at >= ?4 AND at < ?5)",
        )
        .bind(conv.tenant)
        .bind(conv.part)
        .bind(start)
        .bind(from)
        .bind(to)
        .execute(&mut tx.conn)
        .await?;
    }
    sqlx::query(
        "DELETE FROM diary_dirty WHERE tenant = ?1 AND part = ?2 AND level > 0 AND NOT EXISTS (
            SELECT 1 FROM diary d WHERE d.tenant = ?1 AND d.part = ?2 AND d.level = diary_dirty.level - 1
            AND d.start >= diary_dirty.start AND d.start < diary_dirty.ends)",
    )
    .bind(conv.tenant)
    .bind(conv.part)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}
