//! Sealing and opening.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{ContextError, Result};
use crate::service::text_of;

/// 256 bits that values are sealed with. Overwritten when it is dropped; never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// A known one: exactly 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes, to be sealed by another key.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `plain`, bound to `place`: it opens with the same `place` only.
    pub fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Sealed> {
        let mut nonce = [0; 12];
        rand::rngs::ThreadRng::default().fill_bytes(&mut nonce);
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: place });
        let bytes = sealed.map_err(|_| ContextError::Sealed("the value is too long to be sealed"))?;
        Ok(Sealed { nonce, bytes })
    }

    /// Opens what was sealed for `place`. The bytes are overwritten when they are dropped.
    pub fn open(&self, sealed: &Sealed, place: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let plain = self.cipher().decrypt(&Nonce::from(sealed.nonce), Payload { msg: &sealed.bytes, aad: place });
        plain.map(Into::into).map_err(|_| ContextError::Sealed("it was changed, moved from where it belongs, or sealed by another key"))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(self.0))
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// What a value looks like when it is stored: a 96-bit nonce, then the ciphertext with its 128-bit tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(crate) nonce: [u8; 12],
    pub(crate) bytes: Vec<u8>,
}

impl Sealed {
    /// For an item's data.
    pub(crate) fn write(&self, into: &mut Map<String, Value>) {
        into.insert("nonce".into(), json!(STANDARD.encode(self.nonce)));
        into.insert("sealed".into(), json!(STANDARD.encode(&self.bytes)));
    }

    /// From an item's data.
    pub(crate) fn read(data: &Map<String, Value>) -> Result<Self> {
        const DAMAGED: ContextError = ContextError::Sealed("its record is damaged");
        let part = |name: &str| STANDARD.decode(text_of(data, name)).map_err(|_| DAMAGED);
        let nonce = part("nonce")?.try_into().map_err(|_| DAMAGED)?;
        Ok(Self { nonce, bytes: part("sealed")? })
    }
}

/// A value that was opened. Overwritten when it is dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(String);

impl SecretValue {
    /// Takes a value in.
    #[must_use]
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key_and_nowhere_else() {
        let key = DataKey::random();
        let sealed = key.seal(b"pickles", b"place").expect("sealed");
        assert_eq!(key.open(&sealed, b"place").expect("opened").as_slice(), b"pickles");
        assert!(key.open(&sealed, b"elsewhere").is_err());
        assert!(DataKey::random().open(&sealed, b"place").is_err());
        for i in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[i] ^= 1;
            assert!(key.open(&changed, b"place").is_err(), "byte {i}");
        }
        let mut changed = sealed.clone();
        changed.nonce[0] ^= 1;
        assert!(key.open(&changed, b"place").is_err());
    }

    #[test]
    fn the_same_value_looks_different_each_time_and_is_never_shown() {
        let key = DataKey::random();
        let (a, b) = (key.seal(b"x", b"").expect("sealed"), key.seal(b"x", b"").expect("sealed"));
        assert_ne!(a, b);
        assert_eq!(format!("{key:?} {:?}", SecretValue::new("hunter2".into())), "DataKey(..) SecretValue(..)");
    }

    #[test]
    fn a_panic_over_a_value_does_not_show_it() {
        let held = (SecretValue::new("hunter2".into()), DataKey::from_bytes(b"0123456789abcdef0123456789abcdef").expect("32 bytes"));
        let panic = std::panic::catch_unwind(|| panic!("it does not open: {held:?}")).expect_err("a panic");
        let said = panic.downcast_ref::<String>().expect("a text");
        assert_eq!(said, "it does not open: (SecretValue(..), DataKey(..))");
    }

    #[test]
    fn records_round_trip() {
        let sealed = DataKey::random().seal(b"x", b"").expect("sealed");
        let mut data = Map::new();
        sealed.write(&mut data);
        assert_eq!(Sealed::read(&data).expect("read"), sealed);
        data.insert("nonce".into(), json!("AAAA"));
        assert!(Sealed::read(&data).is_err());
    }
}
