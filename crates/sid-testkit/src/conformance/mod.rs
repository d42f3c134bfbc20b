//! The contract of `sid-store` as checks that every backend runs.
//!
//! A check is a plain async function over a [`World`]: a fresh store with two tenants in it.
//! [`store_conformance!`](crate::store_conformance) expands the whole list into one `#[test]` each, so a check that is added here reaches every backend the day it lands.
//!
//! Checks look at what the contract promises and at nothing else: not at scores (only at who is found, and in which channel), not at
//! the text of errors (only at their kind), not at the machine's clock (the store is given a [`ManualClock`]).

pub mod approvals;
pub mod archival;
pub mod audit;
pub mod blocks;
pub mod deliveries;
pub mod diary;
pub mod directory;
pub mod documents;
pub mod durable;
pub mod duties;
pub mod egos;
pub mod erase;
pub mod events;
pub mod generations;
pub mod idempotency;
pub mod images;
pub mod isolation;
pub mod item_lists;
pub mod item_rights;
pub mod items;
pub mod journal;
pub mod leases;
mod list;
pub mod maintenance;
pub mod perpetual;
pub mod recall;
pub mod runs;
pub mod search;
pub mod steps;
pub mod tasks;
pub mod timers;
pub mod toolsets;
pub mod usage;
pub mod vectors;
pub mod visibility;
pub mod walk;
pub mod webhooks;
mod world;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use sid_store::Store;
use sid_types::ManualClock;

pub use world::{Tenancy, World};

/// Opens the same data again after the store was closed; what it is given is the only handle that is left.
pub type Reopen = Box<dyn Fn(Arc<dyn Store>) -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>;

/// A fresh, empty store for one check.
pub struct Fixture {
    /// The store; it tells the time by the clock that its opener was given.
    pub store: Arc<dyn Store>,
    /// Ends the store as a crash would, or politely, and opens its data again. Needed when the store's capability says `durable`.
    pub reopen: Option<Reopen>,
    /// Kept until the check is over: a temporary folder, a container.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// A store that needs nothing else.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, reopen: None, guard: None }
    }

    /// Says how the store's data is opened again.
    #[must_use]
    pub fn reopened_by<F>(mut self, reopen: impl Fn(Arc<dyn Store>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        self.reopen = Some(Box::new(move |old| Box::pin(reopen(old))));
        self
    }

    /// Keeps something alive until the check is over.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

/// A check under its name, for suites that pick: `(subject, name, check)`.
pub type NamedCheck = (&'static str, &'static str, fn(World) -> Pin<Box<dyn Future<Output = ()>>>);

/// Runs one check on a fresh store. Called by the macro.
///
/// # Panics
/// When the check fails.
pub fn run<F, C>(open: impl FnOnce(Arc<ManualClock>) -> F, check: impl FnOnce(World) -> C)
where
    F: Future<Output = Fixture>,
    C: Future<Output = ()>,
{
    // Two threads, so that stores with tasks of their own meet the checks that do many things at once.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let clock = Arc::new(ManualClock::new("2026-03-02T09:00:00Z".parse().expect("a timestamp")));
        let world = World::build(open(Arc::clone(&clock)).await, clock).await;
        check(world).await;
    });
}

/// The check of this name. The macro names checks in place of calling them: so they are compiled here, once, and not again into the tests of
/// each store.
///
/// # Panics
/// When there is none.
#[doc(hidden)]
#[must_use]
pub fn named(subject: &str, name: &str) -> fn(World) -> Pin<Box<dyn Future<Output = ()>>> {
    let found = checks().into_iter().find(|(s, n, _)| (*s, *n) == (subject, name));
    found.unwrap_or_else(|| panic!("there is no check {subject}::{name}")).2
}

/// Every check by name, as the macro sees them.
#[must_use]
pub fn checks() -> Vec<NamedCheck> {
    crate::__each_store_check! { __store_check_table! }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// A check that is written and not listed would never run.
    #[test]
    fn every_check_is_listed() {
        let listed: BTreeSet<String> = super::checks().iter().map(|(subject, check, _)| format!("{subject}::{check}")).collect();
        assert_eq!(listed.len(), super::checks().len());
        let mut written = BTreeSet::new();
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance")).expect("a folder") {
            let path = file.expect("a file").path();
            let subject = path.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
            let source = std::fs::read_to_string(&path).expect("a source file");
            let check =
                |line: &str| line.strip_prefix("pub async fn ")?.strip_suffix("(w: World) {").map(|name| format!("{subject}::{name}"));
            written.extend(source.lines().filter_map(check));
        }
        assert_eq!(written, listed);
    }
}
