//! The n-th call of a whole scenario's store fails: n = 1, 2, 3, … until the scenario has no n-th call any more.
//!
//! Each call fails in four ways: with an error before its effect, with an error after it (nobody knows), by never arriving, and by
//! never being answered. After an error the same engine finishes the scenario; where a call hangs for ever, its engine is given up and
//! another one takes over from the store. Afterwards every invariant holds.

mod nth;
mod scene;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nth::Way;
use scene::{Scene, Tempo};
use sid_store::{InProcess, Store};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::SystemClock;

/// Simulated time: as slow as a real house, in no time.
const PAUSED: Tempo = Tempo { lease: Duration::from_secs(3), poll: Duration::from_millis(700), model: Duration::from_millis(150) };
/// Real time, for stores with threads of their own.
const REAL: Tempo = Tempo { lease: Duration::from_millis(600), poll: Duration::from_millis(60), model: Duration::from_millis(5) };

/// One run of the scenario over the reference store, in simulated time. Answers which call failed; `None` = there was no n-th one.
fn in_process(n: u64, way: Way) -> Option<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let began = tokio::time::Instant::now();
        let store = Arc::new(InProcess::new(Arc::new(scene::Since(began))));
        Scene::open(store, PAUSED, n, way).await.play().await
    })
}

#[test]
fn over_the_reference_store() {
    for way in Way::ALL {
        let mut failed: BTreeSet<&str> = BTreeSet::new();
        let mut n = 1;
        while let Some(call) = in_process(n, way) {
            failed.insert(call);
            n += 1;
        }
        // The scenario is worth its name: these calls were made, and each failed once at least.
        for call in [
            "accept",
            "claim",
            "renew",
            "load",
            "commit",
            "append_events",
            "is_cancel_requested",
            "cancel",
            "search",
            "put_vectors",
            "decide",
        ] {
            assert!(failed.contains(call), "{way:?}: of {n} calls none is `{call}`: {failed:?}");
        }
        assert!(n > 60, "{way:?}: {n} calls");
    }
}

/// Real files, real time: every seventh call, each way, many at once.
#[test]
fn over_sqlite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut went = tokio::task::JoinSet::new();
        let room = Arc::new(tokio::sync::Semaphore::new(12));
        for (n, way) in (1..90).step_by(7).flat_map(|n| Way::ALL.map(|way| (n, way))) {
            let room = room.clone();
            went.spawn(async move {
                let _place = room.acquire_owned().await.expect("it is never closed");
                let folder = tempfile::tempdir().expect("a folder");
                let config = SqliteConfig { synchronous_full: false, ..SqliteConfig::new(folder.path()) };
                let store: Arc<dyn Store> = Arc::new(SqliteStore::open(config, Arc::new(SystemClock)).await.expect("it opens"));
                Scene::open(store, REAL, n, way).await.play().await.is_some()
            });
        }
        let met = went.join_all().await.into_iter().filter(|is_met| *is_met).count();
        assert!(met > 30, "only {met} of the calls were made");
    });
}
