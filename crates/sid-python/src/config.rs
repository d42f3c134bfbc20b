//! Options.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Cgroups;

/// Where Python is, and where its environments and working folders go. One for a server.
#[derive(Clone)]
pub struct PythonConfig {
    /// The interpreter, 3.9 or newer; a name is looked up in `PATH`.
    pub python: PathBuf,
    /// A program whose `main` calls [`launch_if_asked`](crate::launch_if_asked) first: usually the server itself
    /// (`std::env::current_exe()`), or the binary `sid-function-launcher` of this crate.
    pub launcher: PathBuf,
    /// A folder of this crate's own: environments in `environments`, working folders in `calls`. Made when it is missing.
    pub folder: PathBuf,
    /// Most function processes at the same time; more wait. Default: twice the processors.
    pub most_at_once: usize,
    /// Start even where the system lacks a part of the sandbox: what is missing is in [`Enforced`](crate::Enforced). Default: false.
    pub allow_unconfined: bool,
    /// Where control groups may be made: they bound the memory and the threads of a call as a whole. Default: none.
    pub cgroups: Cgroups,
    /// Packages may be built from source: that runs their code outside of the sandbox. Default: false, wheels only.
    pub allow_source_packages: bool,
    /// Longest that the packages of one module may take to install. Default: 5 minutes.
    pub install_timeout: Duration,
    /// Most bytes of the packages of one module. Default: 1 GiB.
    pub environment_bytes: u64,
    /// The environment that pip runs with, and nothing else: `PIP_INDEX_URL`, `HTTPS_PROXY`, `HOME` where it has a configuration. Default: empty.
    pub pip_environment: BTreeMap<String, String>,
}

impl PythonConfig {
    /// `python3` in `PATH`, and the defaults.
    #[must_use]
    pub fn new(launcher: PathBuf, folder: PathBuf) -> Self {
        Self {
            python: "python3".into(),
            launcher,
            folder,
            most_at_once: std::thread::available_parallelism().map_or(2, |n| n.get() * 2),
            allow_unconfined: false,
            cgroups: Cgroups::default(),
            allow_source_packages: false,
            install_timeout: Duration::from_secs(300),
            environment_bytes: 1 << 30,
            pip_environment: BTreeMap::new(),
        }
    }
}

/// Without pip's environment: addresses of package indexes carry passwords.
impl fmt::Debug for PythonConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PythonConfig");
        shown.field("python", &self.python).field("launcher", &self.launcher).field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// How much one call may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds from the call to its end, waiting for a free process included. Default: 30,000.
    pub timeout_ms: u64,
    /// Bytes of address space of each process. Default: 512 MiB.
    pub memory_bytes: u64,
    /// Seconds of processor time, all threads together. Default: 30.
    pub cpu_seconds: u64,
    /// Bytes of one file. Default: 16 MiB.
    pub file_bytes: u64,
    /// Bytes of all files in the working folder. Looked at every 100 ms. Default: 64 MiB.
    pub folder_bytes: u64,
    /// Files and folders in the working folder, likewise. Default: 1,000.
    pub folder_files: u64,
    /// Open files and sockets. Default: 64.
    pub open_files: u64,
    /// Threads and processes; enforced with a control group, and where the server runs as root. Default: 64.
    pub tasks: u64,
    /// Bytes of JSON of a result. Default: 1 MiB.
    pub result_bytes: usize,
    /// Bytes that may be printed; whoever prints more is stopped. Default: 16 MiB.
    pub printed_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            memory_bytes: 512 << 20,
            cpu_seconds: 30,
            file_bytes: 16 << 20,
            folder_bytes: 64 << 20,
            folder_files: 1_000,
            open_files: 64,
            tasks: 64,
            result_bytes: 1 << 20,
            printed_bytes: 16 << 20,
        }
    }
}

/// What a module may do beyond computing. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// IPv4 and IPv6. All of it: hosts cannot be told apart here, so this opens what the server's machine can reach, its own ports included.
    pub network: bool,
    /// New processes and the system's programs. Needs a control group and Landlock 6 (Linux 6.12).
    pub processes: bool,
}
