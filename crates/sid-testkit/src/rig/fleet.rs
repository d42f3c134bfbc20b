//! A model, a store and some servers over it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::api::Api;
use super::ledger::Ledger;
use super::supervisor::{Server, ServerPlan};
use crate::model_server::{ModelServer, ServerOptions};
use crate::postgres::OwnCluster;

/// What servers keep their data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// The embedded one: one server.
    Sqlite,
    /// A Postgres of the test's own, syncing to disk: any number of servers.
    Postgres,
}

impl StoreKind {
    /// Its name in options and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// The program `sid-server`.
    pub program: PathBuf,
    /// What data is kept in.
    pub store: StoreKind,
    /// How many servers.
    pub replicas: usize,
    /// The scripted model.
    pub model: ServerOptions,
    /// Options of every server beside the usual ones.
    pub settings: Vec<(String, String)>,
    /// Options of the Postgres server, such as `-c max_connections=30`.
    pub postgres: String,
    /// Whether its folder, with the servers' logs, is left behind.
    pub keep: bool,
}

/// A running fleet; ends with everything that belongs to it.
#[derive(Debug)]
pub struct Fleet {
    /// The servers. First: they end before what they use.
    pub servers: Vec<Server>,
    /// The store's server, if it has one.
    pub postgres: Option<OwnCluster>,
    /// The scripted model.
    pub model: ModelServer,
    /// The operator's key.
    pub key: String,
    /// Stores' servers that are out of service, and whose folder is still needed.
    pub retired: Vec<OwnCluster>,
    folder: TempDir,
}

/// The database of a fleet on Postgres, and whom its servers connect as.
pub const DATABASE: &str = "sid";
/// A login; the migration makes it a member of `sid_app`.
pub const ROLE: &str = "sid_server";

impl FleetPlan {
    /// One server with a model that answers after 20 ms, and short leases.
    #[must_use]
    pub fn new(program: &Path, store: StoreKind) -> Self {
        let model = ServerOptions { record: false, delay: Duration::from_millis(20), ..ServerOptions::default() };
        Self { program: program.to_owned(), store, replicas: 1, model, settings: Vec::new(), postgres: String::new(), keep: false }
    }

    /// So many servers.
    #[must_use]
    pub const fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// With this option, in place of what it was.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts it all; every server is ready.
    ///
    /// Errors: something does not start.
    pub async fn start(&self) -> Result<Fleet> {
        let mut fleet = self.prepare().await?;
        fleet.open().await?;
        Ok(fleet)
    }

    /// Sets everything up but starts no server: its database is there and migrated.
    ///
    /// Errors: something does not start.
    pub async fn prepare(&self) -> Result<Fleet> {
        let folder = tempfile::Builder::new().prefix("sid-torture-").disable_cleanup(self.keep).tempdir()?;
        let model = ModelServer::start_with(self.model.clone()).await?;
        let postgres = match self.store {
            StoreKind::Sqlite => None,
            StoreKind::Postgres => Some(OwnCluster::start(&self.postgres)?),
        };
        let store: Vec<(&str, String)> = match &postgres {
            None => vec![("store.kind", "sqlite".into()), ("store.path", folder.path().join("data").display().to_string())],
            Some(cluster) => vec![("store.kind", "postgres".into()), ("store.url", cluster.url(ROLE, DATABASE))],
        };
        let usual: Vec<(&str, String)> = vec![
            ("models.default.base_url", format!("{}/v1", model.base_url())),
            ("models.default.model", "scripted".into()),
            ("models.default.base_delay_ms", "50".into()),
            ("models.default.max_concurrency", "0".into()),
            ("embedder.kind", "lexical".into()),
            ("server.log_requests", "false".into()),
            ("log.filter", "warn".into()),
        ];
        let settings: Vec<(String, String)> =
            usual.into_iter().chain(store).map(|(k, v)| (k.to_owned(), v)).chain(self.settings.iter().cloned()).collect();
        let mut servers = Vec::new();
        for at in 0..self.replicas {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            servers.push(Server::new(ServerPlan {
                program: self.program.clone(),
                folder: folder.path().to_owned(),
                name: format!("server{at}"),
                port,
                settings: settings.clone(),
                environment: Vec::new(),
            }));
        }
        let fleet = Fleet { servers, postgres, model, key: String::new(), retired: Vec::new(), folder };
        if let Some(cluster) = &fleet.postgres {
            let _ = cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
            let _ = cluster.sql(DATABASE, &format!("CREATE ROLE {ROLE} LOGIN"))?;
            let mut migrating = Server::new(fleet.servers[0].plan.clone());
            migrating.plan.settings.push(("store.admin_url".into(), cluster.url(crate::postgres::ADMIN, DATABASE)));
            migrating.run("migrate")?;
        }
        Ok(fleet)
    }
}

impl Fleet {
    /// Starts the servers of a fleet that was prepared.
    ///
    /// Errors: one does not start.
    pub async fn open(&mut self) -> Result<()> {
        for at in 0..self.servers.len() {
            self.servers[at].start().await?;
            if at == 0 {
                self.key = first_key(&self.servers[0].log()).context("the first server prints the first key")?;
            }
        }
        Ok(())
    }

    /// The operator at all servers.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.servers.iter().map(Server::url).collect(), &self.key)
    }

    /// Where everything is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new ledger.
    ///
    /// Errors: its file cannot be made.
    pub fn ledger(&self) -> Result<std::sync::Arc<Ledger>> {
        let path = self.folder().join(format!("ledger-{}.jsonl", uuid::Uuid::now_v7().simple()));
        Ledger::create(&path).map(std::sync::Arc::new)
    }

    /// Runs SQL in the fleet's database as its superuser.
    ///
    /// Errors: the statement fails, or the store is no Postgres.
    pub fn sql(&self, sql: &str) -> Result<String> {
        Ok(self.postgres.as_ref().context("the store is a Postgres")?.sql(DATABASE, sql)?)
    }

    /// Servers that have ended without being asked to.
    pub fn fallen(&mut self) -> usize {
        self.servers.iter_mut().filter_map(Server::exited).count()
    }
}

/// The key that a server prints at its first start.
fn first_key(log: &str) -> Option<String> {
    let at = log.find("shown once): sid_")? + "shown once): ".len();
    Some(log[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect())
}
