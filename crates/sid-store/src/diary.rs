//! The diary: days, weeks and months, each level made from the one below.

use async_trait::async_trait;
use jiff::civil::Date;
use sid_types::{DiaryEntry, DiaryLevel, Owner, Scope};

use crate::StoreError;

/// Which pages to read.
#[derive(Debug, Clone, Default)]
pub struct DiaryQuery {
    /// Only this level.
    pub level: Option<DiaryLevel>,
    /// Periods that start on or after this day.
    pub from: Option<Date>,
    /// Periods that start before this day.
    pub to: Option<Date>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// A page that has to be written (again).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiaryWork {
    /// The scope to read and write with.
    pub scope: Scope,
    /// Whose diary.
    pub owner: Owner,
    /// Which level.
    pub level: DiaryLevel,
    /// The first day of its period.
    pub start: Date,
    /// How often it was tried before, and was to be [tried again](DiaryStore::redo_diary).
    pub tries: u32,
}

/// Most messages of one day that a page is made from.
pub const MOST_OF_A_DAY: usize = 2_000;

/// Keeps the diary and knows what is missing.
#[async_trait]
pub trait DiaryStore: Send + Sync {
    /// Pages of one owner's diary.
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError>;

    /// Periods that ended before `today` (of the owner's user's zone, UTC without one), have something to tell, and whose page is
    /// missing or older than what it is made from. Days before weeks before months, oldest first, at most `limit`; a period is left out
    /// while a page below it is due. The engine's own call.
    async fn diary_work(&self, now: sid_types::Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError>;

    /// A page of this period is to be made (again), but not before this moment: what was tried did not succeed. `tries` comes back with
    /// [`diary_work`](Self::diary_work). Said before the page is written that stands in for the one that is wanted; a page that is written at
    /// this moment or later ends it. What is to be made again keeps no level above it from being made. Errors: `NotFound` (owner), `Invalid` (a
    /// start at which no period of the level begins).
    async fn redo_diary(&self, work: &DiaryWork, not_before: sid_types::Timestamp) -> Result<(), StoreError>;

    /// Messages (user's and assistant's) that one day's page is made from, in order of time: all of the day, and of a day that has more
    /// the last [`MOST_OF_A_DAY`].
    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<sid_types::Message>, StoreError>;

    /// Writes a page, in place of an older one for the same period. Errors: `NotFound` (owner; or a conversation that the page was made
    /// from and that has been erased since), `Invalid` (a start at which no period of the level begins).
    async fn put_diary(&self, scope: &Scope, entry: DiaryEntry) -> Result<(), StoreError>;
}
