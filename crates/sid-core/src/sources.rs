//! What came from outside: which sources that are not trusted have written how much.

use std::collections::BTreeMap;

use serde::Serialize;
use sid_memory::facts::FACT;
use sid_store::{DiaryQuery, Order, PageRequest, PairFilter, StoreError, TaskFilter};
use sid_types::{ConversationId, Owner, Scope, Source, Timestamp};

use crate::{CoreError, Engine};

/// Records that are read at once.
const PAGE: usize = 500;
/// Versions of a block that are looked at for when a source first wrote in it.
const VERSIONS: usize = 10_000;

/// What stands under the influence of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceUse {
    /// The source.
    pub source: Source,
    /// Messages.
    pub messages: u64,
    /// Passages, those that are facts aside.
    pub passages: u64,
    /// Facts that were drawn from its words.
    pub facts: u64,
    /// Lines of blocks that say so.
    pub block_lines: u64,
    /// Pages of the diary.
    pub diary_pages: u64,
    /// Timers.
    pub timers: u64,
    /// Tasks.
    pub tasks: u64,
    /// The moment of the oldest of them.
    pub since: Timestamp,
}

/// Counts by source.
#[derive(Default)]
struct Counts(BTreeMap<Source, SourceUse>);

impl Counts {
    fn add(&mut self, sources: &[Source], at: Timestamp, count: impl Fn(&mut SourceUse) -> &mut u64) {
        for source in sources {
            let known = self.0.entry(source.clone()).or_insert_with(|| SourceUse {
                source: source.clone(),
                messages: 0,
                passages: 0,
                facts: 0,
                block_lines: 0,
                diary_pages: 0,
                timers: 0,
                tasks: 0,
                since: at,
            });
            known.since = known.since.min(at);
            *count(known) += 1;
        }
    }
}

impl Engine {
    /// Sources that are not trusted, and how much stands under the influence of each, by name. Looks through all memory of the tenant.
    ///
    /// Errors: `NotFound` for whom the tenant's memory is not; those of the store.
    pub async fn sources(&self, scope: &Scope) -> Result<Vec<SourceUse>, CoreError> {
        if !scope.is_tenant_wide() {
            return Err(StoreError::NotFound { what: "tenant" }.into());
        }
        let mut counts = Counts::default();
        for owner in self.owners(scope).await? {
            self.count_blocks(scope, owner, &mut counts).await?;
            self.count_passages(scope, owner, &mut counts).await?;
            self.count_pages(scope, owner, &mut counts).await?;
        }
        let mut after = None;
        loop {
            let page = self.inner.store.conversations(scope, None, None, PageRequest { after, limit: PAGE }).await?;
            for talk in page.items {
                self.count_messages(scope, talk.id, &mut counts).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.count_plans(scope, &mut counts).await?;
        Ok(counts.0.into_values().collect())
    }

    async fn count_blocks(&self, scope: &Scope, owner: Owner, counts: &mut Counts) -> Result<(), CoreError> {
        for block in self.inner.store.blocks(scope, owner).await? {
            if !block.value.contains(Source::MARK) {
                continue;
            }
            let history = self.inner.store.block_history(scope, block.id, VERSIONS).await?;
            for line in block.value.lines() {
                for source in Source::marks_in(line) {
                    let first = history.iter().filter(|v| source.is_among(&v.provenance.untrusted)).map(|v| v.at).min();
                    counts.add(&[source], first.unwrap_or(block.updated_at), |s| &mut s.block_lines);
                }
            }
        }
        Ok(())
    }

    async fn count_passages(&self, scope: &Scope, owner: Owner, counts: &mut Counts) -> Result<(), CoreError> {
        let mut after = None;
        loop {
            let page = self.inner.store.list(scope, owner, PageRequest { after, limit: PAGE }).await?;
            for passage in page.items {
                let is_fact = passage.tags.iter().any(|tag| tag == FACT);
                counts.add(&passage.provenance.untrusted, passage.created_at, |s| if is_fact { &mut s.facts } else { &mut s.passages });
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn count_pages(&self, scope: &Scope, owner: Owner, counts: &mut Counts) -> Result<(), CoreError> {
        if !matches!(owner, Owner::Pair { .. } | Owner::Agent { .. }) {
            return Ok(());
        }
        let query = DiaryQuery { limit: usize::MAX, ..DiaryQuery::default() };
        for page in self.inner.store.diary(scope, owner, &query).await? {
            counts.add(&page.untrusted, page.written_at, |s| &mut s.diary_pages);
        }
        Ok(())
    }

    async fn count_messages(&self, scope: &Scope, talk: ConversationId, counts: &mut Counts) -> Result<(), CoreError> {
        let mut from = None;
        loop {
            let page = self.inner.store.page(scope, talk, from, Order::Ascending, PAGE).await?;
            for message in &page {
                counts.add(&message.untrusted, message.at, |s| &mut s.messages);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => from = Some(last.seq),
                _ => return Ok(()),
            }
        }
    }

    /// What is planned for later.
    async fn count_plans(&self, scope: &Scope, counts: &mut Counts) -> Result<(), CoreError> {
        let mut after = None;
        loop {
            let page = self.inner.store.timers(scope, &PairFilter::default(), PageRequest { after, limit: PAGE }).await?;
            page.items.iter().for_each(|timer| counts.add(&timer.untrusted, timer.created_at, |s| &mut s.timers));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = self.inner.store.tasks(scope, &TaskFilter::default(), PageRequest { after, limit: PAGE }).await?;
            page.items.iter().for_each(|task| counts.add(&task.untrusted, task.created_at, |s| &mut s.tasks));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
