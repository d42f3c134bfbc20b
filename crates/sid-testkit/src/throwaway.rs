//! Servers that tests share and throw away: started by the first who asks, ended a few seconds after the last one is gone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Taken while a server is started, or prepared. A file beside its folder: it stays when that goes, and is free again when whoever holds it
/// dies.
pub(crate) fn lock(home: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(home.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Names this process as a user of the server in `home`: before anything else, as the watcher ends no server that has a living user.
pub(crate) fn join(home: &Path) -> io::Result<()> {
    fs::create_dir_all(home.join("users"))?;
    fs::write(home.join("users").join(std::process::id().to_string()), "")
}

/// Starts the watcher that ends the server, and removes its folder, when all processes that used it are gone.
pub(crate) fn watch(home: &Path, pid_file: &str, signal: &str) -> io::Result<()> {
    const WATCH: &str = r#"
cd "$1" || exit 0
quiet=0
while :; do
    sleep 1
    quiet=$((quiet + 1))
    for user in users/*; do
        pid=${user#users/}
        if kill -0 "$pid" 2>/dev/null; then quiet=0; else rm -f "$user"; fi
    done
    [ "$quiet" -ge 6 ] || continue
    # Out of everybody's way first; whoever has just come in finds it again.
    mv "$1" "$1.ending" 2>/dev/null || exit 0
    if [ -n "$(ls users)" ]; then mv "$1.ending" "$1"; quiet=0; continue; fi
    kill -"$3" "$(head -n 1 "$2")" 2>/dev/null
    sleep 1
    # What lives elsewhere is linked here.
    find . -maxdepth 1 -type l -exec readlink {} + | while read -r elsewhere; do rm -rf "$elsewhere"; done
    cd / && rm -rf "$1.ending"
    exit 0
done
"#;
    let mut watcher = Command::new("sh");
    watcher.args(["-c", WATCH, "watch"]).arg(home).args([pid_file, signal]);
    watcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    watcher.process_group(0).spawn().map(drop)
}

/// Where `cargo xtask setup` has put things.
pub(crate) fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("SID_CACHE").or_else(|| Some(set("HOME")?.join(".cache/sid")))
}

pub(crate) fn own_uid() -> io::Result<u32> {
    let probe = std::env::temp_dir().join(format!("sid-uid-{}", uuid::Uuid::now_v7().simple()));
    fs::write(&probe, "")?;
    let uid = fs::metadata(&probe).map(|m| m.uid());
    let _ = fs::remove_file(&probe);
    uid
}

pub(crate) fn hash(path: &Path) -> u32 {
    path.to_string_lossy().bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}
