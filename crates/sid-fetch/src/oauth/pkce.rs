//! Proof that whoever shows a code is who asked for it. Source: RFC 7636.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Hidden;

/// So many random bytes.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
    bytes
}

/// 256 random bits as text that a URL can have.
#[must_use]
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// A verifier of 256 random bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pkce(Hidden);

impl Pkce {
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self(Hidden::new(random_text()))
    }

    /// What is shown first: `S256`.
    ///
    /// ```
    /// # use sid_fetch::oauth::Pkce;
    /// // RFC 7636, appendix B.
    /// let pkce: Pkce = serde_json::from_str("\"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk\"")?;
    /// assert_eq!(pkce.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.reveal()))
    }

    /// What is shown with the code.
    #[must_use]
    pub fn verifier(&self) -> &str {
        self.0.reveal()
    }
}
