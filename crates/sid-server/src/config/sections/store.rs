//! Where data and vectors are kept.

use std::path::PathBuf;

use crate::config::setting::{Secret, choice, section};

choice! {
    /// Where data is kept.
    StoreKind: "\"sqlite\", \"postgres\" or \"in-process\"" {
        /// An embedded database in a folder.
        Sqlite = "sqlite",
        /// A Postgres database, shared by any number of servers.
        Postgres = "postgres",
        /// In memory: gone with the process.
        InProcess = "in-process",
    }
}

choice! {
    /// Where the vectors of large memories are searched.
    VectorsKind: "\"memory\", \"pgvector\" or \"qdrant\"" {
        /// In the memory of each server, exactly.
        Memory = "memory",
        /// In the Postgres database itself, by the extension pgvector.
        PgVector = "pgvector",
        /// In a Qdrant cluster.
        Qdrant = "qdrant",
    }
}

section! {
    /// The store.
    Store {
        /// Which store.
        kind: StoreKind = StoreKind::Sqlite;
        /// The data folder of the embedded store; it is made when it is not there.
        path: PathBuf = PathBuf::from("sid-data");
        /// For `postgres`: the database as servers use it, `postgres://user:password@host:5432/database`. The user is a member of the role `sid_app` and nothing more.
        url: Secret = Secret::default();
        /// For `sid-server migrate`: the same database as its owner, on a direct connection (no pooler). Servers never use it.
        admin_url: Secret = Secret::default();
        /// For `postgres`: most connections of this process.
        connections: u32 = 16;
        /// For `postgres`: how long a call waits for a free connection before it is answered 503, in milliseconds.
        acquire_ms: u64 = 2_000;
        /// For `postgres`: how long one statement may take, in milliseconds. Erasing and loading large partitions have ten times as long.
        statement_ms: u64 = 5_000;
        /// For `postgres`: whether statements stay prepared on their connections. `false` behind a PgBouncer older than 1.21 in transaction mode.
        prepared_statements: bool = true;
        /// A file beside the store in which each erasure is written down before it begins, by ids alone: at the start, what it names is erased again, so that an older copy does not bring it back. Not set: `erasures.ndjson` in the data folder of an embedded store; for `postgres` none. Keep it when you restore.
        erasures: Option<PathBuf> = None;
        /// Days that the events of a run stay after its end; streams cannot be replayed any more then. Runs, steps and messages are never dropped. The in-process store always keeps 7.
        keep_events_days: u32 = 7;
        /// Days that entries of the audit log stay.
        keep_audit_days: u32 = 400;
        /// For `postgres`: memory that the search index of this process may take, in bytes. Partitions used least lately go first.
        index_bytes: usize = 128 << 20;
    }
}

section! {
    /// An index for the vectors of large memories, beside a Postgres store. Small ones are compared exactly, in the server's memory.
    Vectors {
        /// Which index. All servers of a database are given the same one.
        kind: VectorsKind = VectorsKind::Memory;
        /// For `qdrant`: the cluster's gRPC address, such as `http://host:6334`.
        url: Option<String> = None;
        /// For `qdrant`: the cluster's key, if it wants one.
        api_key: Secret = Secret::default();
        /// For `qdrant`: what the names of collections begin with; one for each database that shares the cluster.
        prefix: String = "sid".into();
        /// From how many records on a memory is searched by the index.
        from: usize = 4_096;
        /// For `qdrant`: copies of each shard, in a cluster of several nodes.
        replicas: u32 = 1;
        /// For `qdrant`: how long a write, a count or a page may take, in milliseconds.
        timeout_ms: u64 = 10_000;
        /// For `qdrant`: how long a search may take before it goes on without the index, in milliseconds.
        search_timeout_ms: u64 = 1_000;
    }
}
