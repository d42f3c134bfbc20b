//! The invariants of a storm, as pure functions over what is left after it.
//!
//! A torture test, a simulation or a person with a dump fills a [`Dump`] with what clients were told and with what a store holds now;
//! [`check`] answers what is wrong. The records read as the API's JSON, so a dump over HTTP needs no conversion.
//!
//! ```
//! use sid_testkit::checker::{Dump, Invariant, check};
//! let dump: Dump = serde_json::from_str(
//!     r#"{"conversations": [{"id": "conv_1", "messages": [{"id": "msg_1", "seq": 1, "role": "user", "text": "hello"}]}],
//!         "ledger": [{"conversation": "conv_1", "text": "hello"}, {"conversation": "conv_1", "text": "are you there?"}]}"#,
//! )?;
//! let found = check(&dump);
//! assert_eq!(found[0].invariant, Invariant::I1);
//! assert_eq!(found[0].to_string(), "I1 acknowledged messages are stored once: conv_1: `are you there?` is lost");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod read;
mod records;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

pub use read::read_conversation;
pub use records::{Answer, Call, Canary, Conversation, Dump, Effect, Entry, Event, Index, Message, Run, Step, Stream, Usage, Write};

/// What must hold after every storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// The ledger is a part of the store, each message once, in the order of acknowledgement.
    I1,
    /// Sequence numbers are dense from 1, one turn's messages stand together, a call is followed by exactly one result.
    I2,
    /// Every run is terminal, and its log says so once, at its end.
    I3,
    /// No two epochs wrote one run: whoever was fenced off wrote nothing afterwards.
    I4,
    /// A run's tokens are the sum of its steps'.
    I5,
    /// The outbox is empty and the index holds what the store holds.
    I6,
    /// A stream from any cut is the stored events, without a gap and without a repeat.
    I7,
    /// No tenant reads another's words.
    I8,
    /// A call that left the house is not made again.
    I9,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 9] = [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I8, Self::I9];

    /// What it asks, in a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::I1 => "acknowledged messages are stored once",
            Self::I2 => "messages are dense, turns and calls are whole",
            Self::I3 => "every run ends",
            Self::I4 => "a fenced worker writes nothing",
            Self::I5 => "usage is the sum of steps",
            Self::I6 => "the index is the store",
            Self::I7 => "streams are the stored events",
            Self::I8 => "tenants are apart",
            Self::I9 => "calls outside are not repeated",
        }
    }
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What it breaks.
    pub invariant: Invariant,
    /// Where and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.invariant, self.invariant.text(), self.detail)
    }
}

/// Everything that is wrong; empty = all invariants hold for what the dump has.
///
/// What a dump leaves out (no events of a run, no writes, no index) is not checked.
#[must_use]
pub fn check(dump: &Dump) -> Vec<Violation> {
    let mut found = rules::Found::default();
    rules::ledger(dump, &mut found);
    for conversation in &dump.conversations {
        rules::messages(conversation, &mut found);
        rules::calls(conversation, &mut found);
        rules::ends(conversation, &mut found);
        rules::epochs(conversation, &mut found);
        rules::usage(conversation, &mut found);
        rules::events(conversation, &mut found);
    }
    rules::writes(dump, &mut found);
    rules::indexes(dump, &mut found);
    rules::streams(dump, &mut found);
    rules::tenants(dump, &mut found);
    rules::effects(dump, &mut found);
    found.list
}
