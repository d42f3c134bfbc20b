//! Where things are.

use std::path::{Path, PathBuf};

/// The top of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where [`crate::setup`] keeps what it fetched: `SID_CACHE`, else `~/.cache/sid`, else `target/sid-deps`.
///
/// `tests/support/paths.py` follows the same rule.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("SID_CACHE").filter(|d| !d.is_empty()) {
        return PathBuf::from(dir);
    }
    if let Some(home) = std::env::var_os("HOME").filter(|d| !d.is_empty()) {
        let dir = PathBuf::from(home).join(".cache").join("sid");
        if std::fs::create_dir_all(&dir).is_ok() {
            return dir;
        }
    }
    target().join("sid-deps")
}

/// The cargo profile that everything is built with which is tested or started here, and the name of its folder: `SID_PROFILE`, else
/// `release`.
pub(crate) fn profile() -> String {
    std::env::var("SID_PROFILE").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "release".into())
}

/// A binary of the workspace.
pub(crate) fn binary(name: &str) -> PathBuf {
    target().join(profile()).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// An example of the workspace.
pub(crate) fn example(name: &str) -> PathBuf {
    target().join(profile()).join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The measuring stick beside the checkout, where there is one.
pub(crate) fn shared_bench() -> Option<PathBuf> {
    let dir = std::env::var_os("SID_BENCH_DIR").map_or_else(|| root().join("../shared/bench"), PathBuf::from);
    dir.join("scenario_runner.py").is_file().then_some(dir)
}

/// Whether this is CI, where a leg that cannot run is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "0" && v != "false")
}
