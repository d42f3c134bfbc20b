//! Programs that only Debian packages: fetched and checked by apt-get, unpacked into the cache, installed nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::proc;

/// PgBouncer, and the libraries that a small Debian does not have.
const PACKAGES: &[&str] = &["pgbouncer", "libc-ares2", "libevent-2.1-7"];

/// The program `pgbouncer`; its libraries stand beside it.
pub(super) fn pgbouncer(cache: &Path, offline: bool) -> Result<PathBuf> {
    let folder = cache.join("pgbouncer");
    let program = folder.join("usr/sbin/pgbouncer");
    if program.is_file() {
        return Ok(program);
    }
    if offline {
        bail!("PgBouncer is missing in {} and --offline forbids fetching it", cache.display());
    }
    println!("    fetching PgBouncer ({})", PACKAGES.join(", "));
    let new = cache.join(format!("pgbouncer.new-{}", std::process::id()));
    std::fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
    let went = unpack(&new);
    if went.is_ok() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&new, &folder).with_context(|| format!("cannot move to {}", folder.display()))?;
        return Ok(program);
    }
    let _ = std::fs::remove_dir_all(&new);
    went.map(|()| program).context("cannot set up PgBouncer: on another system than Debian, install it and set SID_PGBOUNCER")
}

fn unpack(folder: &Path) -> Result<()> {
    let download = || proc::run(Command::new("apt-get").args(["download", "-q"]).args(PACKAGES).current_dir(folder));
    // A fresh machine has no list of packages yet.
    if download().is_err() {
        proc::run(Command::new("apt-get").args(["update", "-q"]))?;
        download()?;
    }
    for file in std::fs::read_dir(folder)?.filter_map(Result::ok).map(|e| e.path()) {
        if file.extension().is_some_and(|e| e == "deb") {
            proc::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(folder))?;
            std::fs::remove_file(&file)?;
        }
    }
    let program = folder.join("usr/sbin/pgbouncer");
    let libraries = folder.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    proc::output(Command::new(&program).arg("--version").env("LD_LIBRARY_PATH", libraries))?;
    Ok(())
}
