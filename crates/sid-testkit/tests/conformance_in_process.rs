//! The reference store behind the suite.

use std::sync::Arc;

use sid_store::{InProcess, Store};
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let store = Arc::new(InProcess::new(Arc::clone(&clock) as Arc<dyn sid_types::Clock>));
    // Opened again, it has lost everything: as its capability says.
    Fixture::new(store).reopened_by(move |old| {
        drop(old);
        let fresh: Arc<dyn Store> = Arc::new(InProcess::new(Arc::clone(&clock) as Arc<dyn sid_types::Clock>));
        async { fresh }
    })
}

sid_testkit::store_conformance!(open);
