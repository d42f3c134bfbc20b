//! Standard Webhooks (standardwebhooks.com), symmetric: what Sid signs its webhooks with, and what a receiver verifies them with.
//!
//! A delivery has three headers: `webhook-id`, the same in every attempt; `webhook-timestamp`, the attempt's Unix time in seconds;
//! `webhook-signature`, one `v1,` and HMAC-SHA256 in base64 for each secret that is in force, with a space between.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use sid_webhooks::{Received, Secret, VerifyError, sign, verify};
//!
//! let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
//! let (id, now, body) = ("dlv_1", SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_265_330), br#"{"type":"run.completed"}"#);
//! let signature = sign(std::slice::from_ref(&secret), id, 1_614_265_330, body);
//!
//! let headers = Received { id, timestamp: "1614265330", signature: &signature };
//! verify(std::slice::from_ref(&secret), &headers, body, now)?;
//! assert_eq!(verify(std::slice::from_ref(&secret), &headers, b"{}", now), Err(VerifyError::Signature));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate is *not*: a client or a server. It sees headers and bytes; the body must be verified as it came, before it is parsed.
#![warn(missing_docs)]

mod secret;
mod signature;

pub use secret::{BadSecret, Secret};
pub use signature::{ID, Received, SIGNATURE, TIMESTAMP, TOLERANCE, VerifyError, sign, verify};
