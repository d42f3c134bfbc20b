//! Key-encryption keys: what data keys are sealed with.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sealed::{DataKey, Sealed};
use crate::error::{ContextError, Result};

/// Seals and opens data keys with keys that never leave it: a file, the environment, a key management service.
#[async_trait]
pub trait KeyWrapper: Send + Sync {
    /// The id of the key that seals from now on.
    fn current(&self) -> &str;

    /// Seals a data key, bound to `place`, with the current key.
    async fn wrap(&self, key: &DataKey, place: &[u8]) -> Result<Sealed>;

    /// Opens a data key that the key `id` has sealed. Errors: `Sealed` (no such key here, or it does not open).
    async fn unwrap(&self, id: &str, sealed: &Sealed, place: &[u8]) -> Result<DataKey>;
}

/// Keys that the process itself holds.
#[derive(Debug, Clone)]
pub struct LocalKeys {
    current: String,
    keys: BTreeMap<String, DataKey>,
}

impl LocalKeys {
    /// Reads keys from a text: a line each, `ID:KEY`, the key being 32 bytes in base64. The first line is the current key; the others
    /// still open what they have sealed. Empty lines and those that begin with `#` say nothing.
    ///
    /// Errors: `Invalid`, with the line's number and never with what is in it.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |line: usize, why: &str| ContextError::Invalid(format!("line {line} of the keys for secrets: {why}"));
        let mut current = None;
        let mut keys = BTreeMap::new();
        for (i, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, key) = line.split_once(':').ok_or_else(|| bad(i, "expected ID:KEY"))?;
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(bad(i, "an id is 1 to 64 letters, digits, `-` and `_`"));
            }
            let bytes = zeroize::Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| bad(i, "the key is not base64"))?);
            let key = DataKey::from_bytes(&bytes).ok_or_else(|| bad(i, "a key has 32 bytes: make one with `openssl rand -base64 32`"))?;
            if keys.insert(id.to_owned(), key).is_some() {
                return Err(bad(i, "this id is there twice"));
            }
            current.get_or_insert_with(|| id.to_owned());
        }
        let current = current.ok_or_else(|| ContextError::Invalid("there is no key for secrets in what was given".into()))?;
        Ok(Self { current, keys })
    }
}

#[async_trait]
impl KeyWrapper for LocalKeys {
    fn current(&self) -> &str {
        &self.current
    }

    async fn wrap(&self, key: &DataKey, place: &[u8]) -> Result<Sealed> {
        self.keys[&self.current].seal(key.bytes(), place)
    }

    async fn unwrap(&self, id: &str, sealed: &Sealed, place: &[u8]) -> Result<DataKey> {
        let key = self.keys.get(id).ok_or(ContextError::Sealed("it was sealed with a key that this server does not have"))?;
        DataKey::from_bytes(&key.open(sealed, place)?).ok_or(ContextError::Sealed("its record is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_the_current_one() {
        let key = STANDARD.encode([7; 32]);
        let keys = LocalKeys::parse(&format!("# keys\n\nnew: {key}\nold:{key}\n")).expect("keys");
        assert_eq!(keys.current(), "new");
        assert!(!format!("{keys:?}").contains(&key));
    }

    #[test]
    fn bad_keys_are_named_by_their_line_and_never_shown() {
        let check = |text: &str, expected: &str| {
            let error = LocalKeys::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("c2hvcnQ"), "{error}");
        };
        check("", "no key");
        check("nokey", "line 1");
        check("a:c2hvcnQ=", "32 bytes");
        check("\na b:c2hvcnQ=", "line 2");
        check("a:c2hvcnQ!", "not base64");
        let key = STANDARD.encode([7; 32]);
        check(&format!("a:{key}\na:{key}"), "twice");
    }
}
