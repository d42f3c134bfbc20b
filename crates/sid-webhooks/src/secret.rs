//! Secrets, as people pass them on.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

const PREFIX: &str = "whsec_";

/// What both sides of a webhook know: 24 to 64 bytes. Overwritten when it is dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

/// A text that is no secret. It does not say what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct BadSecret;

impl Secret {
    /// A fresh one, of 32 bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = vec![0; 32];
        rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// As it is shown, once: `whsec_` and base64. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    /// Reads what [`Secret::reveal`] shows; the prefix may be missing.
    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| BadSecret)?;
        if (24..=64).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(BadSecret) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_round_trip_and_are_not_shown() {
        let secret = Secret::random();
        assert_eq!(secret.reveal().parse(), Ok(secret.clone()));
        assert_ne!(secret, Secret::random());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", &format!("whsec_{}", STANDARD.encode([7; 65]))] {
            assert_eq!(bad.parse::<Secret>(), Err(BadSecret), "{bad}");
        }
    }
}
