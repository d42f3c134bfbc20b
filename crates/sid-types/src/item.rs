//! Items of the context service: what assistants keep for their user, beside conversations.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AgentId, ItemId, Owner, Provenance, TeamId, UserId};

named! {
    /// What an item is.
    ItemKind {
        /// Loaded whole whenever an assistant starts.
        Note = "note",
        /// Something to remember; its title is listed, its body read on demand.
        Memory = "memory",
        /// How somebody likes things to be.
        Preference = "preference",
        /// Something that helps to work with a thing: a category, or a hint in one.
        Hint = "hint",
        /// A contact of an assistant with its user.
        Session = "session",
        /// Work that one assistant hands to another.
        Handoff = "handoff",
        /// A project.
        Project = "project",
        /// A part of a project, or of another section.
        Section = "section",
        /// A page of a wiki.
        Page = "page",
        /// A sealed value.
        Secret = "secret",
        /// A key that values are sealed with, itself sealed.
        DataKey = "data_key",
        /// A change that waits for its user's consent.
        Proposal = "proposal",
    }
}

impl ItemKind {
    /// Whether memory search finds it, by its title and body.
    #[must_use]
    pub const fn is_searchable(self) -> bool {
        matches!(
            self,
            Self::Note | Self::Memory | Self::Preference | Self::Hint | Self::Handoff | Self::Project | Self::Section | Self::Page
        )
    }
}

impl std::fmt::Display for ItemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ItemKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("`{text}` is no kind of item"))
    }
}

/// One item.
///
/// A searchable item is also a passage of archival memory under the same UUID and owner, so that one search finds both; that passage
/// changes with the item and in no other way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// What it is.
    pub kind: ItemKind,
    /// Whose it is: a pair's is read by all of the user's assistants and written by that one; a user's is written by all of them.
    pub owner: Owner,
    /// What it is a part of; its owner is the same.
    pub parent: Option<ItemId>,
    /// The top of its tree; itself where it has no parent. Sharing goes by it.
    pub root: ItemId,
    /// Order among the parts of one parent, then by age.
    pub position: i32,
    /// One line.
    pub title: String,
    /// The text; may be empty.
    pub body: String,
    /// Words to filter by, each once.
    pub tags: Vec<String>,
    /// Where it stands in its life; empty for kinds without one.
    pub state: String,
    /// For whom it is: the assistant that a hand-off waits for.
    pub recipient: Option<AgentId>,
    /// What its kind has besides. Never shown to a model as it is.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// Counts changes, from 1; writes are compare-and-set on it.
    pub version: u64,
    /// The assistant that changed it last; `None` = a person or the tenant's application.
    pub written_by: Option<AgentId>,
    /// Where the last change came from.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Item {
    /// Most characters of a title.
    pub const TITLE_CHARS: usize = 300;
    /// Most bytes of a body.
    pub const BODY_BYTES: usize = 262_144;
    /// Most bytes of `data`, as JSON.
    pub const DATA_BYTES: usize = 65_536;
    /// Most tags.
    pub const TAGS: usize = 32;
    /// Most characters of a tag.
    pub const TAG_CHARS: usize = 64;
    /// How deep a tree may be; a root has depth 1.
    pub const DEPTH: usize = 16;
}

/// What somebody else may do with a shared item, and with all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareLevel {
    /// Read it.
    Read,
    /// Read and change it, and add to it.
    Edit,
    /// All of that, and delete from it.
    Full,
}

/// With whom an item is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Sharee {
    /// A person, with all of the person's assistants.
    User {
        /// The person.
        user: UserId,
    },
    /// Everybody who is in the team at the time.
    Team {
        /// The team.
        team: TeamId,
    },
}

/// One sharing of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The top of the shared tree.
    pub item: ItemId,
    /// With whom.
    pub with: Sharee,
    /// What they may do.
    pub level: ShareLevel,
    /// Since when.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_they_are_stored() {
        for kind in ItemKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("file".parse::<ItemKind>().is_err());
    }

    #[test]
    fn levels_include_those_below() {
        assert!(ShareLevel::Read < ShareLevel::Edit && ShareLevel::Edit < ShareLevel::Full);
    }
}
