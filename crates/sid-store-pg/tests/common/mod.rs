//! A database with Sid's schema for each test.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::{Cluster, Database};
use sid_types::ManualClock;

/// What servers connect as: a member of `sid_app` and nothing more.
pub(crate) const SERVER: &str = "sid_test_server";

/// A fresh database, migrated.
pub(crate) async fn database() -> Database {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    cluster
        .database("migrated", async |admin| {
            PgStore::migrate(&admin).await.expect("the schema is made");
            // Roles belong to the cluster: the second template finds them there.
            let _ = cluster.sql(
                "postgres",
                &format!(
                    "DO $$ BEGIN CREATE ROLE {SERVER} LOGIN IN ROLE sid_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                ),
            );
        })
        .await
}

pub(crate) fn config(database: &Database) -> PgConfig {
    PgConfig { connections: 4, ..PgConfig::new(database.url(SERVER)) }
}

pub(crate) async fn open(database: &Database, clock: &Arc<ManualClock>) -> PgStore {
    PgStore::open_with_test_clock(config(database), Arc::clone(clock) as _).await.expect("the store opens")
}
