//! What the index takes in: a borrowed view of a record.

use sid_types::{ConversationId, DiaryEntry, Message, Passage, Role, Seq, Timestamp};

use crate::{Record, RecordId};

/// A record as the index sees it. Nothing of it is kept but numbers.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The record; its kind is the kind that queries filter by.
    pub id: RecordId,
    /// Messages: where it was said.
    pub conversation: Option<ConversationId>,
    /// Messages: its place there.
    pub seq: Option<Seq>,
    /// Messages: who speaks.
    pub role: Option<Role>,
    /// When it was said.
    pub at: Timestamp,
    /// Messages: the speaker's name, if one was given; searched together with the text.
    pub speaker: Option<&'a str>,
    /// The words.
    pub text: &'a str,
}

impl<'a> Document<'a> {
    /// A message; `None` if recall memory does not index it (see [`Body::is_searchable`](sid_types::Body::is_searchable)).
    #[must_use]
    pub fn of_message(message: &'a Message) -> Option<Self> {
        message.body.is_searchable().then(|| Self {
            id: RecordId::Message(message.id),
            conversation: Some(message.conversation),
            seq: Some(message.seq),
            role: Some(message.body.role()),
            at: message.at,
            speaker: message.speaker.as_deref(),
            text: message.body.text(),
        })
    }

    /// A passage.
    #[must_use]
    pub fn of_passage(passage: &'a Passage) -> Self {
        Self {
            id: RecordId::Passage(passage.id),
            conversation: None,
            seq: None,
            role: None,
            at: passage.at,
            speaker: None,
            text: &passage.text,
        }
    }

    /// A page of the diary; its time is the start of its first day in UTC.
    #[must_use]
    pub fn of_diary(entry: &'a DiaryEntry) -> Self {
        let at = entry.start.to_zoned(jiff::tz::TimeZone::UTC).map_or(entry.written_at, |z| z.timestamp());
        Self { id: RecordId::Diary(entry.id), conversation: None, seq: None, role: None, at, speaker: None, text: &entry.text }
    }

    /// Any record; `None` for messages that are not indexed.
    #[must_use]
    pub fn of(record: &'a Record) -> Option<Self> {
        match record {
            Record::Message(m) => Self::of_message(m),
            Record::Passage(p) => Some(Self::of_passage(p)),
            Record::Diary(d) => Some(Self::of_diary(d)),
        }
    }

    /// The speaker's name, unless it only repeats the role.
    #[must_use]
    pub fn named_speaker(&self) -> Option<&'a str> {
        named(self.speaker)
    }

    /// Bytes that [`embedded_text`] puts before the text; chunk ranges are shifted back by it.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.named_speaker().map_or(0, |s| s.len() + 2)
    }
}

fn named(speaker: Option<&str>) -> Option<&str> {
    speaker.map(str::trim).filter(|s| !s.is_empty() && !s.eq_ignore_ascii_case("user") && !s.eq_ignore_ascii_case("assistant"))
}

/// What is embedded of a record, and what chunk ranges count bytes of: `Speaker: text` for messages whose speaker has a name,
/// the text otherwise. Stores put it into [`EmbedJob::text`](crate::EmbedJob).
#[must_use]
pub fn embedded_text(record: &Record) -> String {
    match record {
        Record::Message(m) => embedded_text_of_message(m),
        Record::Passage(_) | Record::Diary(_) => record.text().to_owned(),
    }
}

/// [`embedded_text`] of a message.
#[must_use]
pub fn embedded_text_of_message(message: &Message) -> String {
    let text = message.body.text();
    named(message.speaker.as_deref()).map_or_else(|| text.to_owned(), |s| format!("{s}: {text}"))
}
