//! Between columns and the contract's types.
//!
//! Postgres keeps times to the microsecond, and no text of it may hold the character U+0000: times are cut, and that one character is
//! written as two others and read back.

use std::borrow::Cow;

use jiff::civil::Date;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sid_types::{
    AgentId, ApprovalId, BlockId, ConversationId, DeliveryId, DiaryLevel, DocumentId, ImageId, ItemId, KeyId, MessageId, PassageId, Role,
    RunId, RunStatus, SummaryId, TaskId, TeamId, TenantId, TimerId, Timestamp, UserId, WebhookId, WorkerId,
};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row, Type};
use uuid::Uuid;

use crate::error::{Result, damaged};

/// An id as its column holds it.
pub(crate) trait Id: Copy {
    fn of(uuid: Uuid) -> Self;
    fn raw(self) -> Uuid;
}

macro_rules! id {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn of(uuid: Uuid) -> Self {
                Self::from_uuid(uuid)
            }
            fn raw(self) -> Uuid {
                self.uuid()
            }
        }
    )*};
}

id!(
    AgentId,
    ApprovalId,
    BlockId,
    ConversationId,
    DeliveryId,
    ItemId,
    KeyId,
    MessageId,
    PassageId,
    RunId,
    SummaryId,
    TaskId,
    TeamId,
    TenantId,
    DocumentId,
    ImageId,
    TimerId,
    UserId,
    WebhookId,
    WorkerId
);

/// Microseconds from 1970 to 2000, where Postgres begins to count.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The first moment of the year 1: Postgres tells earlier years in a way of its own.
const EARLIEST_MICROS: i64 = -62_135_596_800_000_000;
const Y2K: Date = jiff::civil::date(2000, 1, 1);

/// A `timestamptz`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) Timestamp);

/// A `date`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Day(pub(crate) Date);

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for At {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_microsecond().max(EARLIEST_MICROS) - EPOCH_MICROS;
        Encode::<Postgres>::encode(micros, buf)
    }
}

impl Decode<'_, Postgres> for At {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros: i64 = Decode::<Postgres>::decode(value)?;
        Ok(Self(Timestamp::from_microsecond(micros.saturating_add(EPOCH_MICROS))?))
    }
}

impl Type<Postgres> for Day {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1082))
    }
}

impl PgHasArrayType for Day {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1182))
    }
}

impl Encode<'_, Postgres> for Day {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let days = self.0.max(jiff::civil::date(1, 1, 1)).duration_since(Y2K).as_hours() / 24;
        Encode::<Postgres>::encode(i32::try_from(days)?, buf)
    }
}

impl Decode<'_, Postgres> for Day {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let days: i32 = Decode::<Postgres>::decode(value)?;
        Ok(Self(Y2K.checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24))?))
    }
}

/// A time as it will be read back.
pub(crate) fn kept(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond().max(EARLIEST_MICROS)).unwrap_or(at)
}

const ESCAPE: char = '\u{10FFFF}';

/// A text as its column can hold it.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.extend([ESCAPE, '0']),
            ESCAPE => out.extend([ESCAPE, '1']),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// A text as it was before [`clean`].
pub(crate) fn original(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == ESCAPE { chars.next() } else { None }) {
            (ESCAPE, Some('0')) => out.push('\0'),
            (other, _) => out.push(other),
        }
    }
    out
}

/// Reads columns by place. The schema sets their types, so they are not checked again for each value.
pub(crate) trait Columns {
    fn int(&self, column: usize) -> Result<i64>;
    fn maybe_int(&self, column: usize) -> Result<Option<i64>>;
    /// An `int`.
    fn number(&self, column: usize) -> Result<i32>;
    /// A `smallint`.
    fn small(&self, column: usize) -> Result<i16>;
    fn maybe_small(&self, column: usize) -> Result<Option<i16>>;
    fn flag(&self, column: usize) -> Result<bool>;
    fn text(&self, column: usize) -> Result<String>;
    fn maybe_text(&self, column: usize) -> Result<Option<String>>;
    /// A `text[]`.
    fn texts(&self, column: usize) -> Result<Vec<String>>;
    fn bytes(&self, column: usize) -> Result<&[u8]>;
    fn time(&self, column: usize) -> Result<Timestamp>;
    fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>>;
    fn date(&self, column: usize) -> Result<Date>;
    fn id<T: Id>(&self, column: usize) -> Result<T>;
    fn maybe_id<T: Id>(&self, column: usize) -> Result<Option<T>>;
    /// A document: never escaped, for JSON writes the awkward character its own way.
    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T>;
    fn maybe_json<T: DeserializeOwned>(&self, column: usize) -> Result<Option<T>>;

    fn count(&self, column: usize) -> Result<u64> {
        Ok(u64::try_from(self.int(column)?).unwrap_or_default())
    }
}

