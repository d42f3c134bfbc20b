//! Signing and verifying.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// Name of the header with the delivery's id.
pub const ID: &str = "webhook-id";
/// Name of the header with the attempt's Unix time in seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Name of the header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// How far the sender's clock and the receiver's may be apart; what is older may be sent by somebody who has overheard it.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The three headers of a delivery, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'h> {
    /// Of [`ID`]: who has seen it has had this delivery.
    pub id: &'h str,
    /// Of [`TIMESTAMP`].
    pub timestamp: &'h str,
    /// Of [`SIGNATURE`].
    pub signature: &'h str,
}

/// Why a delivery is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The timestamp is no number.
    #[error("`webhook-timestamp` is not a Unix time in seconds")]
    BadTimestamp,
    /// The timestamp is too far from now.
    #[error("`webhook-timestamp` is more than five minutes away: the clocks differ, or it was sent before")]
    Stale,
    /// No signature is of one of the secrets.
    #[error("no signature fits: the secret is another one, or the body was changed")]
    Signature,
}

fn mac(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac
}

/// The value of [`SIGNATURE`]: one signature for each secret, in their order.
#[must_use]
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let one = |secret| format!("v1,{}", STANDARD.encode(mac(secret, id, timestamp, body).finalize().into_bytes()));
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Whether a delivery was signed with one of the secrets, no more than [`TOLERANCE`] from `now`. In constant time for each signature.
///
/// Errors: [`VerifyError`]; then answer 400 and do nothing.
pub fn verify(secrets: &[Secret], received: &Received<'_>, body: &[u8], now: SystemTime) -> Result<(), VerifyError> {
    let timestamp: i64 = received.timestamp.parse().map_err(|_| VerifyError::BadTimestamp)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if timestamp.abs_diff(now) > TOLERANCE.as_secs() {
        return Err(VerifyError::Stale);
    }
    // Signatures of other versions are for other receivers.
    let signatures = received.signature.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    for signature in signatures {
        if secrets.iter().any(|secret| mac(secret, received.id, timestamp, body).verify_slice(&signature).is_ok()) {
            return Ok(());
        }
    }
    Err(VerifyError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_614_265_330;

    fn secret() -> Secret {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret")
    }

    fn check(secrets: &[Secret], received: &Received<'_>, body: &[u8], seconds: i64) -> Result<(), VerifyError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(AT + seconds).expect("after 1970"));
        verify(secrets, received, body, now)
    }

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        let signature = sign(&[secret()], "msg_p5jXN8AQM9LWM0D4loKWxJek", AT, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_was_changed_or_is_old_is_refused() {
        let (id, body) = ("dlv_1", b"{}");
        let signature = sign(&[secret()], id, AT, body);
        let good = Received { id, timestamp: "1614265330", signature: &signature };
        assert_eq!(check(&[secret()], &good, body, 0), Ok(()));
        assert_eq!(check(&[secret()], &good, body, 300), Ok(()));
        for (received, body, seconds, error) in [
            (good, &b"{}"[..], 301, VerifyError::Stale),
            (good, b"{}", -301, VerifyError::Stale),
            (good, b"{ }", 0, VerifyError::Signature),
            (Received { id: "dlv_2", ..good }, b"{}", 0, VerifyError::Signature),
            (Received { timestamp: "1614265331", ..good }, b"{}", 0, VerifyError::Signature),
            (Received { timestamp: "now", ..good }, b"{}", 0, VerifyError::BadTimestamp),
            (Received { signature: "", ..good }, b"{}", 0, VerifyError::Signature),
            (Received { signature: &signature[..20], ..good }, b"{}", 0, VerifyError::Signature),
            (Received { signature: &signature.replace("v1,", "v2,"), ..good }, b"{}", 0, VerifyError::Signature),
        ] {
            assert_eq!(check(&[secret()], &received, body, seconds), Err(error), "{received:?}");
        }
        assert_eq!(check(&[Secret::random()], &good, body, 0), Err(VerifyError::Signature));
    }

    #[test]
    fn while_secrets_are_changed_both_fit() {
        let (old, new, id) = (secret(), Secret::random(), "dlv_1");
        let signature = format!("v9,? {}", sign(&[new.clone(), old.clone()], id, AT, b"x"));
        let received = Received { id, timestamp: "1614265330", signature: &signature };
        assert_eq!(check(std::slice::from_ref(&old), &received, b"x", 0), Ok(()));
        assert_eq!(check(&[new], &received, b"x", 0), Ok(()));
        let later = sign(&[old], id, AT, b"x");
        assert_eq!(check(&[secret()], &Received { signature: &later, ..received }, b"x", 0), Ok(()));
    }
}
