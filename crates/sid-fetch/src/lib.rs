#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod address;
mod body;
mod error;
mod fetcher;
mod hosts;
mod message;
#[cfg(feature = "oauth")]
pub mod oauth;
mod opened;
mod policy;
mod redirect;
mod resolve;

pub use address::{Reach, reach};
pub use error::{FetchError, Refusal};
pub use fetcher::Fetcher;
pub use hosts::{BadPattern, HostPattern, Opening};
pub use message::{Request, Response};
pub use opened::Opened;
pub use policy::{Policy, Target};
pub use reqwest::{Method, StatusCode, Url, header};
pub use resolve::{Resolve, SystemResolver};
