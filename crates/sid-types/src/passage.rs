//! Archival memory: passages written on purpose.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Owner, PassageId, Provenance};

/// A passage to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPassage {
    /// Its id, made by the caller; storing the same id again replaces the text.
    pub id: PassageId,
    /// Whose it is.
    pub owner: Owner,
    /// The text, at least one character that is not white space.
    pub text: String,
    /// Words to filter by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was said or became true.
    pub at: Timestamp,
    /// Where it came from.
    pub provenance: Provenance,
}

/// A passage as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Its id.
    pub id: PassageId,
    /// Whose it is.
    pub owner: Owner,
    /// The text.
    pub text: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// When it was said or became true.
    pub at: Timestamp,
    /// Where it came from.
    pub provenance: Provenance,
    /// When it was stored.
    pub created_at: Timestamp,
}