impl Columns for PgRow {
    fn int(&self, column: usize) -> Result<i64> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn maybe_int(&self, column: usize) -> Result<Option<i64>> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn number(&self, column: usize) -> Result<i32> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn small(&self, column: usize) -> Result<i16> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn maybe_small(&self, column: usize) -> Result<Option<i16>> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn flag(&self, column: usize) -> Result<bool> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn text(&self, column: usize) -> Result<String> {
        Ok(original(self.try_get_unchecked(column)?))
    }
    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        let text: Option<String> = self.try_get_unchecked(column)?;
        Ok(text.map(original))
    }
    fn texts(&self, column: usize) -> Result<Vec<String>> {
        let texts: Vec<String> = self.try_get_unchecked(column)?;
        Ok(texts.into_iter().map(original).collect())
    }
    fn bytes(&self, column: usize) -> Result<&[u8]> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn time(&self, column: usize) -> Result<Timestamp> {
        let at: At = self.try_get_unchecked(column)?;
        Ok(at.0)
    }
    fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>> {
        let at: Option<At> = self.try_get_unchecked(column)?;
        Ok(at.map(|at| at.0))
    }
    fn date(&self, column: usize) -> Result<Date> {
        let day: Day = self.try_get_unchecked(column)?;
        Ok(day.0)
    }
    fn id<T: Id>(&self, column: usize) -> Result<T> {
        let id: Uuid = self.try_get_unchecked(column)?;
        Ok(T::of(id))
    }
    fn maybe_id<T: Id>(&self, column: usize) -> Result<Option<T>> {
        let id: Option<Uuid> = self.try_get_unchecked(column)?;
        Ok(id.map(T::of))
    }
    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T> {
        let text: &str = self.try_get_unchecked(column)?;
        Ok(serde_json::from_str(text)?)
    }
    fn maybe_json<T: DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        let text: Option<&str> = self.try_get_unchecked(column)?;
        Ok(text.map(serde_json::from_str).transpose()?)
    }
}

/// A document column.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// A limit as SQL takes it.
pub(crate) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(crate) const fn role_number(role: Role) -> i16 {
    match role {
        Role::User => 0,
        Role::Assistant => 1,
        Role::Tool => 2,
        Role::Note => 3,
    }
}

pub(crate) const fn status_number(status: RunStatus) -> i16 {
    match status {
        RunStatus::Queued => 0,
        RunStatus::Running => 1,
        RunStatus::Completed => 2,
        RunStatus::Failed => 3,
        RunStatus::Cancelled => 4,
    }
}

pub(crate) fn status(number: i16) -> Result<RunStatus> {
    Ok(match number {
        0 => RunStatus::Queued,
        1 => RunStatus::Running,
        2 => RunStatus::Completed,
        3 => RunStatus::Failed,
        4 => RunStatus::Cancelled,
        other => return Err(damaged(format!("a run has status {other}")).into()),
    })
}

pub(crate) const fn level_number(level: DiaryLevel) -> i16 {
    match level {
        DiaryLevel::Day => 0,
        DiaryLevel::Week => 1,
        DiaryLevel::Month => 2,
    }
}

pub(crate) fn level(number: i16) -> Result<DiaryLevel> {
    Ok(match number {
        0 => DiaryLevel::Day,
        1 => DiaryLevel::Week,
        2 => DiaryLevel::Month,
        other => return Err(damaged(format!("a diary page has level {other}")).into()),
    })
}

/// An enum that serialises as one word.
pub(crate) fn word<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

pub(crate) fn from_word<T: DeserializeOwned>(word: &str) -> Result<T> {
    Ok(serde_json::from_value(serde_json::Value::String(word.to_owned()))?)
}

/// A vector as its column holds it: f32, little endian.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A stored vector.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was() {
        for text in ["", "plain", "\0", "a\0b\0", "\u{10FFFF}", "\u{10FFFF}0\0\u{10FFFF}1", "caf\u{e9} \u{1F952}"] {
            let stored = clean(text);
            assert!(!stored.contains('\0'), "{text:?}");
            assert_eq!(original(stored.into_owned()), text);
        }
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let at: Timestamp = "2026-05-07T09:30:01.123456789Z".parse().expect("a time");
        assert_eq!(kept(at).to_string(), "2026-05-07T09:30:01.123456Z");
        assert_eq!(kept(kept(at)), kept(at));
        assert!(kept(Timestamp::MIN) > Timestamp::MIN);
    }

    #[test]
    fn vectors_round_trip() {
        let vector = [0.25, -1.0, f32::MIN_POSITIVE];
        assert_eq!(from_bytes(&to_bytes(&vector)), vector);
        assert!(from_bytes(&[]).is_empty());
    }
}
