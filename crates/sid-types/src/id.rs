//! Prefixed, time-ordered identifiers.
//!
//! An id is a UUIDv7 shown as `prefix_` + 26 characters of Crockford base32 (the TypeID form), so that ids sort by
//! creation time as text and as bytes, say what they name, and cannot be mixed up in a signature.
//! Source: ADR 0002 (id format).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected `{prefix}_` followed by 26 base32 characters, found `{found}`")]
pub struct IdError {
    prefix: &'static str,
    found: String,
}

fn encode(uuid: Uuid) -> [u8; 26] {
    let n = uuid.as_u128();
    let mut out = [0_u8; 26];
    for (i, slot) in out.iter_mut().enumerate() {
        let shift = 5 * (25 - i);
        // The top group carries only three bits: 26 x 5 = 130 bits for 128.
        *slot = ALPHABET[((n >> shift) & 31) as usize];
    }
    out
}

fn decode(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    if bytes.len() != 26 || bytes[0] > b'7' {
        return None;
    }
    let mut n: u128 = 0;
    for b in bytes {
        let digit = ALPHABET.iter().position(|a| a == b)?;
        n = (n << 5) | digit as u128;
    }
    Some(Uuid::from_u128(n))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id, later than every id made before it in this process.
            #[allow(clippy::new_without_default, reason = "a default id would be a new one each time, which `Default` does not suggest")]
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as a UUID, for stores.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// An id read back from a store, or derived (UUIDv5) where the same input must give the same id.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode(self.0);
                write!(f, "{}_{}", $prefix, std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                s.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError { prefix: $prefix, found: s.chars().take(60).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A customer organisation.
    TenantId = "ten";
    /// A team inside a tenant.
    TeamId = "team";
    /// A person inside a tenant.
    UserId = "user";
    /// An agent of a tenant.
    AgentId = "agent";
    /// One agent with one human, or with none.
    ConversationId = "conv";
    /// One message of a conversation.
    MessageId = "msg";
    /// A core memory block.
    BlockId = "blk";
    /// An archival memory passage.
    PassageId = "psg";
    /// A diary entry.
    SummaryId = "sum";
    /// The reaction to one stimulus.
    RunId = "run";
    /// One model call with its tool calls and its commit.
    StepId = "step";
    /// An API key (never its secret).
    KeyId = "key";
    /// An item of the context service.
    ItemId = "item";
    /// A call that waits for somebody's word.
    ApprovalId = "appr";
    /// A task that an agent works on.
    TaskId = "task";
    /// A document.
    DocumentId = "doc";
    /// A timer.
    TimerId = "tmr";
    /// An image that an agent had made.
    ImageId = "img";
    /// An endpoint that is told what happens.
    WebhookId = "whk";
    /// What a webhook is told of one event.
    DeliveryId = "dlv";
    /// One process that runs agents.
    WorkerId = "wrk";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_sort_by_creation() {
        let ids: Vec<MessageId> = (0..200).map(|_| MessageId::new()).collect();
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert!(texts.windows(2).all(|w| w[0] < w[1]));
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!(text.parse::<MessageId>().as_ref(), Ok(id));
        }
    }

    #[test]
    fn foreign_prefixes_and_garbage_are_refused() {
        let user = UserId::new().to_string();
        for bad in ["", "msg_", "msg_81234567890123456789012345", &user, "msg_il234567890123456789012345", "msg_é"] {
            let error = bad.parse::<MessageId>().expect_err(bad);
            assert!(error.to_string().contains("msg_"));
        }
    }
}
