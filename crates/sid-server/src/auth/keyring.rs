//! API keys: their form, and looking them up with a small memory.
//!
//! A key is `sid_` + 8 characters that people recognise it by + `_` + 43 characters of secret (256 bits, base62). Only the SHA-256
//! of the whole text is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use sid_store::Store;
use sid_types::{AccessRole, ApiKey, Clock, KeyId, KeyRole, Permission, Timestamp};
use subtle::ConstantTimeEq as _;

use super::{MAX_REMEMBERED, Refusal, unauthenticated};

/// How long a looked-up key is trusted: a key that another process revoked works at most this much longer.
const KEY_TTL: Duration = Duration::from_secs(2);
/// What every key begins with, and no token does.
pub(super) const PREFIX: &str = "sid_";

/// What a new key is to be.
#[derive(Debug, Clone)]
pub(crate) struct KeySpec {
    pub(crate) name: String,
    pub(crate) role: KeyRole,
    pub(crate) access: AccessRole,
    pub(crate) scopes: Option<Vec<Permission>>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl KeySpec {
    /// An operator's, for ever and without limits.
    pub(crate) fn operator(name: impl Into<String>) -> Self {
        Self { name: name.into(), role: KeyRole::Operator, access: AccessRole::Owner, scopes: None, expires_at: None }
    }
}

/// A fresh key: its record, and its text, which is shown once.
pub(crate) fn new_key(id: KeyId, spec: KeySpec, now: Timestamp) -> (ApiKey, String) {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rngs::ThreadRng::default();
    let secret: String = (0..43).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
    let label = id.to_string();
    let text = format!("{PREFIX}{}_{secret}", &label[label.len() - 8..]);
    let KeySpec { name, role, access, scopes, expires_at } = spec;
    let key = ApiKey { id, name, role, access, scopes, hash: hash_of(&text), created_at: now, expires_at, revoked_at: None };
    (key, text)
}

fn hash_of(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 56
        && text.starts_with(PREFIX)
        && bytes[12] == b'_'
        && bytes[4..12].iter().chain(&bytes[13..]).all(u8::is_ascii_alphanumeric)
}

/// Looks keys up, with a small memory.
pub(crate) struct Keyring {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keys: Mutex<HashMap<String, (ApiKey, Instant)>>,
}

impl Keyring {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, keys: Mutex::default() }
    }

    /// The key with this text, if it is in force.
    pub(super) async fn key(&self, text: &str) -> Result<ApiKey, Refusal> {
        if !is_well_formed(text) {
            return Err(unauthenticated().into());
        }
        let hash = hash_of(text);
        let cached = self.keys.lock().get(&hash).filter(|(_, at)| at.elapsed() < KEY_TTL).map(|(key, _)| key.clone());
        let key = match cached {
            Some(key) => key,
            None => {
                let found = self.store.key_by_hash(&hash).await?.ok_or_else(unauthenticated)?;
                if !bool::from(found.hash.as_bytes().ct_eq(hash.as_bytes())) {
                    return Err(unauthenticated().into());
                }
                let mut keys = self.keys.lock();
                if keys.len() >= MAX_REMEMBERED {
                    keys.clear();
                }
                keys.insert(hash, (found.clone(), Instant::now()));
                found
            }
        };
        if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(Refusal { error: unauthenticated(), key: Some((key.id, key.role)) });
        }
        Ok(key)
    }

    pub(super) fn forget(&self) {
        self.keys.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form_and_differ() {
        let make = || new_key(KeyId::new(), KeySpec::operator("k"), Timestamp::UNIX_EPOCH);
        let ((key, text), (_, other)) = (make(), make());
        assert!(is_well_formed(&text), "{text}");
        assert_ne!(text, other);
        assert_eq!(key.hash.len(), 64);
        assert!(!key.hash.contains(&text[13..]));
        assert!(key.id.to_string().ends_with(&text[4..12]));
    }

    #[test]
    fn odd_credentials_are_refused_before_any_lookup() {
        for bad in ["", "sid_", "null", "Bearer", &"a".repeat(56), "sid_abcdefgh_' OR 1=1 --                               "] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
