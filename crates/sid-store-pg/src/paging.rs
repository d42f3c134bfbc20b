//! Cursors of lists by time and id. A cursor is the last item's key, so it stays good when that item goes.

use std::fmt::Display;
use std::str::FromStr;

use sid_store::{Page, PageRequest, StoreError};
use sid_types::Timestamp;
use uuid::Uuid;

use crate::codec::{At, Id};

/// Where a page begins and how long it is.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The key after which the page begins, in the list's own direction.
    pub(crate) at: At,
    pub(crate) id: Uuid,
    limit: usize,
}

impl Cursor {
    /// A page of a list that is oldest first.
    pub(crate) fn ascending<I: Id + FromStr>(page: &PageRequest) -> Result<Self, StoreError> {
        Self::new::<I>(page, (Timestamp::MIN, Uuid::nil()))
    }

    /// A page of a list that is newest first.
    pub(crate) fn descending<I: Id + FromStr>(page: &PageRequest) -> Result<Self, StoreError> {
        Self::new::<I>(page, (Timestamp::MAX, Uuid::max()))
    }

    fn new<I: Id + FromStr>(page: &PageRequest, start: (Timestamp, Uuid)) -> Result<Self, StoreError> {
        let (at, id) = match &page.after {
            None => start,
            Some(text) => parse::<I>(text).ok_or_else(|| StoreError::Invalid("this is not a cursor: start the list again".into()))?,
        };
        Ok(Self { at: At(at), id, limit: page.limit.clamp(1, 1_000) })
    }

    /// How many rows to read: one more than the page has, to know whether there is more.
    pub(crate) const fn fetch(&self) -> i64 {
        self.limit as i64 + 1
    }

    /// The page out of the rows that were read.
    pub(crate) fn page<T, I: Display>(&self, mut items: Vec<T>, key: impl Fn(&T) -> (Timestamp, I)) -> Page<T> {
        let is_more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| is_more).map(|item| {
            let (at, id) = key(item);
            format!("{}.{id}", at.as_microsecond())
        });
        Page { items, next }
    }
}

fn parse<I: Id + FromStr>(text: &str) -> Option<(Timestamp, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((Timestamp::from_microsecond(at.parse().ok()?).ok()?, id.parse::<I>().ok()?.raw()))
}
