//! A rig for whole servers: real processes over a real store, with a faulty network between them, load that keeps a ledger of what was
//! acknowledged, and a check of what the servers say afterwards.
//!
//! [`Fleet`] starts a model, a store and some servers; [`Load`] talks to them and keeps its [`Ledger`]; [`Proxy`] and the servers' own
//! signals ([`Server::kill`], [`Server::freeze`]) make the trouble; [`check::examine`] reads everything back over the public API and compares
//! it with the ledger. Every random choice comes from one printed seed.
//!
//! The tortures of `cargo xtask torture` are built of these (`examples/torture`).

pub mod api;
pub mod check;
mod fleet;
mod ledger;
mod load;
mod proxy;
mod supervisor;

pub use api::{Api, Failure};
pub use fleet::{DATABASE, Fleet, FleetPlan, ROLE, StoreKind};
pub use ledger::Ledger;
pub use load::{Load, LoadPlan, Tally, answer_to, fact_of};
pub use proxy::{Faults, Proxy};
pub use supervisor::{Server, ServerPlan};

/// The middle one, and so on: sorts `values`; 0 when there are none.
#[must_use]
pub fn percentile(values: &mut [f64], p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * p).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(at).copied().unwrap_or(0.0)
}
