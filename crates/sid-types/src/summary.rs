//! Summaries: the recursive one of a conversation, and the diary.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, Owner, Seq, Source, SummaryId};

/// What left a conversation's queue, told shortly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecursiveSummary {
    /// The text; empty while nothing has left.
    pub text: String,
    /// The last message it tells of; `Seq(0)` while nothing has left.
    pub through: Seq,
    /// Whether the deterministic floor wrote it because no model could.
    #[serde(default)]
    pub is_floor: bool,
    /// Sources that are not trusted, of what it tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
}

/// How much time a diary entry tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiaryLevel {
    /// One day, made from messages.
    Day,
    /// One week (Monday to Sunday), made from days.
    Week,
    /// One calendar month, made from weeks.
    Month,
}

impl DiaryLevel {
    /// The first day of the period of this level that `date` lies in.
    #[must_use]
    pub fn start_of(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                date.saturating_sub(jiff::Span::new().days(back))
            }
            Self::Month => date.first_of_month(),
        }
    }

    /// The first day after the period that starts at `start`.
    #[must_use]
    pub fn end_of(self, start: Date) -> Date {
        match self {
            Self::Day => start.saturating_add(jiff::Span::new().days(1)),
            Self::Week => start.saturating_add(jiff::Span::new().days(7)),
            Self::Month => start.saturating_add(jiff::Span::new().months(1)),
        }
    }

    /// The level that this one is made from; `None` for days, which are made from messages.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Day => None,
            Self::Week => Some(Self::Day),
            Self::Month => Some(Self::Week),
        }
    }
}

/// One page of the diary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiaryEntry {
    /// Its id.
    pub id: SummaryId,
    /// Whose diary it is: an (agent, user) pair, or an agent alone.
    pub owner: Owner,
    /// How much time it tells of.
    pub level: DiaryLevel,
    /// The first day it tells of, in the user's zone.
    pub start: Date,
    /// The text.
    pub text: String,
    /// Messages that it was made from, for days: dense ranges `(conversation, first, last)`. Empty for weeks and months, whose
    /// sources are the entries of the level below in the same period.
    pub messages: Vec<(ConversationId, Seq, Seq)>,
    /// Whether the deterministic floor wrote it because no model could.
    #[serde(default)]
    pub is_floor: bool,
    /// Sources that are not trusted, of what it tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// When it was written.
    pub written_at: Timestamp,
}
