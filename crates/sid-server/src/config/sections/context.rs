//! The context service and its secrets.

use crate::config::setting::{Secret, section};

section! {
    /// The context service: what assistants keep for their user beside conversations.
    Context {
        /// Whether assistants ask their user before they change or delete notes, memories and preferences. They add freely in any case.
        ask_first: bool = true;
        /// How long a hand-off that was picked up is kept for who picked it up, in seconds.
        claim_s: u32 = 900;
        /// After how long without contact an assistant's session is a new one, in seconds.
        session_gap_s: u32 = 1_800;
    }
}

section! {
    /// Secrets of the context service. Without keys it keeps none.
    Secrets {
        /// Key-encryption keys: a line each, `ID:KEY`, the key being 32 bytes in base64 (`openssl rand -base64 32`). The first one seals; the others open what they have sealed, until `POST /api/v1/secrets/rewrap` answers 0. All servers of a database are given the same ones.
        keys: Secret = Secret::default();
    }
}
