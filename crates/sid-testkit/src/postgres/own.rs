//! A cluster of one's own, for tests that stop, kill, freeze and replicate it. It syncs to disk like a real one.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::ADMIN;
use super::install::{self, Install, succeeded};
use crate::signal::signal;
use crate::throwaway::own_uid;

/// How a cluster is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections are ended, everything is written.
    Fast,
    /// At once; the next start recovers from the log.
    Immediate,
    /// SIGKILL to every process of it.
    Kill,
}

/// A Postgres that belongs to one test: in a folder of its own, with `fsync` on, on a Unix socket and on a port of the loopback. Dropping
/// it ends and removes it.
#[derive(Debug)]
pub struct OwnCluster {
    install: Install,
    data: PathBuf,
    port: u16,
    settings: String,
    is_home_ours: bool,
}

impl OwnCluster {
    /// Makes a cluster and starts it. `settings` are further options, such as `-c max_connections=50`.
    ///
    /// Errors: no Postgres was found, or it does not start; the text says what to do.
    pub fn start(settings: &str) -> io::Result<Self> {
        let found = install::binaries().map_err(io::Error::other)?;
        let home = std::env::temp_dir().join(format!("sid-own-pg-{}", uuid::Uuid::now_v7().simple()));
        let install = Install::new(&found, home, own_uid()?);
        install.enter()?;
        install.bring(&found)?;
        let data = install.home.join("data");
        install.initdb(&data, ADMIN)?;
        let cluster = Self { install, data, port: free_port()?, settings: settings.to_owned(), is_home_ours: true };
        cluster.install.watch()?;
        cluster.resume()?;
        Ok(cluster)
    }

    /// The address of its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The URL of one of its databases by way of `address`: its own, or a proxy's before it.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr, role: &str, database: &str) -> String {
        format!("postgres://{role}@{address}/{database}")
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        self.url_at(self.address(), role, database)
    }

    /// The URL of one of its databases by way of its Unix socket.
    #[must_use]
    pub fn socket_url(&self, role: &str, database: &str) -> String {
        format!("{}?host={}", self.url(role, database), self.install.home.display())
    }

    /// Runs SQL as the superuser; answers what it prints, a line per row, columns parted by `|`.
    ///
    /// Errors: the statement fails, or nobody answers.
    pub fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", ADMIN, "-d", database, "-c", sql]);
        let output = psql.output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("{sql}\n{}", String::from_utf8_lossy(&output.stderr))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// One of Postgres's programs (`pg_dump`), told where the cluster is.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.install.command(name);
        command.env("PGPORT", self.port.to_string());
        command
    }

    /// Starts it again; waits until it accepts connections.
    ///
    /// Errors: it does not within a minute; the text has its log.
    pub fn resume(&self) -> io::Result<()> {
        let settings = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=100 -c shared_buffers=64MB -c wal_level=replica \
             -c max_wal_size=512MB -c log_lock_waits=on -c log_checkpoints=off -c restart_after_crash=on {}",
            self.port,
            self.install.home.display(),
            self.settings
        );
        let began = Instant::now();
        loop {
            let started = self.install.pg_ctl_start(&self.data, &settings, &self.log_file());
            // Processes of the last life may hold its shared memory for a moment more.
            if started.is_ok() || began.elapsed() > Duration::from_secs(60) {
                return started.map_err(|e| io::Error::other(format!("{e}\n{}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it.
    pub fn stop(&self, how: Stop) {
        let Some(postmaster) = self.postmaster() else { return };
        match how {
            Stop::Kill => signal("KILL", &self.processes()),
            Stop::Fast => signal("INT", &[postmaster]),
            Stop::Immediate => signal("QUIT", &[postmaster]),
        }
        let began = Instant::now();
        while is_alive(postmaster) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if how == Stop::Kill {
            // What a killed server leaves behind names a process that another may be one day.
            let _ = fs::remove_file(self.data.join("postmaster.pid"));
        }
    }

    /// SIGSTOP to every process of it: connections stay, and nothing answers.
    pub fn freeze(&self) {
        signal("STOP", &self.processes());
    }

    /// SIGCONT to every process of it.
    pub fn thaw(&self) {
        signal("CONT", &self.processes());
    }

    /// A standby of it, streaming. `name` names it to `synchronous_standby_names`.
    ///
    /// Errors: the copy cannot be made, or does not start.
    pub fn standby(&self, name: &str) -> io::Result<Self> {
        let data = self.install.home.join(format!("standby-{name}-{}", free_port()?));
        let mut copy = self.install.server_command("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ADMIN, "-D"]).arg(&data);
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", &format!("application_name={name}")]);
        succeeded("pg_basebackup", &copy.output()?)?;
        // `-R` takes the name over from the connection string in newer releases only.
        let auto = data.join("postgresql.auto.conf");
        let mut text = fs::read_to_string(&auto)?;
        text.push_str(&format!(
            "\nprimary_conninfo = 'host=127.0.0.1 port={} user={ADMIN} application_name={name}'\nsynchronous_standby_names = ''\n",
            self.port
        ));
        fs::write(&auto, text)?;
        let standby =
            Self { install: self.install.clone(), data, port: free_port()?, settings: self.settings.clone(), is_home_ours: false };
        standby.resume()?;
        Ok(standby)
    }

    /// Makes a standby the primary; returns when it takes writes.
    ///
    /// Errors: it does not within half a minute.
    pub fn promote(&self) -> io::Result<()> {
        let _ = self.sql("postgres", "SELECT pg_promote(true, 30)")?;
        if self.sql("postgres", "SELECT pg_is_in_recovery()")? == "f" { Ok(()) } else { Err(io::Error::other("still a standby")) }
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// CPU seconds of all its processes since its start, user and system together; those that have ended count too. Linux only.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let Some(postmaster) = self.postmaster() else { return 0.0 };
        // A field of the postmaster's own for its ended children.
        let ticks = |pid: u32, fields: std::ops::Range<usize>| -> f64 {
            fields.filter_map(|field| stat_field(pid, field)?.parse::<f64>().ok()).sum()
        };
        let ended = ticks(postmaster, 13..15);
        (ended + self.processes().into_iter().map(|pid| ticks(pid, 11..13)).sum::<f64>()) / 100.0
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn postmaster(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The postmaster and its children.
    fn processes(&self) -> Vec<u32> {
        let Some(postmaster) = self.postmaster() else { return Vec::new() };
        let parent = |pid: u32| stat_field(pid, 1).and_then(|f| f.parse::<u32>().ok());
        let all = fs::read_dir("/proc").into_iter().flatten().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        std::iter::once(postmaster).chain(all.filter(|pid| parent(*pid) == Some(postmaster))).collect()
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        self.thaw();
        self.stop(Stop::Kill);
        let _ = fs::remove_dir_all(&self.data);
        if self.is_home_ours {
            let _ = fs::remove_dir_all(&self.install.home);
        }
    }
}

/// A field of `/proc/PID/stat`, counted from the state, which is 0.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit(") ").next()?.split_whitespace().nth(field).map(str::to_owned)
}

/// Whether the process is there and no zombie.
fn is_alive(pid: u32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state != "Z")
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
