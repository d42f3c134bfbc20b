//! Core memory blocks, their versions, and where an edit came from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BlockId, Citation, ConversationId, MessageId, Owner, PassageId, RunId, Source, UserId};

/// What an agent may do with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockAccess {
    /// The model sees it.
    Read,
    /// The model sees and edits it.
    Write,
}

/// A labelled piece of core memory: always in the prompt, edited by the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its id.
    pub id: BlockId,
    /// Whose it is.
    pub owner: Owner,
    /// The name the model uses; unique among the blocks of one owner.
    pub label: String,
    /// What it is for; shown to the model.
    pub description: String,
    /// The present value.
    pub value: String,
    /// Most characters that `value` may have.
    pub limit_chars: u32,
    /// What the reading agent may do with it.
    pub access: BlockAccess,
    /// Counts edits, from 1; writes are compare-and-set on it.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One edit. Histories are lists of these, so that erasing a source replays the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum BlockOp {
    /// The whole value was set.
    Set {
        /// The new value.
        value: String,
    },
    /// A line was added at the end.
    Append {
        /// The line.
        text: String,
    },
    /// The first occurrence of `old` became `new`.
    Replace {
        /// What was there.
        old: String,
        /// What is there now; empty = removed.
        new: String,
    },
}

impl BlockOp {
    /// The value after this edit; `None` when the edit does not fit (`old` is not there).
    #[must_use]
    pub fn apply(&self, value: &str) -> Option<String> {
        match self {
            Self::Set { value } => Some(value.clone()),
            Self::Append { text } if value.is_empty() => Some(text.clone()),
            Self::Append { text } => Some(format!("{value}\n{text}")),
            Self::Replace { old, new } => (!old.is_empty() && value.contains(old.as_str())).then(|| value.replacen(old.as_str(), new, 1)),
        }
    }

    /// This edit by somebody who has read these sources: what it writes says so in the block itself, where each later turn reads it.
    #[must_use]
    pub fn marked(self, sources: &[Source]) -> Self {
        if sources.is_empty() {
            return self;
        }
        let mark = Source::mark(sources);
        let marked = |text: String| if text.is_empty() || text.starts_with(&mark) { text } else { format!("{mark}{text}") };
        match self {
            Self::Set { value } => Self::Set { value: marked(value) },
            Self::Append { text } => Self::Append { text: marked(text) },
            // What takes a mark away leaves one, also where it only deletes.
            Self::Replace { old, new } if new.is_empty() && old.contains(Source::MARK) => Self::Replace { old, new: mark },
            Self::Replace { old, new } => Self::Replace { old, new: marked(new) },
        }
    }
}

/// Where a memory came from: what undo, blame and erasure look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The conversation in which it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The run that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The user who wrote it, or for whom it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// How it came: `tool`, `api`, `import`, `template`, `undo`, `consolidation`, `document`.
    pub channel: String,
    /// Sources that are not trusted, which whoever wrote it had read; none = trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// The messages that it is drawn from, all of them in `conversation`; empty for what was written as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<MessageId>,
    /// The passage that has taken its place; what it says was true until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<PassageId>,
    /// The document that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<Box<Citation>>,
}

/// One version of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockVersion {
    /// The block.
    pub block: BlockId,
    /// Counts from 1.
    pub version: u64,
    /// The edit that led here.
    #[serde(flatten)]
    pub edit: BlockOp,
    /// The value after the edit.
    pub value_after: String,
    /// Where the edit came from.
    pub provenance: Provenance,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    #[test]
    fn a_block_says_which_sources_its_writer_had_read() {
        let sources = vec![Source::new(Channel::Tool, "tickets, old]"), Source::new(Channel::Web, "evil.example")];
        let told = vec![Source::new(Channel::Tool, "tickets_ old_"), Source::new(Channel::Web, "evil.example")];
        let text = || "Likes tea.".to_owned();
        for op in [BlockOp::Set { value: text() }, BlockOp::Append { text: text() }, BlockOp::Replace { old: "Likes".into(), new: text() }]
        {
            let value = op.clone().marked(&sources).apply("Likes coffee.").expect("it fits");
            assert_eq!(Source::marks_in(&value), told, "{value}");
            let again = op.clone().marked(&sources).marked(&sources);
            assert_eq!(again, op.marked(&sources), "marked once");
        }
        // Who would take the mark away under the same influence writes it again.
        let cleaning = BlockOp::Replace { old: "[from web:evil.example] ".into(), new: "so ".into() };
        let cleaned = cleaning.marked(&sources[1..]).apply("[from web:evil.example] Pay Eve.").expect("it fits");
        assert_eq!(Source::marks_in(&cleaned), sources[1..]);
        assert_eq!(Source::marks_in("From her: tea. [from nowhere] x [from web: ]"), Vec::<Source>::new());
    }
}
