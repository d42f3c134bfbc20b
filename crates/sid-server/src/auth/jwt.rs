//! Whether a token is one of an issuer's, for this server, and in force. Pure: asks nobody.
//!
//! Only keys of the issuer's key set count: what a token says of its own key (`jwk`, `jku`, `x5u`, `x5c`) is not read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};
use sid_types::Timestamp;

use super::jwks::SigningKey;

/// Longer texts are no tokens.
const LONGEST: usize = 16 * 1024;

/// What a token says. Until it is verified, nothing of it is true.
#[derive(Debug)]
pub(super) struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key: Option<String>,
    claims: Map<String, Value>,
}

/// What a token must be.
#[derive(Debug, Clone)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a [String],
    pub(super) algorithms: &'a [Algorithm],
    pub(super) leeway_s: u64,
    pub(super) now: Timestamp,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no signed token.
    Malformed,
    /// Its signature is of a kind that is not taken.
    Algorithm,
    /// It is signed with a key that is not in the set.
    UnknownKey,
    /// The signature does not fit.
    Signature,
    /// It is of another issuer.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// It has ended, or does not say when it ends.
    Expired,
    /// It has not begun.
    NotYet,
}

impl Fault {
    /// In words for who sent it.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "the token cannot be read",
            Self::Algorithm => "the token is signed in a way that is not taken here",
            Self::UnknownKey => "the token is signed with a key that its issuer does not publish",
            Self::Signature => "the token's signature does not fit",
            Self::Issuer => "the token's issuer is not known here",
            Self::Audience => "the token is meant for another service: ask for one with this server's audience",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
        }
    }
}

impl<'a> Token<'a> {
    /// Reads a token; believes nothing.
    pub(super) fn read(text: &'a str) -> Result<Self, Fault> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Fault::Malformed);
        };
        if text.len() > LONGEST {
            return Err(Fault::Malformed);
        }
        let part = |text: &str| -> Result<Map<String, Value>, Fault> {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Malformed)?;
            serde_json::from_slice(&bytes).map_err(|_| Fault::Malformed)
        };
        let (header, claims) = (part(header)?, part(claims)?);
        // Extensions that must be understood, and none is.
        if header.contains_key("crit") {
            return Err(Fault::Malformed);
        }
        // `none` is not a name that parses.
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok()).ok_or(Fault::Algorithm)?;
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Fault::Malformed),
        };
        Ok(Self { text, algorithm, key, claims })
    }

    /// Who it says has issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Its claims, if all holds.
    pub(super) fn verify(&self, keys: &[SigningKey], expected: &Expected<'_>) -> Result<Map<String, Value>, Fault> {
        if self.issuer() != Some(expected.issuer) {
            return Err(Fault::Issuer);
        }
        // Before any key is looked at: a public key must never serve as a shared secret.
        if !expected.algorithms.contains(&self.algorithm) {
            return Err(Fault::Algorithm);
        }
        let fits = |key: &&SigningKey| key.algorithms.contains(&self.algorithm) && (self.key.is_none() || key.id == self.key);
        let mut fitting = keys.iter().filter(fits);
        let key = match (fitting.next(), fitting.next()) {
            (Some(key), None) => key,
            // Several, and the token does not say which.
            _ => return Err(Fault::UnknownKey),
        };
        let mut validation = Validation::new(self.algorithm);
        validation.set_issuer(&[expected.issuer]);
        validation.set_audience(expected.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By the server's own clock, below.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let claims = match jsonwebtoken::decode::<Map<String, Value>>(self.text, &key.key, &validation) {
            Ok(data) => data.claims,
            Err(error) => {
                use jsonwebtoken::errors::ErrorKind as E;
                return Err(match error.kind() {
                    E::InvalidAudience => Fault::Audience,
                    E::InvalidIssuer => Fault::Issuer,
                    E::MissingRequiredClaim(claim) if claim == "aud" => Fault::Audience,
                    E::MissingRequiredClaim(claim) if claim == "exp" => Fault::Expired,
                    E::InvalidAlgorithm => Fault::Algorithm,
                    E::InvalidSignature => Fault::Signature,
                    _ => Fault::Malformed,
                });
            }
        };
        let seconds = |claim: &str| claims.get(claim).map(|v| v.as_f64().ok_or(Fault::Malformed)).transpose();
        let (now, leeway) = (expected.now.as_second() as f64, expected.leeway_s as f64);
        if seconds("exp")?.is_none_or(|exp| now >= exp + leeway) {
            return Err(Fault::Expired);
        }
        if seconds("nbf")?.is_some_and(|nbf| nbf > now + leeway) {
            return Err(Fault::NotYet);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
