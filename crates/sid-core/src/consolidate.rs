//! Consolidation: when a day is over, what users told in it becomes short facts in archival memory. What is known already is not stored twice,
//! and what is no longer true says since when.
//!
//! The model proposes, [`sid_memory::facts`] decides. A fact names its messages, and its id follows from them: a day that is gone through a
//! second time, after a crash or an import, stores nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;
use sid_llm::{ChatMessage, ChatRequest, LlmError, complete};
use sid_memory::facts::{
    CONSOLIDATION, Comparison, FACT, FactPrompt, SUPERSEDED, Said, Standing, Statement, UNTIL, compare_prompt, compare_schema,
    extract_prompt, extract_schema, is_borne_out, is_repetition, read_comparison, read_statements, standing,
};
use sid_memory::render;
use sid_store::{PageRequest, Record, RecordKinds, SearchQuery, StoreError, check_channel};
use sid_types::{
    ConversationId, Message, MessageId, NewPassage, Owner, Passage, PassageId, Provenance, Role, Scope, Timestamp, Tokens, User,
};
use tracing::{debug, info};
use uuid::Uuid;

use crate::engine::Inner;
use crate::{ModelEntry, recall};

/// Most stored statements that a new one is compared with.
const COMPARED: usize = 8;
/// Most of the newest passages that are looked through for those of the day.
const WRITTEN: usize = 200;
/// Most tokens of an answer: a score of short sentences.
const ANSWER: Tokens = Tokens(1_024);

/// Whose day it is, and who is asked.
pub(crate) struct Day<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) owner: Owner,
    pub(crate) user: Option<&'a User>,
    pub(crate) zone: &'a TimeZone,
    /// The model that consolidates.
    pub(crate) model: &'a ModelEntry,
    /// Nobody tries again: what can be done without the model is done.
    pub(crate) is_last: bool,
}

/// Draws facts from a day's messages; answers whether the model did what it was asked. What it failed at is left for the next time.
///
/// Errors: the store's.
pub(crate) async fn draw_facts(inner: &Arc<Inner>, day: &Day<'_>, messages: &[Message]) -> Result<bool, StoreError> {
    let mut told: BTreeMap<ConversationId, Vec<&Message>> = BTreeMap::new();
    for message in messages.iter().filter(|m| m.body.role() == Role::User && m.body.is_searchable()) {
        told.entry(message.conversation).or_default().push(message);
    }
    for (conversation, told) in told {
        let said: Vec<Said<'_>> = told.iter().map(|m| Said { seq: m.seq, at: m.at, text: m.body.text() }).collect();
        let mut rest = said.as_slice();
        while !rest.is_empty() {
            let count = |text: &str| day.model.counter.count(text);
            let room = Tokens(day.model.window().0 / 2).saturating_sub(Tokens(400)).max(Tokens(64));
            let (prompt, shown) = extract_prompt(rest, room, day.zone, &count);
            let Some(answer) = ask(day.model, prompt, extract_schema()).await else { return Ok(false) };
            for statement in read_statements(&answer, &rest[..shown]) {
                let sources: Vec<&Message> = told.iter().filter(|m| statement.from.contains(&m.seq)).copied().collect();
                if !take_up(inner, day, conversation, &statement, &sources).await? {
                    return Ok(false);
                }
            }
            rest = &rest[shown..];
        }
    }
    Ok(true)
}

