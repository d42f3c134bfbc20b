//! Opening a database: a pool of connections, and checks that say what is wrong.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sid_store::{StoreError, VectorIndex};
use sid_types::{Clock, Scope, TenantId, Timestamp};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use crate::ahead::Ahead;
use crate::begin::Begun;
use crate::call::Call;
use crate::config::PgConfig;
use crate::connections::Connections;
use crate::error::{Result, missing, unavailable};
use crate::events::Watchers;
use crate::known::KnownConversations;
use crate::looked::Looked;
use crate::migrate;
use crate::partitions::Partitions;
use crate::queues::Queues;
use crate::recent::RecentMessages;
use crate::schema;
use crate::statistics::Statistics;
use crate::tx::{Opening, Tx};
use crate::vectors::Vectors;
use crate::visibility::{Partition, Viewer};
use crate::writes::Writes;

/// The production store: a Postgres database, shared by any number of processes. Cheap to clone.
#[derive(Clone)]
pub struct PgStore(Arc<Inner>);

struct Inner {
    config: PgConfig,
    /// `None`: the database's clock.
    clock: Option<Arc<dyn Clock>>,
    connections: Arc<Connections>,
    partitions: Partitions,
    vectors: Option<Vectors>,
    watchers: Arc<Watchers>,
    known: KnownConversations,
    looked: Looked,
    queues: Queues,
    recent: RecentMessages,
    ahead: Ahead<Begun>,
    writes: Writes,
    statistics: Statistics,
    /// Tenants that are known to be there; they never go.
    tenants: RwLock<HashSet<TenantId>>,
    /// The tenant that the last claim's look ended at.
    claimed_at: Mutex<Uuid>,
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl PgStore {
    /// Opens a database that [`migrate`](Self::migrate) has prepared. Changes nothing in it. All times are the database's.
    ///
    /// Errors: `Setup` (a wrong URL, no schema of Sid's, an older or a newer schema, a role that row-level security does not bind),
    /// `Unavailable` (no answer).
    pub async fn open(config: PgConfig) -> Result<Self, StoreError> {
        Self::with(config, None).await
    }

    /// [`open`](Self::open) for test suites that own the time: `clock` is told to each transaction and is used in place of the
    /// database's. Two processes with clocks of their own would take each other's leases: never in production.
    pub async fn open_with_test_clock(config: PgConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::with(config, Some(clock)).await
    }

    /// Prepares a database, or brings it to the schema of this version: to be run by its owner, on a direct connection, before the new
    /// servers start. Running it again changes nothing; who was interrupted runs it again. Older servers go on meanwhile: it holds no lock
    /// that they wait for longer than a moment. Answers the schema's version, which is a newer one if a newer program has been here and
    /// has said that this one can live with it.
    ///
    /// Errors: `Setup` (a wrong URL, a newer schema, too few rights), `Unavailable` (also: a transaction of ten minutes was in the way).
    pub async fn migrate(admin_url: &str) -> Result<u32, StoreError> {
        migrate::migrate(options(admin_url)?, schema::STEPS).await
    }

    /// [`migrate`](Self::migrate) to a schema with these steps after this version's: how tests bring in one that no release has yet.
    ///
    /// Errors: as `migrate`.
    #[cfg(feature = "next-schema")]
    pub async fn migrate_with(admin_url: &str, next: &[crate::Step]) -> Result<u32, StoreError> {
        migrate::migrate(options(admin_url)?, &[schema::STEPS, next].concat()).await
    }

    /// [`migrate`](Self::migrate) to an older version: for tests of what comes after it.
    ///
    /// Errors: as `migrate`.
    ///
    /// # Panics
    /// When the version is newer than this program's.
    #[cfg(feature = "next-schema")]
    pub async fn migrate_to(admin_url: &str, version: u32) -> Result<u32, StoreError> {
        migrate::migrate(options(admin_url)?, &schema::STEPS[..version as usize]).await
    }

    /// Lets the user of `server_url` work as a server: makes it a member of `sid_app`. To be run by the owner, after
    /// [`migrate`](Self::migrate); again changes nothing.
    ///
    /// Errors: `Setup` (a wrong URL, no such user, too few rights), `Unavailable`.
    pub async fn admit(admin_url: &str, server_url: &str) -> Result<(), StoreError> {
        migrate::admit(options(admin_url)?, options(server_url)?.get_username()).await
    }

    async fn with(config: PgConfig, clock: Option<Arc<dyn Clock>>) -> Result<Self, StoreError> {
        let options = options(&config.url)?;
        schema::check(options.clone(), config.acquire_timeout).await?;
        let pool = PgPoolOptions::new()
            .max_connections(config.connections.max(1))
            .min_connections(0)
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let partitions = Partitions::new(config.index_bytes, config.index_capacity);
        let inner = Inner {
            config,
            clock,
            connections: Arc::new(Connections::new(pool)),
            partitions,
            vectors: None,
            watchers: Arc::default(),
            known: KnownConversations::default(),
            looked: Looked::default(),
            queues: Queues::default(),
            recent: RecentMessages::default(),
            ahead: Ahead::default(),
            writes: Writes::default(),
            statistics: Statistics::default(),
            tenants: RwLock::default(),
            claimed_at: Mutex::new(Uuid::nil()),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Gives the store an index for the vectors of large partitions ([`PgConfig::vector_index_from`]). It is fed by [`Indexer`](crate::Indexer),
    /// which at least one process runs. Every process of a database is given the same index, or none.
    ///
    /// # Panics
    /// When the store was cloned already: it is one and the same for all its handles.
    #[must_use]
    pub fn with_vector_index(mut self, index: Arc<dyn VectorIndex>) -> Self {
        Arc::get_mut(&mut self.0).expect("a store gets its vector index before it is shared").vectors = Some(Vectors::new(index));
        self
    }

    /// Closes all connections, waiting for calls that are under way.
    pub async fn close(&self) {
        self.0.connections.close().await;
    }

    pub(crate) fn config(&self) -> &PgConfig {
        &self.0.config
    }

    pub(crate) fn partitions(&self) -> &Partitions {
        &self.0.partitions
    }

    pub(crate) fn vectors(&self) -> Option<&Vectors> {
        self.0.vectors.as_ref()
    }

    /// Whether this partition's vectors are those of the vector index, not those in memory.
    pub(crate) fn takes_from_index(&self, partition: &Partition) -> bool {
        self.0.vectors.is_some() && partition.records >= self.0.config.vector_index_from as u64
    }

    pub(crate) fn watchers(&self) -> &Arc<Watchers> {
        &self.0.watchers
    }

    pub(crate) fn known(&self) -> &KnownConversations {
        &self.0.known
    }

    pub(crate) fn looked(&self) -> &Looked {
        &self.0.looked
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.0.queues
    }

    pub(crate) fn recent(&self) -> &RecentMessages {
        &self.0.recent
    }

    pub(crate) fn ahead(&self) -> &Ahead<Begun> {
        &self.0.ahead
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.0.writes
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        &self.0.statistics
    }

    pub(crate) fn claimed_at(&self) -> &Mutex<Uuid> {
        &self.0.claimed_at
    }

    /// The test suite's time, if it owns it.
    pub(crate) fn test_time(&self) -> Option<Timestamp> {
        self.0.clock.as_ref().map(|clock| clock.now())
    }

    /// The test suite's time, as statements are told it; null = the database's own.
    pub(crate) fn clock(&self) -> Option<String> {
        self.test_time().map(|now| now.to_string())
    }

    fn opening(&self, is_reading: bool, patience: u32) -> Opening {
        let config = &self.0.config;
        Opening {
            clock: self.test_time(),
            statement_ms: (config.statement_timeout * patience).as_millis(),
            lock_ms: config.lock_timeout.as_millis(),
            is_reading,
            is_persistent: config.prepared_statements,
        }
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self, tenant: TenantId) -> Result<Tx> {
        self.note_write();
        Tx::begin(&self.0.connections, tenant.uuid(), &self.opening(false, 1)).await
    }

    /// A transaction that writes much.
    pub(crate) async fn begin_long(&self, tenant: TenantId) -> Result<Tx> {
        self.note_write();
        Tx::begin(&self.0.connections, tenant.uuid(), &self.opening(false, 10)).await
    }

    /// A transaction that reads, all in one snapshot.
    pub(crate) async fn read(&self, tenant: TenantId) -> Result<Tx> {
        Tx::begin(&self.0.connections, tenant.uuid(), &self.opening(true, 1)).await
    }

    /// A transaction that reads much, all in one snapshot.
    pub(crate) async fn read_long(&self, tenant: TenantId) -> Result<Tx> {
        Tx::begin(&self.0.connections, tenant.uuid(), &self.opening(true, 10)).await
    }

    /// A call of one of the database's functions that is its own transaction.
    pub(crate) fn call(&self, sql: &'static str) -> Call {
        Call::new(sql, &self.0.connections, self.0.config.prepared_statements)
    }

    /// Runs a call that is its own transaction, and gives it up when no answer comes: the server may be gone without a word.
    pub(crate) async fn timely<T>(&self, call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
        let config = &self.0.config;
        let patience = config.acquire_timeout + config.statement_timeout * 2;
        sid_store::crash_point!("pg.call.before");
        let answer = tokio::time::timeout(patience, call).await;
        sid_store::crash_point!("pg.call.after");
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(unavailable(format!("no answer in {patience:?}")).into()),
        }
    }

    pub(crate) const fn viewer(&self, scope: &Scope) -> Viewer {
        Viewer { scope: *scope }
    }

    /// Fails with `NotFound` (`what`) if the tenant is not there.
    pub(crate) async fn check_tenant(&self, tx: &mut Tx, tenant: TenantId, what: &'static str) -> Result<()> {
        if self.0.tenants.read().contains(&tenant) {
            return Ok(());
        }
        let found = tx.query("SELECT 1 FROM sid.tenants WHERE id = $1").bind(tenant.uuid()).fetch_optional(tx.conn()).await?;
        if found.is_none() {
            return Err(missing(what).into());
        }
        self.0.tenants.write().insert(tenant);
        Ok(())
    }

    /// A writing transaction for those who manage the tenant.
    pub(crate) async fn administrate(&self, scope: &Scope, what: &'static str) -> Result<(Tx, Viewer)> {
        if !scope.is_tenant_wide() {
            return Err(missing(what).into());
        }
        let mut tx = self.begin(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), what).await?;
        Ok((tx, self.viewer(scope)))
    }

    /// The store's clock: one round trip, unless a test suite owns the time.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        if let Some(clock) = &self.0.clock {
            return Ok(clock.now());
        }
        let row = self.call("SELECT clock_timestamp()").fetch_one().await?;
        crate::codec::Columns::time(&row, 0)
    }
}

/// Connections carry no settings of their own: poolers know how to keep those that every driver sends.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let parsed: Result<PgConnectOptions, sqlx::Error> =
        if is_postgres { url.parse() } else { Err(sqlx::Error::Configuration("another scheme".into())) };
    let options = parsed.map_err(|error| {
        // The URL itself is not told: it carries a password.
        StoreError::Setup(format!(
            "this is not the URL of a Postgres database ({error}): write postgres://user:password@host:5432/database"
        ))
    })?;
    Ok(options.extra_float_digits(None).application_name("sid").disable_statement_logging())
}
