//! Environments: the packages of a module, installed once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::interpreter::Interpreter;
use crate::{PythonConfig, PythonError, folder};

/// Most lines of pip's last words that an error repeats.
const LAST_WORDS: usize = 12;

/// The requirements of a module, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirements(Vec<String>);

impl Requirements {
    /// Reads a `requirements.txt`. Only packages of the index are taken, with versions, extras, markers and hashes: an option or an address
    /// could make pip read the server's files, or run code.
    pub(crate) fn parse(text: &str) -> Result<Self, PythonError> {
        let mut lines = Vec::new();
        for (at, line) in text.replace("\\\n", " ").lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let problem = |problem: &str| Err(PythonError::Requirements { line: at + 1, problem: problem.into() });
            if !line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return problem("options are not taken; write a package like `attrs==25.1.0`");
            }
            let package: Vec<&str> = line.split_whitespace().take_while(|w| !w.starts_with("--")).collect();
            if package.iter().any(|word| word.contains(['@', '/'])) {
                return problem("addresses and folders are not taken; write a package of the index like `attrs==25.1.0`");
            }
            if line.split_whitespace().any(|w| w.starts_with('-') && !w.starts_with("--hash=sha256:")) {
                return problem("of the options only `--hash=sha256:..` is taken");
            }
            lines.push(line.to_owned());
        }
        Ok(Self(lines))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the environment's folder: the same for the same packages under the same Python.
    fn key(&self, interpreter: &Interpreter, config: &PythonConfig) -> String {
        let mut lines = self.0.clone();
        lines.sort();
        let text = format!(
            "{}\n{}\n{}\n{}",
            interpreter.version,
            interpreter.executable.display(),
            config.allow_source_packages,
            lines.join("\n")
        );
        hex::encode(&Sha256::digest(text.as_bytes())[..16])
    }
}

/// Where the packages are, installed if they were not.
///
/// Built beside its place and moved there when it is whole, under a lock that other servers with the same folder respect.
/// `progress` is told each line that pip says.
pub(crate) async fn ready(
    requirements: &Requirements,
    interpreter: &Interpreter,
    config: &PythonConfig,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<PathBuf, PythonError> {
    let home = config.folder.join("environments");
    let place = home.join(requirements.key(interpreter, config));
    if let Some(packages) = packages_of(&place, interpreter) {
        return Ok(packages);
    }
    fs::create_dir_all(&home).map_err(PythonError::io("the folder of environments cannot be made"))?;
    let lock = locked(place.with_extension("lock")).await.map_err(PythonError::io("an environment cannot be locked"))?;
    // Another may have built it while this one waited.
    if let Some(packages) = packages_of(&place, interpreter) {
        return Ok(packages);
    }
    // Of one who was killed in the middle. The lock is held, so nobody is at work in it.
    let building = place.with_extension("building");
    let _ = fs::remove_dir_all(&building);
    let built = match timeout(config.install_timeout, build(requirements, interpreter, config, &building, progress)).await {
        Ok(built) => built,
        Err(_) => Err(PythonError::Install(format!("it took longer than {} s", config.install_timeout.as_secs()))),
    };
    let moved = built.and_then(|()| fs::rename(&building, &place).map_err(PythonError::io("an environment cannot be moved to its place")));
    if moved.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    drop(lock);
    moved?;
    packages_of(&place, interpreter).ok_or_else(|| PythonError::Install("the environment has no packages".into()))
}

fn packages_of(place: &Path, interpreter: &Interpreter) -> Option<PathBuf> {
    let mut version = interpreter.version.splitn(3, '.');
    let (major, minor) = (version.next()?, version.next()?);
    let packages = place.join(format!("lib/python{major}.{minor}/site-packages"));
    packages.is_dir().then_some(packages)
}

async fn locked(path: PathBuf) -> std::io::Result<File> {
    let lock = tokio::task::spawn_blocking(move || {
        let lock = File::create(path)?;
        lock.lock()?;
        Ok(lock)
    });
    lock.await.unwrap_or_else(|e| Err(std::io::Error::other(e)))
}

async fn build(
    requirements: &Requirements,
    interpreter: &Interpreter,
    config: &PythonConfig,
    building: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), PythonError> {
    progress("making an environment");
    let mut command = Command::new(&interpreter.executable);
    say(config, command.args(["-I", "-m", "venv"]).arg(building), progress).await?;
    let list = building.join("requirements.txt");
    fs::write(&list, requirements.0.join("\n")).map_err(PythonError::io("the requirements cannot be written"))?;
    let mut command = Command::new(building.join("bin/python"));
    command.args([
        "-I",
        "-m",
        "pip",
        "install",
        "--no-input",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-compile",
        "--progress-bar=off",
    ]);
    if !config.allow_source_packages {
        command.arg("--only-binary=:all:");
    }
    say(config, command.arg("-r").arg(&list), progress).await?;
    let size = folder::size_of(building, config.environment_bytes);
    if size > config.environment_bytes {
        return Err(PythonError::Install(format!("the packages have more than {} MiB", config.environment_bytes >> 20)));
    }
    Ok(())
}

/// Runs a command in a process group of its own, with pip's environment and nothing of the server's.
async fn say(config: &PythonConfig, command: &mut Command, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<(), PythonError> {
    let cannot = || PythonError::io("an installer cannot be run");
    let (reader, writer) = std::io::pipe().map_err(cannot())?;
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(&config.pip_environment)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(cannot())?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(cannot())?;
    // The command holds the writing end, and the end of the pipe is waited for.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(cannot())?;
    let mut lines = BufReader::new(pipe).lines();
    let mut last: Vec<String> = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        progress(&line);
        last.push(line);
        if last.len() > LAST_WORDS {
            last.remove(0);
        }
    }
    let status = child.wait().await.map_err(cannot())?;
    std::mem::forget(group);
    if status.success() { Ok(()) } else { Err(PythonError::Install(last.join("\n"))) }
}

/// Kills a group of processes that is dropped in the middle of its work.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_taken() {
        let text =
            "# tools\nattrs==25.1.0\n\nidna>=3,<4 ; python_version >= '3.9'  # names\nrich[jupyter]~=13.0 \\\n  --hash=sha256:00aa\n";
        let read = Requirements::parse(text).expect("taken");
        assert_eq!(read.0, ["attrs==25.1.0", "idna>=3,<4 ; python_version >= '3.9'", "rich[jupyter]~=13.0    --hash=sha256:00aa"]);
        assert!(Requirements::parse(" \n# nothing\n").expect("taken").is_empty());
    }

    #[test]
    fn what_could_read_files_or_run_code_is_refused_with_its_line() {
        for bad in [
            "-r /etc/passwd",
            "--index-url https://evil.example",
            "-e .",
            "./local",
            "a @ https://evil.example/a.whl",
            "git+https://evil.example/a",
            "pkg/../../x",
            "attrs --no-binary :all:",
            "attrs --config-settings=x",
        ] {
            let error = Requirements::parse(&format!("attrs\n{bad}")).expect_err(bad);
            assert!(matches!(error, PythonError::Requirements { line: 2, .. }), "{bad}: {error}");
        }
    }
}
