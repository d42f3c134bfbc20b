//! Programs out of Debian packages, for what no Python package carries: unpacked into the cache, never installed.
//!
//! No version is pinned, because Debian's archive keeps only the newest build of a package and a security update would break every fresh
//! machine. What is checked instead is Debian's own signature: apt takes a package only if its SHA-256 stands in an index that the
//! archive's key signed. The builds that came are printed and written into `packages` beside them.
//!
//! Every unpacked folder may be copied elsewhere as a whole (a server that refuses to be root needs a place that another user may read): its
//! launcher finds the libraries beside itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::pins::{Deb, Use};
use crate::proc;

/// Why there can be no Debian package on this machine, if so.
pub(super) fn missing() -> Option<String> {
    let there = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let lacks = ["apt-get", "dpkg-deb"].into_iter().find(|p| !there(p))?;
    Some(format!("{lacks} is not there: these parts are Debian packages"))
}

/// Makes sure that these are in the cache; gives where each is: a launcher, or a library to preload.
pub(super) fn ensure(debs: &[&Deb], cache: &Path, offline: bool, verify: bool) -> Result<Vec<PathBuf>> {
    let release = release();
    let folder = |deb: &Deb| cache.join(format!("{}-{release}", deb.key));
    let absent: Vec<&Deb> = debs.iter().copied().filter(|d| !is_complete(d, &folder(d))).collect();
    if !absent.is_empty() {
        let titles = absent.iter().map(|d| d.title).collect::<Vec<_>>().join(", ");
        if offline {
            bail!("{titles} missing in {} and --offline forbids fetching it", cache.display());
        }
        if let Some(why) = missing() {
            bail!("cannot set up {titles}: {why}");
        }
        println!("    fetching {titles} (Debian, {release})");
        let archive = Archive::open(cache)?;
        for deb in absent {
            unpack(deb, &archive, &folder(deb)).with_context(|| format!("cannot set up {} from Debian's packages", deb.title))?;
        }
    }
    for deb in debs.iter().filter(|_| verify) {
        check_sums(deb, &folder(deb))?;
    }
    Ok(debs.iter().map(|d| folder(d).join(handle(d))).collect())
}

/// What [`ensure`] gives, inside the folder.
fn handle(deb: &Deb) -> String {
    match deb.take {
        Use::Run { .. } => deb.key.to_owned(),
        Use::Preload(library) => format!("root/usr/lib/{}/{library}", triplet()),
    }
}

/// The stamp is written last, and names what was asked for.
fn is_complete(deb: &Deb, folder: &Path) -> bool {
    let builds = std::fs::read_to_string(folder.join("packages")).unwrap_or_default();
    let names: Vec<&str> = builds.lines().filter_map(|l| l.split('_').next()).collect();
    names == deb.packages && folder.join(handle(deb)).is_file()
}

/// The release that this machine runs, e.g. `bookworm`: packages of another would not fit its libraries.
fn release() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).unwrap_or("unknown");
    name.trim_matches('"').to_owned()
}

/// The folder of libraries of this architecture, as Debian calls it.
fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

