//! `DiaryStore`: pages, and which of them are missing.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_types::{DiaryEntry, DiaryLevel, Message, Owner, Principal, Scope, Timestamp};

use super::room::{Placed, Room};
use super::{InProcess, missing};
use crate::{DiaryQuery, DiaryStore, DiaryWork, MOST_OF_A_DAY, RecordId, StoreError};

#[async_trait]
impl DiaryStore for InProcess {
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "owner")?;
        if !room.sees(scope, owner) {
            return Err(missing("owner"));
        }
        let is_asked = |page: &&DiaryEntry| {
            page.owner == owner
                && query.level.is_none_or(|level| page.level == level)
                && query.from.is_none_or(|from| page.start >= from)
                && query.to.is_none_or(|to| page.start < to)
        };
        let mut pages: Vec<DiaryEntry> = room.diary.values().filter(is_asked).cloned().collect();
        pages.sort_by_key(|page| std::cmp::Reverse((page.start, page.level)));
        pages.truncate(query.limit);
        Ok(pages)
    }

    async fn diary_work(&self, now: Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError> {
        let state = self.read();
        let mut work = Vec::new();
        for room in state.rooms.values() {
            let owners: BTreeSet<Owner> = room.threads.values().map(super::room::Thread::owner).collect();
            for owner in owners {
                let due = room.due_pages(owner, now);
                work.extend(due.into_iter().map(|(level, start)| {
                    let tries = room.redo.get(&(owner, level, start)).map_or(0, |(_, tries)| *tries);
                    DiaryWork { scope: room.engine_scope(owner), owner, level, start, tries }
                }));
            }
        }
        work.sort_by_key(|w| (w.level, w.start));
        work.truncate(limit);
        Ok(work)
    }

    async fn redo_diary(&self, work: &DiaryWork, not_before: Timestamp) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(&work.scope, "owner")?;
            room.check_page(&work.scope, work.owner, work.level, work.start)?;
            room.redo.insert((work.owner, work.level, work.start), (not_before, work.tries));
            Ok(())
        })
    }

    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<Message>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "owner")?;
        if !room.sees(scope, owner) {
            return Err(missing("owner"));
        }
        let told = room.told(owner).filter(|(date, _)| *date == day);
        let mut messages: Vec<Message> = told.map(|(_, placed)| placed.message.clone()).collect();
        messages.sort_by_key(|m| (m.at, m.conversation, m.seq));
        messages.drain(..messages.len().saturating_sub(MOST_OF_A_DAY));
        Ok(messages)
    }

    async fn put_diary(&self, scope: &Scope, entry: DiaryEntry) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "owner")?;
            room.check_page(scope, entry.owner, entry.level, entry.start)?;
            // What was forgotten while the page was being written must not come back with it.
            let is_source = |id| room.threads.get(id).is_some_and(|t| t.owner() == entry.owner);
            if !entry.messages.iter().all(|(conversation, ..)| is_source(conversation)) {
                return Err(missing("conversation"));
            }
            let (id, place) = (entry.id, (entry.owner, entry.level, entry.start));
            if room.redo.get(&place).is_some_and(|(not_before, _)| *not_before <= entry.written_at) {
                room.redo.remove(&place);
            }
            if let Some(old) = room.diary.insert(place, entry) {
                room.unshelve(RecordId::Diary(old.id));
            }
            room.shelve(RecordId::Diary(id));
            Ok(())
        })
    }
}

impl Room {
    /// Whether a page of this period may be written with this scope, and there is such a period.
    fn check_page(&self, scope: &Scope, owner: Owner, level: DiaryLevel, start: Date) -> Result<(), StoreError> {
        let may = match scope.principal() {
            Principal::Tenant { .. } => true,
            Principal::Turn { agent, user } => Owner::of_conversation(agent, user) == owner,
            Principal::User { .. } => false,
        };
        if !may || !self.sees(scope, owner) {
            return Err(missing("owner"));
        }
        if level.start_of(start) != start {
            return Err(StoreError::Invalid(format!("no {level:?} starts on {start}")));
        }
        Ok(())
    }

    /// Messages that the owner's diary tells of, with their day in the user's zone.
    fn told(&self, owner: Owner) -> impl Iterator<Item = (Date, &Placed)> {
        let zone = self.zone(owner);
        let threads = self.threads.values().filter(move |t| t.owner() == owner);
        let said = threads.flat_map(|t| &t.messages).filter(|p| p.message.body.is_searchable());
        said.map(move |p| (p.message.at.to_zoned(zone.clone()).date(), p))
    }

    fn zone(&self, owner: Owner) -> TimeZone {
        let name = owner.user().and_then(|user| self.users.get(&user)?.timezone.as_deref());
        name.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
    }

    /// Pages that are missing or older than what they are made from. A level waits for the one below it.
    fn due_pages(&self, owner: Owner, now: Timestamp) -> Vec<(DiaryLevel, Date)> {
        let today = now.to_zoned(self.zone(owner)).date();
        // What each period would be made from: the newest of its sources.
        let mut sources: BTreeMap<Date, Timestamp> = BTreeMap::new();
        for (day, placed) in self.told(owner) {
            let newest = sources.entry(day).or_insert(placed.at);
            *newest = placed.at.max(*newest);
        }
        let mut due: Vec<(DiaryLevel, Date)> = Vec::new();
        for level in [DiaryLevel::Day, DiaryLevel::Week, DiaryLevel::Month] {
            if let Some(below) = level.below() {
                sources = self.written(owner, below, level);
            }
            let waits = |start: Date| due.iter().any(|(below, s)| Some(*below) == level.below() && level.start_of(*s) == start);
            let is_due = |(start, newest): (&Date, &Timestamp)| {
                let place = (owner, level, *start);
                let is_old = match self.redo.get(&place) {
                    Some((not_before, _)) => *not_before <= now,
                    None => self.diary.get(&place).is_none_or(|page| page.written_at < *newest),
                };
                (is_old && level.end_of(*start) <= today && !waits(*start)).then_some((level, *start))
            };
            let found: Vec<_> = sources.iter().filter_map(is_due).collect();
            due.extend(found);
        }
        due
    }

    /// Periods of `level` that have pages of the level `below`, with the time of the newest.
    fn written(&self, owner: Owner, below: DiaryLevel, level: DiaryLevel) -> BTreeMap<Date, Timestamp> {
        let mut periods = BTreeMap::new();
        for page in self.diary.values().filter(|p| p.owner == owner && p.level == below) {
            let newest = periods.entry(level.start_of(page.start)).or_insert(page.written_at);
            *newest = page.written_at.max(*newest);
        }
        periods
    }
}