/// Stores a statement that what was said bears out, if it is new; what it takes the place of is marked in the same transaction.
/// Answers whether the model did what it was asked.
async fn take_up(
    inner: &Arc<Inner>,
    day: &Day<'_>,
    conversation: ConversationId,
    statement: &Statement,
    sources: &[&Message],
) -> Result<bool, StoreError> {
    let words: Vec<&str> = sources.iter().map(|m| m.body.text()).collect();
    let known: Vec<&str> = day.user.into_iter().flat_map(|u| [u.display_name.as_str(), u.handle.as_str()]).collect();
    let Some(at) = sources.iter().map(|m| m.at).max() else { return Ok(true) };
    if !is_borne_out(&statement.text, &words, &known) {
        debug!(statement = statement.text.len(), "a statement is not borne out by what was said");
        return Ok(true);
    }
    let from: Vec<MessageId> = sources.iter().map(|m| m.id).collect();
    let id = fact_id(&from, &statement.text);
    match inner.store.passage(day.scope, id).await {
        Ok(_) => return Ok(true),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let stored = alike(inner, day, &statement.text).await?;
    if stored.iter().any(|p| is_repetition(&statement.text, &p.text)) {
        return Ok(true);
    }
    let Some(comparison) = compare(day, (&statement.text, at), &stored).await else { return Ok(false) };
    let stands: Vec<(Standing, &Passage)> =
        stored.iter().enumerate().map(|(n, p)| (standing(&statement.text, &p.text, &comparison, n), p)).collect();
    if stands.iter().any(|(standing, _)| *standing == Standing::Same) {
        return Ok(true);
    }
    let mut untrusted = Vec::new();
    sources.iter().for_each(|message| sid_types::Source::add(&mut untrusted, &message.untrusted));
    let provenance = Provenance {
        untrusted,
        conversation: Some(conversation),
        user: day.scope.user(),
        channel: CONSOLIDATION.into(),
        sources: from,
        ..Provenance::default()
    };
    let mut new = NewPassage { id, owner: day.owner, text: statement.text.clone(), tags: vec![FACT.into()], at, provenance };
    // The time at which it was said decides, not the order in which it is read: what is imported late may be old.
    let mut changed = Vec::new();
    for (_, passage) in stands.iter().filter(|(standing, _)| *standing == Standing::Instead) {
        if passage.at > at {
            new = superseded(new, passage.id, passage.at, day.zone);
        } else {
            changed.push(superseded(as_new(passage), id, at, day.zone));
        }
    }
    info!(superseded = changed.len(), "drew a fact from what was said");
    changed.insert(0, new);
    inner.store.upsert(day.scope, changed).await?;
    // What was forgotten meanwhile must not come back with it. An erasure after this look finds the fact by itself.
    if let Err(StoreError::NotFound { .. }) = inner.store.conversation(day.scope, conversation).await {
        inner.store.delete(day.scope, &[id]).await?;
    }
    Ok(true)
}

/// Sets what agents wrote on that day against what was stored before: a repetition goes, and what is no longer true says so. Answers
/// whether the model did what it was asked.
///
/// Errors: the store's.
pub(crate) async fn tidy_written(inner: &Arc<Inner>, day: &Day<'_>, date: Date) -> Result<bool, StoreError> {
    let page = PageRequest { limit: WRITTEN, ..PageRequest::default() };
    let newest = inner.store.list(day.scope, day.owner, page).await?.items;
    let is_of_the_day = |p: &&Passage| {
        p.provenance.channel == "tool" && p.provenance.superseded_by.is_none() && p.at.to_zoned(day.zone.clone()).date() == date
    };
    for new in newest.iter().filter(is_of_the_day) {
        let mut older = alike(inner, day, &new.text).await?;
        older.retain(|p| p.id != new.id && (p.at, p.created_at) < (new.at, new.created_at));
        if older.iter().any(|p| is_repetition(&new.text, &p.text)) {
            inner.store.delete(day.scope, &[new.id]).await?;
            continue;
        }
        let Some(comparison) = compare(day, (&new.text, new.at), &older).await else { return Ok(false) };
        let instead = older.iter().enumerate().filter(|(n, p)| standing(&new.text, &p.text, &comparison, *n) == Standing::Instead);
        let changed: Vec<NewPassage> = instead.map(|(_, p)| superseded(as_new(p), new.id, new.at, day.zone)).collect();
        if !changed.is_empty() {
            inner.store.upsert(day.scope, changed).await?;
        }
    }
    Ok(true)
}

/// Stored statements of the same owner that are about the like, nearest first; none that is out of date.
async fn alike(inner: &Arc<Inner>, day: &Day<'_>, text: &str) -> Result<Vec<Passage>, StoreError> {
    let mut query = SearchQuery::new(text);
    query.kinds = RecordKinds::PASSAGES;
    query.owners = Some(vec![day.owner]);
    query.per_channel = COMPARED * 2;
    let options = sid_memory::recall::RecallOptions { limit: COMPARED * 2, follow: false, ..Default::default() };
    let found = recall::find(inner, day.scope, query, &options).await?;
    let passages = found.hits.into_iter().filter_map(|hit| match hit.found.record {
        Record::Passage(passage) => Some(passage),
        Record::Message(_) | Record::Diary(_) => None,
    });
    // Items of the context service and parts of documents have a keeper of their own.
    let is_open = |p: &Passage| p.provenance.superseded_by.is_none() && check_channel(&p.provenance).is_ok();
    Ok(passages.filter(is_open).take(COMPARED).collect())
}

/// How the new one stands to those that are stored; `None` if the model failed, and is asked again another time.
async fn compare(day: &Day<'_>, new: (&str, Timestamp), stored: &[Passage]) -> Option<Comparison> {
    if stored.is_empty() {
        return Some(Comparison::default());
    }
    let shown: Vec<(&str, Timestamp)> = stored.iter().map(|p| (p.text.as_str(), p.at)).collect();
    match ask(day.model, compare_prompt(new, &shown, day.zone), compare_schema()).await {
        Some(answer) => Some(read_comparison(&answer, stored.len())),
        None => day.is_last.then(Comparison::default),
    }
}

/// The model's answer; `None` when there is none.
async fn ask(model: &ModelEntry, prompt: FactPrompt, schema: Value) -> Option<String> {
    let request = ChatRequest {
        messages: vec![ChatMessage::System { text: prompt.system }, ChatMessage::User { text: prompt.user }],
        max_tokens: ANSWER.min(Tokens(model.window().0 / 4)),
        temperature: Some(0.0),
        json_schema: model.chat.info().profile.json_schema.then_some(schema),
        ..ChatRequest::default()
    };
    let answer: Result<_, LlmError> = complete(&*model.chat, request).await;
    answer.inspect_err(|error| debug!(%error, "nothing was drawn from what was said: the model failed")).ok().map(|reply| reply.text)
}

/// The id of a fact: it follows from the words and from where they come from.
fn fact_id(from: &[MessageId], text: &str) -> PassageId {
    let space = from.first().map_or(Uuid::nil(), |id| id.uuid());
    PassageId::from_uuid(Uuid::new_v5(&space, format!("fact/{}", text.to_lowercase()).as_bytes()))
}

fn as_new(passage: &Passage) -> NewPassage {
    let Passage { id, owner, text, tags, at, provenance, .. } = passage.clone();
    NewPassage { id, owner, text, tags, at, provenance }
}

/// The passage as history: it says until when it was true, and by what its place was taken.
fn superseded(mut passage: NewPassage, by: PassageId, until: Timestamp, zone: &TimeZone) -> NewPassage {
    if passage.provenance.superseded_by.is_none() {
        passage.text = format!("{UNTIL}{}) {}", render::day(until, zone), passage.text);
        passage.tags.push(SUPERSEDED.into());
        passage.provenance.superseded_by = Some(by);
    }
    passage
}