/// A place of our own for apt's lists and for what it fetches: no root, no lock, and nothing of the machine's own apt is touched.
struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Fetches the signed lists anew, so that no stale one asks for a build that is gone.
    fn open(cache: &Path) -> Result<Self> {
        let archive = Self { folder: cache.join(format!("debian-{}", std::process::id())) };
        for sub in ["lists/partial", "cache/archives/partial"] {
            let path = archive.folder.join(sub);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        // A source of the machine that has nothing to do with Debian may be out of reach: the download below tells.
        let _ = archive.apt(&["update"]).stderr(Stdio::null()).status();
        Ok(archive)
    }

    fn apt(&self, words: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        let at = |name: &str, sub: &str| format!("{name}={}", self.folder.join(sub).display());
        for option in [
            at("Dir::State::lists", "lists"),
            at("Dir::Cache", "cache"),
            // The user that root's apt would become may not write here.
            "APT::Sandbox::User=".into(),
            "Debug::NoLocking=true".into(),
            "Acquire::Retries=3".into(),
            // Whatever the machine's settings allow.
            "APT::Get::AllowUnauthenticated=false".into(),
            "Acquire::AllowInsecureRepositories=false".into(),
        ] {
            command.args(["-o", &option]);
        }
        command.args(["--quiet", "--quiet"]).args(words).env("LC_ALL", "C").current_dir(&self.folder);
        command
    }

    /// The package's file, checked by apt against the signed lists.
    fn fetch(&self, package: &str) -> Result<PathBuf> {
        let prefix = format!("{package}_");
        proc::run(&mut self.apt(&["download", package]))?;
        std::fs::read_dir(&self.folder)?
            .filter_map(Result::ok)
            .map(|e| e.path())
            .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("apt-get downloaded no {package}"))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn unpack(deb: &Deb, archive: &Archive, folder: &Path) -> Result<()> {
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&new);
    std::fs::create_dir_all(new.join("sums"))?;
    let mut builds = String::new();
    for package in deb.packages {
        let file = archive.fetch(package)?;
        proc::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(new.join("root")))?;
        // A package without files has none.
        let sums = Command::new("dpkg-deb").args(["--info"]).arg(&file).arg("md5sums").stderr(Stdio::null()).output()?;
        std::fs::write(new.join("sums").join(package), sums.stdout)?;
        let build = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        println!("      {build}");
        builds.push_str(&build);
        builds.push('\n');
    }
    if let Use::Run { program, version, account } = deb.take {
        let launcher = new.join(deb.key);
        std::fs::write(&launcher, launcher_of(program, account))?;
        proc::run(Command::new("chmod").arg("755").arg(&launcher))?;
        // A library that is missing shows here, not in the middle of a test.
        let said = Command::new(&launcher).args(version).output()?;
        if !said.status.success() {
            bail!("{program} does not run: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
    }
    std::fs::write(new.join("packages"), builds)?;
    // Whoever comes first wins: two checkouts may share the cache.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::rename(&new, folder).with_context(|| format!("cannot move to {}", folder.display()))
}

/// A script that runs the program with the libraries that were unpacked beside it, as the same process.
fn launcher_of(program: &str, account: Option<&str>) -> String {
    let triplet = triplet();
    // With the number of whoever runs it; root's programs give root up, and become nobody.
    let believe = account.map_or_else(String::new, |account| {
        format!(
            "if [ ! -e \"$here/passwd\" ]; then\n\
             uid=$(id -u); gid=$(id -g); if [ \"$uid\" = 0 ]; then uid=65534; gid=65534; fi\n\
             printf 'root:x:0:0::/:/bin/sh\\n{account}:x:%s:%s::/:/bin/false\\n' \"$uid\" \"$gid\" > \"$here/passwd\"\n\
             printf 'root:x:0:\\n{account}:x:%s:\\n' \"$gid\" > \"$here/group\"\n\
             fi\n\
             export LD_PRELOAD=\"$here/usr/lib/{triplet}/libnss_wrapper.so\" NSS_WRAPPER_PASSWD=\"$here/passwd\" NSS_WRAPPER_GROUP=\"$here/group\"\n"
        )
    });
    format!(
        "#!/bin/sh\n\
         here=$(dirname \"$(readlink -f \"$0\")\")/root\n\
         export LD_LIBRARY_PATH=\"$here/usr/lib/{triplet}:$here/lib/{triplet}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
         {believe}exec \"$here/{program}\" \"$@\"\n"
    )
}

/// Compares every unpacked file with the sum that its package carries.
fn check_sums(deb: &Deb, folder: &Path) -> Result<()> {
    for package in deb.packages {
        let sums = folder.join("sums").join(package);
        let went = proc::run(Command::new("md5sum").args(["--check", "--quiet"]).arg(&sums).current_dir(folder.join("root")));
        println!("    {package:<28} {}", if went.is_ok() { "checksums fit" } else { "CHECKSUMS DIFFER" });
        went.with_context(|| {
            format!("{} in {} is damaged: remove the folder and run `cargo xtask setup` again", deb.title, folder.display())
        })?;
    }
    Ok(())
}
