//! The reference store behind the suite.

use std::sync::Arc;

use sid_store::InProcess;
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    Fixture::new(Arc::new(InProcess::new(clock)))
}

sid_testkit::store_conformance!(open);
