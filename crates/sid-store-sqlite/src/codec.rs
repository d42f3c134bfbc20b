//! Between rows and the contract's types.

use jiff::civil::Date;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sid_types::{
    AgentId, ApprovalId, BlockId, ConversationId, DeliveryId, DiaryLevel, DocumentId, ImageId, ItemId, KeyId, MessageId, PassageId, Role,
    RunId, RunStatus, StepId, SummaryId, TaskId, TeamId, TenantId, TimerId, Timestamp, UserId, WebhookId, WorkerId,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Fault, Result, damaged};

/// An id as its column holds it.
pub(crate) trait Id: Copy {
    fn blob(self) -> Vec<u8>;
    fn of(uuid: Uuid) -> Self;
}

macro_rules! id {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn blob(self) -> Vec<u8> {
                self.uuid().as_bytes().to_vec()
            }
            fn of(uuid: Uuid) -> Self {
                Self::from_uuid(uuid)
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
    StepId,
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

/// Reads columns by place. SQLite's types were set by `STRICT` tables, so they are not checked again for each value.
pub(crate) trait Columns {
    fn int(&self, column: usize) -> Result<i64>;
    fn maybe_int(&self, column: usize) -> Result<Option<i64>>;
    fn text(&self, column: usize) -> Result<String>;
    fn maybe_text(&self, column: usize) -> Result<Option<String>>;
    fn bytes(&self, column: usize) -> Result<Vec<u8>>;
    fn id<T: Id>(&self, column: usize) -> Result<T>;
    fn maybe_id<T: Id>(&self, column: usize) -> Result<Option<T>>;
    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T>;

    fn count(&self, column: usize) -> Result<u64> {
        Ok(u64::try_from(self.int(column)?).unwrap_or_default())
    }
    fn flag(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }
    fn time(&self, column: usize) -> Result<Timestamp> {
        Ok(time(self.int(column)?))
    }
    fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>> {
        Ok(self.maybe_int(column)?.map(time))
    }
}

impl Columns for SqliteRow {
    fn int(&self, column: usize) -> Result<i64> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn maybe_int(&self, column: usize) -> Result<Option<i64>> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn text(&self, column: usize) -> Result<String> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn bytes(&self, column: usize) -> Result<Vec<u8>> {
        Ok(self.try_get_unchecked(column)?)
    }
    fn id<T: Id>(&self, column: usize) -> Result<T> {
        let bytes: &[u8] = self.try_get_unchecked(column)?;
        uuid(bytes).map(T::of)
    }
    fn maybe_id<T: Id>(&self, column: usize) -> Result<Option<T>> {
        let bytes: Option<&[u8]> = self.try_get_unchecked(column)?;
        bytes.map(|b| uuid(b).map(T::of)).transpose()
    }
    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T> {
        let text: &str = self.try_get_unchecked(column)?;
        Ok(serde_json::from_str(text)?)
    }
}

fn uuid(bytes: &[u8]) -> Result<Uuid> {
    Uuid::from_slice(bytes).map_err(|_| Fault::Store(damaged("an id has not 16 bytes")))
}

/// An id as SQLite's `hex` writes it.
pub(crate) fn from_hex<T: Id>(text: &str) -> Result<T> {
    Uuid::try_parse(text).map(T::of).map_err(|_| Fault::Store(damaged("an id has not 16 bytes")))
}

/// A document column.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// Nanoseconds since 1970. Times before 1677 or after 2262 are cut to these years.
pub(crate) fn nanos(at: Timestamp) -> i64 {
    let n = at.as_nanosecond();
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).expect("64 bits of nanoseconds are within jiff's range")
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Days since 1970-01-01.
pub(crate) fn days(date: Date) -> i64 {
    (date.duration_since(EPOCH).as_hours()) / 24
}

pub(crate) fn date(days: i64) -> Date {
    EPOCH.saturating_add(jiff::SignedDuration::from_hours(days.saturating_mul(24)))
}

pub(crate) const fn role_number(role: Role) -> i64 {
    match role {
        Role::User => 0,
        Role::Assistant => 1,
        Role::Tool => 2,
        Role::Note => 3,
    }
}

pub(crate) const fn status_number(status: RunStatus) -> i64 {
    match status {
        RunStatus::Queued => 0,
        RunStatus::Running => 1,
        RunStatus::Completed => 2,
        RunStatus::Failed => 3,
        RunStatus::Cancelled => 4,
    }
}

pub(crate) fn status(number: i64) -> Result<RunStatus> {
    Ok(match number {
        0 => RunStatus::Queued,
        1 => RunStatus::Running,
        2 => RunStatus::Completed,
        3 => RunStatus::Failed,
        4 => RunStatus::Cancelled,
        other => return Err(damaged(format!("a run has status {other}")).into()),
    })
}

pub(crate) const fn level_number(level: DiaryLevel) -> i64 {
    match level {
        DiaryLevel::Day => 0,
        DiaryLevel::Week => 1,
        DiaryLevel::Month => 2,
    }
}

pub(crate) fn level(number: i64) -> Result<DiaryLevel> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_before_and_after_the_epoch() {
        for text in ["1969-12-31", "1970-01-01", "1600-02-29", "2026-11-21", "2400-12-31"] {
            let day: Date = text.parse().expect("a date");
            assert_eq!(date(days(day)), day, "{text}");
        }
        assert_eq!(days(EPOCH), 0);
        assert_eq!(days(jiff::civil::date(1969, 12, 31)), -1);
    }

    #[test]
    fn times_keep_their_nanoseconds_and_far_ones_are_cut() {
        let at: Timestamp = "2026-05-07T09:30:01.123456789Z".parse().expect("a time");
        assert_eq!(time(nanos(at)), at);
        assert!(time(nanos(Timestamp::MAX)) < Timestamp::MAX);
        assert!(time(nanos(Timestamp::MIN)) > Timestamp::MIN);
    }
}
