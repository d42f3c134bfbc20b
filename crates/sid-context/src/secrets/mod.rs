//! Secrets: values that assistants use and no model sees.
//!
//! Envelope encryption with AES-256-GCM. Each owner has a data key, which seals its secrets; the data key itself is sealed by a
//! key-encryption key, which never enters the store ([`KeyWrapper`]: a file, the environment, a key management service). What is sealed is
//! bound to its tenant, its owner and its row: moved anywhere else, it does not open. Erasing an owner takes its data key along, so that what
//! is left of its secrets in older copies stays closed even there where the key-encryption key is known.

mod keys;
mod sealed;
mod vault;

pub use keys::{KeyWrapper, LocalKeys};
pub use sealed::{DataKey, Sealed, SecretValue};
pub use vault::{MOST_BYTES, SecretInfo, Vault};
