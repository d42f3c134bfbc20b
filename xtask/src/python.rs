//! Python 3: pip fetches, the black-box tests are written in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::dirs;

/// A `python3` command at the top of the checkout.
pub(crate) fn python() -> Command {
    let mut command = Command::new("python3");
    command.current_dir(dirs::root()).env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// `major.minor` of `python3`; an error says what to install.
pub(crate) fn version() -> Result<String> {
    let ask = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 10))";
    match python().args(["-c", ask]).stderr(Stdio::null()).output() {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        Ok(out) if !out.stdout.is_empty() => {
            bail!("python3 is version {}; Sid's tests need 3.10 or newer", String::from_utf8_lossy(&out.stdout).trim())
        }
        _ => bail!("python3 is not there: install Python 3.10 or newer with pip"),
    }
}

/// pip of that Python; an error says what to install.
pub(crate) fn pip() -> Result<Command> {
    version()?;
    if !python().args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        bail!("python3 has no pip: install it (Debian: package python3-pip; else `python3 -m ensurepip`)");
    }
    let mut command = python();
    command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
    Ok(command)
}

/// A script of `tests/`, run with the binaries and caches that xtask uses.
pub(crate) fn script(path: &str) -> Command {
    let mut command = python();
    command.arg(path).env("SID_CACHE", dirs::cache()).env("CARGO_TARGET_DIR", dirs::target());
    command
}

/// The suites of a folder of `tests/`, with further folders on the module path.
pub(crate) fn suites(folder: &str, path: &[PathBuf]) -> Command {
    let mut command = python();
    command.args(["-m", "harness.beside", folder]);
    command.env("SID_CACHE", dirs::cache()).env("CARGO_TARGET_DIR", dirs::target()).env("PYTHONPATH", join(path));
    command
}

/// Folders as the value of `PYTHONPATH`.
pub(crate) fn join(path: &[PathBuf]) -> std::ffi::OsString {
    std::env::join_paths(path.iter().map(PathBuf::as_path).chain([Path::new("tests")])).expect("no folder of ours has a colon in its name")
}
