//! Local servers: programs of the operator's.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The first argument of a process that is to become a local server.
const MARK: &str = "sid-mcp-launch";
/// Bytes of what it writes to its standard error that are kept: the end.
const KEPT: usize = 1_000;
/// How long its last words are waited for.
const WORDS: Duration = Duration::from_millis(500);

/// A local server: what is started. Only an operator may name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// A program that calls [`launch_if_asked`] first: with it, the server ends when this process does, however it ends. `None` = it is told
    /// by the end of its input only.
    pub launcher: Option<PathBuf>,
    /// The program.
    pub command: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it works.
    pub folder: PathBuf,
}

/// Becomes a local server's process if this program was started for that, and does not return then. Else it does nothing.
///
/// Call it first in `main`.
pub fn launch_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next() != Some(OsString::from(MARK)) {
        return;
    }
    let problem = launch(arguments);
    let _ = writeln!(std::io::stderr(), "{problem}");
    std::process::exit(127);
}

/// Answers only when it failed.
#[cfg(target_os = "linux")]
fn launch(mut arguments: impl Iterator<Item = OsString>) -> String {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let parent = arguments.next().and_then(|p| p.to_str()?.parse::<u32>().ok());
    let Some(program) = arguments.next() else { return "there is nothing to start".into() };
    if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("it cannot be made to end with its parent: {e}");
    }
    // The parent may have died before it was asked for.
    if parent.is_none() || getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs()) != parent {
        return "its parent is gone".into();
    }
    let error = std::process::Command::new(&program).args(arguments).exec();
    format!("{} cannot be started: {error}", program.display())
}

#[cfg(not(target_os = "linux"))]
fn launch(_: impl Iterator<Item = OsString>) -> String {
    "local servers are started without a launcher here".into()
}

/// A running local server. Dropped, it is killed with all that it started.
pub(crate) struct Process {
    child: Child,
    /// The last words on its standard error.
    said: Arc<Mutex<Vec<u8>>>,
    /// Reads them.
    reader: JoinHandle<()>,
    /// Its thread waits for this to go.
    _keeper: mpsc::Sender<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // No number once it has been reaped: then it would be somebody else's.
        #[cfg(unix)]
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.start_kill();
    }
}

impl Process {
    /// Its last words, once it has ended.
    pub(crate) async fn last_words(&mut self) -> String {
        let _ = timeout(WORDS, &mut self.reader).await;
        String::from_utf8_lossy(&self.said.lock()).trim().to_owned()
    }
}

impl Program {
    fn command(&self) -> Command {
        let mut command = match self.launcher.as_ref().filter(|_| cfg!(target_os = "linux")) {
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.arg(MARK).arg(std::process::id().to_string()).arg(&self.command);
                command
            }
            None => Command::new(&self.command),
        };
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned()).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        command
    }

    /// Starts it. Errors: in words, for the operator.
    pub(crate) async fn start(&self, name: &str) -> Result<(Process, ChildStdout, ChildStdin), String> {
        let unable = |e: std::io::Error| format!("{} cannot be started: {e}", self.command.display());
        let mut command = self.command();
        let (keeper, until) = mpsc::channel::<()>();
        let (answer, started) = oneshot::channel();
        let runtime = Handle::current();
        // A process that is to end with its parent ends with the *thread* that started it, and threads of a runtime come and go.
        let thread = thread::Builder::new().name("sid-mcp-server".into()).spawn(move || {
            let _runtime = runtime.enter();
            if answer.send(command.spawn()).is_ok() {
                let _ = until.recv();
            }
        });
        thread.map_err(unable)?;
        let mut child = started.await.map_err(|_| format!("{} cannot be started", self.command.display()))?.map_err(unable)?;
        let (Some(stdout), Some(stdin), Some(mut stderr)) = (child.stdout.take(), child.stdin.take(), child.stderr.take()) else {
            return Err("it has no pipes".into());
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let (kept, name) = (said.clone(), name.to_owned());
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
                tracing::debug!(server = name, "{}", String::from_utf8_lossy(&buffer[..n]).trim_end());
                let mut kept = kept.lock();
                kept.extend_from_slice(&buffer[..n]);
                let over = kept.len().saturating_sub(KEPT);
                kept.drain(..over);
            }
        });
        Ok((Process { child, said, reader, _keeper: keeper }, stdout, stdin))
    }
}
