//! The server as a process, and what the operating system says of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use sid_testkit::postgres::{ADMIN, OwnCluster};

use crate::Options;
use crate::api::Api;

/// A running server on a data folder of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) api: Api,
    pub(crate) ready_after: Duration,
    database: Option<Arc<OwnCluster>>,
}

/// Where a server keeps its data; gone when dropped.
pub(crate) struct Store {
    folder: tempfile::TempDir,
    pub(crate) postgres: Option<Arc<OwnCluster>>,
}

/// The server's database and user.
pub(crate) const DATABASE: &str = "sid";
const ROLE: &str = "sid_server";

impl Store {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let postgres = if options.on_postgres {
            // As a small production server: what the figures are said of.
            let cluster = OwnCluster::start("-c shared_buffers=256MB -c max_wal_size=1GB")?;
            let _ = cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
            let _ = cluster.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN"))?;
            Some(Arc::new(cluster))
        } else {
            None
        };
        Ok(Self { folder: tempfile::tempdir()?, postgres })
    }

    fn config(&self) -> String {
        match &self.postgres {
            None => format!("kind = \"sqlite\"\npath = {:?}", self.folder.path().join("data")),
            Some(cluster) => {
                let (url, admin) = (cluster.socket_url(ROLE, DATABASE), cluster.socket_url(ADMIN, DATABASE));
                format!("kind = \"postgres\"\nurl = {url:?}\nadmin_url = {admin:?}")
            }
        }
    }
}

/// Prepares the database; answers the first key.
fn migrate(options: &Options, config: &Path) -> Result<String> {
    let done = Command::new(&options.server).arg("--config").arg(config).arg("migrate").output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    let key = said.rsplit("shown once): ").next().map(str::trim).filter(|k| k.starts_with("sid_"));
    key.map(str::to_owned).with_context(|| format!("the migration failed: {}", String::from_utf8_lossy(&done.stderr)))
}

/// Which embedder the server gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Embedder {
    None,
    Lexical,
    MiniLm,
}

impl Server {
    /// Starts on `store`; `key` is that of an earlier start there, else the printed first key is taken.
    pub(crate) async fn start(options: &Options, store: &Store, model_url: &str, embedder: Embedder, key: Option<String>) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let embedder = match embedder {
            Embedder::None => "kind = \"none\"".to_owned(),
            Embedder::Lexical => "kind = \"lexical\"".to_owned(),
            Embedder::MiniLm => format!(
                "kind = \"fastembed\"\npath = {:?}\nonnxruntime = {:?}",
                options.minilm.as_deref().context("--minilm is missing")?,
                options.onnxruntime.as_deref().context("--onnxruntime is missing")?
            ),
        };
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n[store]\n{}\n[models.default]\nbase_url = {model_url:?}\nmodel = \"instant\"\ncontext_window = 8192\n[embedder]\n{embedder}\n[log]\nfilter = \"warn\"\n[limits]\nruns_at_once = {}\n",
            store.config(),
            options.runs_at_once
        );
        let file = store.folder.path().join(format!("sid-{port}.toml"));
        std::fs::write(&file, config)?;
        let key = match (&store.postgres, key) {
            (Some(_), None) => Some(migrate(options, &file)?),
            (_, key) => key,
        };
        let began = Instant::now();
        let mut command = Command::new(&options.server);
        command.arg("--config").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
        if store.postgres.is_some() {
            // As in the images (deploy/docker/Dockerfile).
            command.env("MIMALLOC_PURGE_DELAY", "1000");
        }
        let missing = || format!("{} does not start: build it with `cargo build --release -p sid-server`", options.server.display());
        let mut child = command.spawn().with_context(missing)?;
        let printed = first_key(&mut child);
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        let base = format!("http://127.0.0.1:{port}");
        while !client.get(format!("{base}/health/ready")).send().await.is_ok_and(|r| r.status().is_success()) {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}");
            }
            if began.elapsed() > Duration::from_secs(30) {
                bail!("the server was not ready within 30 s");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ready_after = began.elapsed();
        let key = match key {
            Some(key) => key,
            None => printed.recv_timeout(Duration::from_secs(5)).context("the server printed no first key")?,
        };
        Ok(Self { child, api: Api { client, base, key }, ready_after, database: store.postgres.clone() })
    }

    /// CPU seconds of the server and of its database, user and system together.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(self.own_cpu()? + self.database.as_ref().map_or(0.0, |cluster| cluster.cpu_seconds()))
    }

    /// CPU seconds of the server alone.
    pub(crate) fn own_cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(") ").next().context("a stat line")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }

    /// Waits until background work is done: two seconds with hardly any CPU. Answers how long that took; at most ten minutes.
    pub(crate) async fn settle(&self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let before = self.cpu()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if self.cpu()? - before < 0.06 || began.elapsed() > Duration::from_secs(600) {
                return Ok(began.elapsed());
            }
        }
    }

    /// Resident memory in MB (10^6 bytes).
    pub(crate) fn memory_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("a VmRSS line")?;
        let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib * 1_024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads both outputs to their end (so that the server never blocks on them) and sends the first key that is printed.
fn first_key(child: &mut Child) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel();
    let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] =
        [child.stdout.take().map(|o| Box::new(o) as _), child.stderr.take().map(|e| Box::new(e) as _)];
    for output in outputs.into_iter().flatten() {
        let tx = tx.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(at) = line.find("shown once): sid_").map(|at| at + "shown once): ".len()) {
                    let key: String = line[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
                    let _ = tx.send(key);
                } else if line.contains("ERROR") || (line.contains("WARN") && !line.contains("LEXICAL ONLY")) {
                    eprintln!("server: {line}");
                }
            }
        });
    }
    rx
}
