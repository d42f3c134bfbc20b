//! The Python that runs functions: where it lives, and Sid's own part of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::PythonError;

/// Sid's own modules, in the order in which they import each other.
const SOURCES: [(&str, &str); 7] = [
    ("sid", include_str!("../python/sid.py")),
    ("sid_hints", include_str!("../python/hints.py")),
    ("sid_docstrings", include_str!("../python/docstrings.py")),
    ("sid_schema", include_str!("../python/schema.py")),
    ("sid_convert", include_str!("../python/convert.py")),
    ("sid_describe", include_str!("../python/describe.py")),
    ("sid_host", include_str!("../python/host.py")),
];
const PROBE: &str = include_str!("../python/probe.py");
const BOOT: &str = include_str!("../python/boot.py");

/// Where dynamic libraries and their loader are, on any Linux.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
const LOADERS: [&str; 4] =
    ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1"];
const DATA: [&str; 5] = ["/dev/urandom", "/dev/random", "/dev/zero", "/etc/localtime", "/usr/share/zoneinfo"];
/// What a resolver of names and a TLS client read.
const NETWORK: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
];
/// Programs, for those who may start them.
const PROGRAMS: [&str; 4] = ["/bin", "/usr/bin", "/lib", "/usr/lib"];

/// A Python that has been asked about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Interpreter {
    pub(crate) version: String,
    pub(crate) executable: PathBuf,
    stdlib: Vec<PathBuf>,
    libpython: Option<PathBuf>,
    /// Sid's own part in this Python's byte code, in hexadecimal: compiling it anew would cost each call time.
    host: String,
}

impl Interpreter {
    /// Asks `python`, unconfined: no code of any user runs.
    pub(crate) async fn probe(python: &Path) -> Result<Self, PythonError> {
        let broken = |problem: String| PythonError::Interpreter { python: python.display().to_string(), problem };
        let mut child = Command::new(python)
            .args(["-I", "-S", "-B", "-X", "utf8", "-c", PROBE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| broken(e.to_string()))?;
        let sources = serde_json::json!(SOURCES).to_string();
        if let Some(mut input) = child.stdin.take() {
            // What it says of itself tells more than a pipe that it closed.
            let _ = input.write_all(sources.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(|e| broken(e.to_string()))?;
        if !output.status.success() {
            return Err(broken(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| broken(format!("it does not answer as it should: {e}")))
    }

    /// The arguments that it is started with: isolated, without `site` and what it would run, writing no byte code.
    pub(crate) fn arguments() -> Vec<String> {
        ["-I", "-S", "-B", "-X", "utf8", "-c", BOOT].map(str::to_owned).into()
    }

    /// What it has to be able to read.
    pub(crate) fn reads(&self, network: bool) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.stdlib.clone();
        paths.extend(self.libpython.clone());
        paths.extend(LIBRARIES.iter().chain(&DATA).map(PathBuf::from));
        if network {
            paths.extend(NETWORK.map(PathBuf::from));
        }
        paths
    }

    /// What has to be executable besides itself.
    pub(crate) fn executes(&self, processes: bool) -> Vec<PathBuf> {
        let programs = if processes { PROGRAMS.as_slice() } else { &[] };
        LOADERS.iter().chain(programs).map(PathBuf::from).collect()
    }

    /// The text of [`Interpreter::host`], decoded.
    pub(crate) fn host(&self) -> Result<Vec<u8>, PythonError> {
        let broken = |problem: &str| PythonError::Interpreter { python: self.executable.display().to_string(), problem: problem.into() };
        hex::decode(&self.host).map_err(|_| broken("its byte code cannot be read"))
    }
}
