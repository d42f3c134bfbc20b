//! A server as a process: started, watched, frozen, ended.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::signal::signal;

/// How a server is started.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// The program.
    pub program: PathBuf,
    /// Where it works and logs.
    pub folder: PathBuf,
    /// Its name among several; also that of its log.
    pub name: String,
    /// The port of the loopback that it listens on.
    pub port: u16,
    /// Options, as `server.max_runs` and the value.
    pub settings: Vec<(String, String)>,
    /// Variables beside ours; of ours, those that begin with `SID_` are left out.
    pub environment: Vec<(String, String)>,
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// How it is started; changes count from the next start on.
    pub plan: ServerPlan,
    child: Option<Child>,
}

impl Server {
    /// A server that is not yet started.
    #[must_use]
    pub const fn new(plan: ServerPlan) -> Self {
        Self { plan, child: None }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.plan.port)
    }

    /// The command line for this server, or for one of its subcommands.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.plan.program);
        command.args(arguments).current_dir(&self.plan.folder).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SID_")) {
            command.env_remove(name);
        }
        command.envs(self.plan.environment.iter().map(|(k, v)| (k, v)));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.plan.port));
        for (key, value) in &self.plan.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn log_file(&self) -> PathBuf {
        self.plan.folder.join(format!("{}.log", self.plan.name))
    }

    /// All that it has printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs a subcommand (`migrate`) with the same options to its end.
    ///
    /// Errors: it ended with a failure; the text has its log.
    pub fn run(&self, subcommand: &str) -> Result<()> {
        let status = self.command(&[subcommand])?.status()?;
        if !status.success() {
            bail!("`{subcommand}` ended with {status}:\n{}", tail(&self.log()));
        }
        Ok(())
    }

    /// Starts it and does not wait.
    ///
    /// Errors: the program cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        self.kill();
        let mut log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        writeln!(log, "--- start")?;
        let mut command = self.command(&[])?;
        let child = command.spawn().with_context(|| format!("{} does not start", self.plan.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it and waits until it is ready; answers how long that took.
    ///
    /// Errors: it ends, or is not ready within a minute; the text has its log.
    pub async fn start(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.spawn()?;
        self.ready().await?;
        Ok(began.elapsed())
    }

    /// Waits until it is ready.
    ///
    /// Errors: it ends, or is not ready within a minute.
    pub async fn ready(&mut self) -> Result<()> {
        let client = super::api::client(false);
        let began = Instant::now();
        let probe = format!("{}/health/ready", self.url());
        while !client.get(&probe).timeout(Duration::from_secs(2)).send().await.is_ok_and(|r| r.status().is_success()) {
            if let Some(status) = self.exited() {
                bail!("{} ended with {status}:\n{}", self.plan.name, tail(&self.log()));
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!("{} is not ready after a minute:\n{}", self.plan.name, tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether it has ended by itself, and how.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// As a power cut: SIGKILL, and reaped.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it stands still in the middle of whatever it does, and holds what it holds.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, as an operator: asks it to end.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGTERM, then waits; answers how it ended and after what time.
    ///
    /// Errors: it has not ended after `limit`; it is killed then.
    pub async fn stop(&mut self, limit: Duration) -> Result<(ExitStatus, Duration)> {
        self.terminate();
        let began = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                self.child = None;
                return Ok((status, began.elapsed()));
            }
            if began.elapsed() > limit {
                self.kill();
                bail!("{} had not ended {limit:?} after SIGTERM:\n{}", self.plan.name, tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Resident memory in MB (10^6 bytes); 0 when it does not run.
    #[must_use]
    pub fn memory_mb(&self) -> f64 {
        let Some(child) = &self.child else { return 0.0 };
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0 / 1e6
    }

    fn signal(&self, name: &str) {
        signal(name, self.child.as_ref().map(Child::id).as_slice());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
