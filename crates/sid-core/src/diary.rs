//! The diary, between store and models: pages are written in the background, and shown in a fixed number of tokens.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use sid_memory::{
    Count, ModelSummarizer, SummarizeError, Summarizer as _, SummaryTask, day_task, diary_segment, message_ranges, render, upper_task,
};

use sid_store::{DiaryQuery, DiaryWork, StoreError, crash_point};
use sid_types::{AgentSpec, DiaryEntry, DiaryLevel, Owner, Principal, Scope, Source, SummaryId, Timestamp, Tokens};
use tracing::{debug, warn};

use crate::consolidate::{self, Day};
use crate::engine::Inner;
use crate::successors::{self, Successors};
use crate::{ModelEntry, collect};

/// The diary as the prompt shows it: the pages before today, newest first, within `cap`.
pub(crate) async fn segment(
    inner: &Inner,
    scope: &Scope,
    owner: Owner,
    now: Timestamp,
    zone: &TimeZone,
    cap: Tokens,
    count: &Count<'_>,
) -> Result<String, StoreError> {
    if cap.0 < 24 {
        return Ok(String::new());
    }
    let today = now.to_zoned(zone.clone()).date();
    let mut pages = Vec::new();
    for (level, limit) in [(DiaryLevel::Day, 7), (DiaryLevel::Week, 6), (DiaryLevel::Month, 14)] {
        let query = DiaryQuery { level: Some(level), to: Some(today), limit, ..DiaryQuery::default() };
        pages.extend(inner.store.diary(scope, owner, &query).await?);
    }
    Ok(diary_segment(&pages, cap, count))
}

/// How often a page is tried whose model failed, and how long it rests after each time: 10 minutes, then longer and longer, in all some four days.
const MOST_TRIES: u32 = 8;
const FIRST_REST: SignedDuration = SignedDuration::from_mins(10);
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(24);

fn rest_after(tries: u32) -> SignedDuration {
    FIRST_REST.saturating_mul(3_i32.saturating_pow(tries)).min(LONGEST_REST)
}

/// Writes one page: by the agent's background model, or the floor when it does not answer. What the model did not do is tried again.
pub(crate) async fn write_page(inner: &Arc<Inner>, work: &DiaryWork) -> Result<(), StoreError> {
    let agent = match work.owner {
        Owner::Pair { agent, .. } | Owner::Agent { agent } => inner.store.agent(&work.scope, agent).await?,
        _ => return Ok(()),
    };
    let user = match (work.owner.user(), work.scope.principal()) {
        (Some(user), _) | (None, Principal::User { user }) => Some(inner.store.user(&work.scope, user).await?),
        _ => None,
    };
    let zone = render::zone(user.as_ref().and_then(|u| u.timezone.as_deref()).unwrap_or("UTC"));
    let mut has_failed = false;
    let mut untrusted = Vec::new();
    let (task, messages) = match work.level {
        DiaryLevel::Day => {
            let messages = inner.store.day_messages(&work.scope, work.owner, work.start).await?;
            // Before the page, which marks the day as done.
            if inner.config.consolidate {
                if let Some(model) = background_model(inner, &agent.spec) {
                    let is_last = work.tries >= MOST_TRIES;
                    let day = Day { scope: &work.scope, owner: work.owner, user: user.as_ref(), zone: &zone, model, is_last };
                    // What was interrupted after an erasure.
                    successors::mend(inner, &work.scope, work.owner, &Successors::new()).await?;
                    has_failed |= !consolidate::draw_facts(inner, &day, &messages).await?;
                    has_failed |= !consolidate::tidy_written(inner, &day, work.start).await?;
                }
                collect::collect(inner, &work.scope, work.owner).await?;
            }
            messages.iter().for_each(|message| Source::add(&mut untrusted, &message.untrusted));
            (Some(day_task(work.start, &messages, &zone)), message_ranges(&messages))
        }
        level => {
            let query =
                DiaryQuery { level: level.below(), from: Some(level.start_of(work.start)), to: Some(level.end_of(work.start)), limit: 31 };
            let pages = inner.store.diary(&work.scope, work.owner, &query).await?;
            pages.iter().for_each(|page| Source::add(&mut untrusted, &page.untrusted));
            (upper_task(level, work.start, &pages), Vec::new())
        }
    };
    let Some(task) = task else { return Ok(()) };
    let (text, is_floor) = summarize(inner, &agent.spec, &task).await;
    if (has_failed || is_floor) && work.tries < MOST_TRIES {
        // Said first: the page that stands in would take the mark away.
        let not_before = inner.clock.now().saturating_add(rest_after(work.tries)).unwrap_or(Timestamp::MAX);
        warn!(level = ?work.level, start = %work.start, tries = work.tries + 1, %not_before, "the model failed at a diary page; it is tried again");
        inner.store.redo_diary(&DiaryWork { tries: work.tries + 1, ..work.clone() }, not_before).await?;
    }
    debug!(level = ?work.level, start = %work.start, is_floor, "wrote a diary page");
    let entry = DiaryEntry {
        id: SummaryId::new(),
        owner: work.owner,
        level: work.level,
        start: work.start,
        text,
        messages,
        is_floor,
        untrusted,
        written_at: inner.clock.now(),
    };
    crash_point!("diary.before");
    inner.store.put_diary(&work.scope, entry).await?;
    crash_point!("diary.after");
    inner.new_memory.notify_one();
    Ok(())
}

/// The summary of a task by the model that works in the background for such an agent, or its floor. The `bool` says that it is the floor.
pub(crate) async fn summarize(inner: &Inner, agent: &AgentSpec, task: &SummaryTask) -> (String, bool) {
    match by_model(inner, agent, task).await {
        Ok(text) => (text, false),
        Err(error) => {
            debug!(%error, "no summary by a model; the floor stands in");
            (task.floor(&sid_memory::count_bytes), true)
        }
    }
}

async fn by_model(inner: &Inner, agent: &AgentSpec, task: &SummaryTask) -> Result<String, SummarizeError> {
    let summarizer = background_model(inner, agent).ok_or(SummarizeError::Empty)?;
    ModelSummarizer::new(summarizer.chat.clone(), summarizer.window(), summarizer.counter.clone()).summarize(task).await
}

/// The model that works in the background for such an agent: its own for that, else the one that its model's configuration names, else its
/// model. `None` when there is no such model.
fn background_model<'i>(inner: &'i Inner, agent: &AgentSpec) -> Option<&'i ModelEntry> {
    if let Some(own) = agent.background_model.as_deref().and_then(|name| inner.models.get(name)) {
        return Some(own);
    }
    let entry = inner.models.get(&agent.model)?;
    Some(entry.summarizer.as_deref().and_then(|name| inner.models.get(name)).unwrap_or(entry))
}
