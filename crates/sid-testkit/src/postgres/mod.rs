//! A throw-away Postgres for tests: one cluster for all tests that run at the same time, one database for each.
//!
//! The binaries are those of the folder `SID_PG_BIN`, else of `cargo xtask setup postgres`; `SID_PG_VERSION` (16 or 18) picks one of the two
//! servers that come with the latter. The cluster lives in a folder of the machine's temporary ones, with its data in memory where there is
//! room, is reached through a Unix socket in it, forgets everything, and ends by itself a few seconds after the last process that used it.
//! It never runs as root: a server that is started by root runs as `nobody`, from a copy that `nobody` may read.
//!
//! ```no_run
//! # async fn example() {
//! use sid_testkit::postgres::Cluster;
//! let cluster = Cluster::shared().expect("a Postgres is there");
//! // Made once, by the first who asks, then copied for everybody.
//! let database = cluster.database("prepared", async |admin_url| println!("fill {admin_url}")).await;
//! println!("connect to {}", database.url("some_role"));
//! # }
//! ```

mod install;
mod own;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use install::Install;
pub use own::{OwnCluster, Stop};

use crate::throwaway::{hash, lock, own_uid};

/// The cluster's own user: a superuser, for migrations and for looking behind the store's back.
pub const ADMIN: &str = "sid_admin";

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    install: Install,
}

/// How long a statement of the superuser's may take.
const PATIENCE: &str = "-c statement_timeout=60s";

/// A database of a test; dropped with it.
#[derive(Debug)]
pub struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Cluster {
    /// The cluster of this machine and version, started if it is not running.
    ///
    /// Errors: no Postgres was found, or it does not start; the text says what to do.
    pub fn shared() -> Result<&'static Self, &'static str> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        SHARED.get_or_init(Self::join).as_ref().map_err(String::as_str)
    }

    /// The URL of one of its databases, for a role. Nobody has a password.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        let socket = self.install.home.display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{socket}/{database}")
    }

    /// Runs SQL as the superuser; answers what it prints, a line per row, columns parted by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[must_use]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut psql = self.command("psql");
            psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", ADMIN, "-d", database, "-c", sql]);
            let output = psql.env("PGOPTIONS", PATIENCE).output().expect("psql runs");
            let why = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            }
            // Making and dropping databases waits for every process of the server, once in thousands of times for ever.
            assert!(why.contains("statement timeout") && tries < 3, "{sql}\n{why}");
        }
    }

    /// A fresh database: a copy of the template `name`, which `prepare` fills the first time, given its superuser's URL.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&'static self, name: &str, prepare: impl AsyncFnOnce(String)) -> Database {
        // Of this build of the tests: an older one may have left another under this name.
        let build = std::env::current_exe().and_then(fs::metadata).and_then(|m| m.modified()).ok();
        let build = build.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos() & 0xffff_ffff);
        let template = format!("template_{name}_{build:x}");
        let is_there =
            || !self.sql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{template}' AND datistemplate")).is_empty();
        if !is_there() {
            let _lock = lock(&self.install.home).expect("the cluster's lock can be had");
            if !is_there() {
                let _ = self.sql("postgres", &format!("DROP DATABASE IF EXISTS {template} WITH (FORCE)"));
                let _ = self.sql("postgres", &format!("CREATE DATABASE {template}"));
                prepare(self.url(ADMIN, &template)).await;
                let _ = self.sql(
                    "postgres",
                    &format!("UPDATE pg_database SET datistemplate = true, datallowconn = false WHERE datname = '{template}'"),
                );
            }
        }
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let _ = self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Database { cluster: self, name }
    }

    fn command(&self, program: &str) -> Command {
        self.install.command(program)
    }

    fn join() -> Result<Self, String> {
        let found = install::binaries()?;
        let me = own_uid().map_err(|e| format!("the temporary folder cannot be written: {e}"))?;
        let home = std::env::temp_dir().join(format!("sid-pg-{me}-{:08x}", hash(&found)));
        Self::start(&found, home, me).map_err(|e| format!("the throw-away Postgres does not start: {e}"))
    }

    fn start(found: &Path, home: PathBuf, me: u32) -> io::Result<Self> {
        let _lock = lock(&home)?;
        // Named before the look: the watcher ends no cluster that has a living user.
        let cluster = Self { install: Install::new(found, home, me) };
        cluster.install.enter()?;
        if cluster.answers() {
            return Ok(cluster);
        }
        let home = &cluster.install.home;
        let _ = fs::remove_dir_all(home.join("install"));
        cluster.install.bring(found)?;
        cluster.install.make_room("data")?;
        cluster.install.initdb(&home.join("data"), ADMIN)?;
        let settings = format!(
            "-k {} -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 \
             -c shared_buffers=64MB -c dynamic_shared_memory_type=mmap -c autovacuum=off -c max_wal_size=256MB -c wal_level=minimal \
             -c max_wal_senders=0 -c log_min_duration_statement=2000 -c log_lock_waits=on -c log_checkpoints=off",
            home.display()
        );
        cluster.install.pg_ctl_start(&home.join("data"), &settings, &home.join("log"))?;
        cluster.install.watch()?;
        Ok(cluster)
    }

    fn answers(&self) -> bool {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-U", ADMIN, "-d", "postgres", "-c", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null());
        psql.status().is_ok_and(|status| status.success())
    }
}

impl Database {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, for a role.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        self.cluster.url(role, &self.name)
    }

    /// Runs SQL in it as the superuser; answers what it prints.
    ///
    /// # Panics
    /// When the statement fails.
    #[must_use]
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut psql = self.cluster.command("psql");
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        psql.args(["-X", "-q", "-U", ADMIN, "-d", "postgres", "-c", &sql]).stdout(Stdio::null()).stderr(Stdio::null());
        // What is left over goes with the cluster.
        let _ = psql.env("PGOPTIONS", PATIENCE).status();
    }
}
