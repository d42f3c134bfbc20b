//! A Postgres store with its vectors in a Qdrant.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use sid_store::VectorIndex;
use sid_store_pg::{PgConfig, PgStore};
use sid_store_qdrant::{QdrantConfig, QdrantIndex};
use sid_testkit::postgres::Database;
use sid_testkit::qdrant;
use sid_types::ManualClock;

#[path = "../../../sid-store-pg/tests/common/mod.rs"]
pub(crate) mod postgres;

/// Collections of one test in the Qdrant that tests share; dropped with it.
pub(crate) struct Collections(pub(crate) QdrantConfig);

impl Collections {
    pub(crate) fn new() -> Self {
        let url = qdrant::shared().unwrap_or_else(|why| panic!("{why}"));
        let api_key = std::env::var("SID_QDRANT_API_KEY").ok();
        Self(QdrantConfig { prefix: qdrant::prefix(), api_key, ..patient(url) })
    }

    pub(crate) fn index(&self) -> QdrantIndex {
        QdrantIndex::new(self.0.clone()).expect("a good configuration")
    }
}

/// The machine that runs the tests may be busy.
pub(crate) fn patient(url: &str) -> QdrantConfig {
    let patience = std::time::Duration::from_secs(60);
    QdrantConfig { timeout: patience, search_timeout: patience, ..QdrantConfig::new(url) }
}

impl Drop for Collections {
    fn drop(&mut self) {
        let QdrantConfig { url, api_key, prefix, .. } = self.0.clone();
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = qdrant_client::Qdrant::from_url(&url).skip_compatibility_check().api_key(api_key).build()?;
                for found in client.list_collections().await?.collections {
                    if found.name.starts_with(&prefix) {
                        client.delete_collection(found.name).await?;
                    }
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        // What is left over goes with the engine.
        let _ = clean.join();
    }
}

/// Opens the database with this index, for partitions of every size.
pub(crate) async fn open(database: &Database, clock: &Arc<ManualClock>, index: Arc<dyn VectorIndex>) -> PgStore {
    open_from(database, clock, index, 0).await
}

pub(crate) async fn open_from(database: &Database, clock: &Arc<ManualClock>, index: Arc<dyn VectorIndex>, from: usize) -> PgStore {
    let config = PgConfig { vector_index_from: from, ..postgres::config(database) };
    let store = PgStore::open_with_test_clock(config, Arc::clone(clock) as _).await.expect("the store opens");
    store.with_vector_index(index)
}
