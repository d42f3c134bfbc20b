//! What tests of Sid, and of what is built on it, stand on: the conformance suite of the store contracts, wrappers for stores, the
//! scripted model and the fault-injecting model server.
//!
//! **A store of your own.** Implement the contracts of `sid-store` and put the suite behind it: one `#[test]` per check, and each check
//! that is added later reaches your store the day you update.
//!
//! ```no_run
//! use std::sync::Arc;
//! use sid_store::InProcess;
//! use sid_testkit::conformance::Fixture;
//! use sid_types::ManualClock;
//!
//! /// A fresh, empty store that tells the time by `clock`.
//! async fn open(clock: Arc<ManualClock>) -> Fixture {
//!     Fixture::new(Arc::new(InProcess::new(clock)))
//! }
//!
//! sid_testkit::store_conformance!(open);
//! # fn main() {}
//! ```
//!
//! A durable store also says how its data is opened again ([`Fixture::reopened_by`](conformance::Fixture::reopened_by)), and may hand
//! over a temporary folder ([`keeping`](conformance::Fixture::keeping)).
//!
//! **One check by hand.** Checks are plain functions, to be run alone or picked by name:
//!
//! ```
//! use std::sync::Arc;
//! use sid_store::InProcess;
//! use sid_testkit::conformance::{self, Fixture};
//!
//! conformance::run(
//!     async |clock| Fixture::new(Arc::new(InProcess::new(clock))),
//!     conformance::leases::a_replaced_worker_is_fenced_off,
//! );
//! assert!(conformance::checks().iter().any(|(subject, ..)| *subject == "leases"));
//! ```
//!
//! **A wrapper.** [`delegate_store!`] hands whole contract traits on to an inner store, so that a wrapper writes only the one it
//! changes. `examples/own_store.rs` counts commits with one, behind the suite.
//!
//! **After a storm.** [`checker`] compares what clients were told with what a store holds now: pure functions over plain records, which
//! read as the API's JSON.
//!
//! What this crate is *not*: a part of any running server. It may panic, and does so when a check fails.
#![warn(missing_docs)]

pub mod checker;
pub mod conformance;
mod delegate;
pub mod model_server;
#[cfg(all(feature = "postgres", unix))]
pub mod postgres;
#[cfg(all(feature = "qdrant", unix))]
pub mod qdrant;
#[cfg(all(feature = "rig", unix))]
pub mod rig;
#[cfg(all(feature = "postgres", unix))]
mod signal;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(all(any(feature = "postgres", feature = "qdrant"), unix))]
mod throwaway;
pub mod vector_index;

/// What the macros need at the place where they are used.
#[doc(hidden)]
pub mod reexport {
    pub use std::time::Duration;

    pub use async_trait::async_trait;
    pub use jiff::civil::Date;
    pub use sid_store::*;
    pub use sid_types::*;
}
