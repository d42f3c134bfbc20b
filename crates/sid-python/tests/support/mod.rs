//! A Python in a folder of its own, and what must not be left of it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sid_python::{Call, Failure, Module, Python, PythonConfig};

/// How much longer than its time-out a call may take: 2 s are promised, the rest is for a busy machine.
pub const GRACE: Duration = Duration::from_secs(8);

pub struct House {
    pub python: Python,
    pub folder: tempfile::TempDir,
}

pub fn config(folder: &Path) -> PythonConfig {
    let mut config = PythonConfig::new(PathBuf::from(env!("CARGO_BIN_EXE_sid-function-launcher")), folder.to_owned());
    // The machine's own way to the package index.
    let wanted = |name: &str| name.starts_with("PIP_") || name.to_ascii_lowercase().ends_with("_proxy") || name.starts_with("SSL_CERT");
    config.pip_environment = std::env::vars().filter(|(name, _)| wanted(name)).collect();
    config
}

impl House {
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub async fn open_with(change: impl FnOnce(&mut PythonConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        change(&mut config);
        Self { python: Python::open(config).await.expect("a sandbox: CI must have one"), folder }
    }

    pub async fn call(&self, module: &Module, function: &str, arguments: Value) -> Result<Value, Failure> {
        self.python.call(module, call(function, arguments)).await
    }

    /// Calls, and checks that it took no longer than it may, and that nothing is left.
    pub async fn contained(&self, module: &Module, function: &str, arguments: Value) -> Result<Value, Failure> {
        let began = Instant::now();
        let result = self.call(module, function, arguments).await;
        let most = Duration::from_millis(module.limits.timeout_ms) + GRACE;
        assert!(began.elapsed() <= most, "{function} took {:?}", began.elapsed());
        self.assert_nothing_left();
        result
    }

    pub fn assert_nothing_left(&self) {
        assert_eq!(self.folders(), Vec::<PathBuf>::new(), "a working folder is left");
        let left = self.processes();
        assert!(left.is_empty(), "processes are left: {left:?}");
    }

    /// Working folders there are.
    pub fn folders(&self) -> Vec<PathBuf> {
        let homes = std::fs::read_dir(self.folder.path().join("calls")).expect("read").flatten().map(|e| e.path());
        let homes = homes.filter(|p| p.is_dir());
        homes.flat_map(|home| std::fs::read_dir(home).expect("read").flatten().map(|e| e.path())).collect()
    }

    /// Processes that work in one of the working folders, or did so before it was removed.
    pub fn processes(&self) -> Vec<String> {
        let calls = self.folder.path().join("calls");
        let processes =
            std::fs::read_dir("/proc").expect("read").flatten().filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok());
        let cwd = |e: &std::fs::DirEntry| std::fs::read_link(e.path().join("cwd")).ok();
        processes.filter(|e| cwd(e).is_some_and(|c| c.starts_with(&calls))).map(|e| e.path().display().to_string()).collect()
    }
}

pub fn call(function: &str, arguments: Value) -> Call {
    let arguments: Map<String, Value> = arguments.as_object().cloned().expect("an object");
    Call { function: function.into(), arguments, ..Call::default() }
}

/// A module with a short time-out.
pub fn module(source: &str) -> Module {
    let mut module = Module::new("guest", source);
    module.limits.timeout_ms = 5_000;
    module
}

pub fn none() -> Value {
    json!({})
}

/// What the model would read.
#[track_caller]
pub fn words(result: Result<Value, Failure>) -> String {
    result.expect_err("it must fail").to_string()
}
