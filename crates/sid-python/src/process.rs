//! One process for one job: started, spoken to, watched, ended, cleared away.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cgroup::Groups;
use crate::folder::Folder;
use crate::keeper::Keeper;
use crate::plan::{FAILED, MARK, Plan};
use crate::{Failure, Limits, PythonError};

/// Bytes of what was printed that are kept: its end, where errors are.
const KEPT: usize = 2_000;
/// How long a process may take to end after it closed its channel, or was killed.
const END: Duration = Duration::from_secs(2);
/// How often the working folder is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes around a result: the largest answer that the host makes by itself.
const AROUND: usize = 64 << 10;

/// What is to be run.
pub(crate) struct Job {
    pub(crate) launcher: PathBuf,
    pub(crate) plan: Plan,
    /// Sid's own part, sent first.
    pub(crate) host: Vec<u8>,
    /// What to do, sent second.
    pub(crate) task: Value,
    pub(crate) deadline: Instant,
    pub(crate) folder: Folder,
    pub(crate) groups: Groups,
}

/// How it went, before words.
enum End {
    Answered(Value),
    /// The channel was closed, or carried nonsense.
    Silent {
        was_ready: bool,
    },
    TimedOut,
    Stopped(String),
}

/// Runs a job to its end. Nothing of it is left when this returns: no process, no folder, no group.
pub(crate) async fn run(keeper: &Keeper, job: Job, cancelled: CancellationToken) -> Result<Value, Failure> {
    let Job { launcher, plan, host, task, deadline, folder, groups } = job;
    let limits = plan.limits.clone();
    let started = start(keeper, &launcher, &plan).await.map_err(|e| unavailable(&e))?;
    let Started { mut child, mut channel, mut printed } = started;
    let end = tokio::select! {
        biased;
        () = cancelled.cancelled() => End::Stopped("was no longer wanted".into()),
        end = converse(&mut channel, &host, &task, limits.result_bytes) => end,
        () = printed.read_over(limits.printed_bytes) => End::Stopped(format!("printed more than {} MiB", limits.printed_bytes >> 20)),
        did = watch(&folder, &limits) => End::Stopped(did),
        () = sleep_until(deadline) => End::TimedOut,
    };
    let how = match &end {
        End::Silent { .. } => how_it_ended(&child).await,
        _ => None,
    };
    kill(&child);
    groups.kill();
    // Not reaped before it is killed: until then its number belongs to nobody else.
    if timeout(END, child.wait()).await.is_err() {
        tracing::warn!("a function's process does not end");
    }
    let _ = timeout(END, printed.read_over(u64::MAX)).await;
    let printed = printed.end();
    // The folder may be large; removing it is work for a thread that may wait.
    let _ = tokio::task::spawn_blocking(move || drop((folder, groups))).await;
    match end {
        End::Answered(answer) => understand(answer, printed),
        End::TimedOut => Err(Failure::TimedOut { timeout_ms: limits.timeout_ms, printed }),
        End::Stopped(did) => Err(Failure::Stopped { did, printed }),
        End::Silent { was_ready: false } if how.as_ref().and_then(WaitIdStatus::exit_status) == Some(i32::from(FAILED)) => {
            tracing::error!(problem = printed, "a function cannot be confined");
            Err(Failure::Unavailable("this server cannot confine functions at the moment".into()))
        }
        End::Silent { .. } => Err(Failure::Died { how: describe(how.as_ref(), &limits), printed }),
    }
}

fn unavailable(error: &io::Error) -> Failure {
    tracing::error!(%error, "a function's process cannot be started");
    Failure::Unavailable("this server cannot start functions at the moment".into())
}

struct Started {
    child: Child,
    channel: UnixStream,
    printed: Printed,
}

async fn start(keeper: &Keeper, launcher: &PathBuf, plan: &Plan) -> io::Result<Started> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (reader, writer) = io::pipe()?;
    let home = plan.folder.as_os_str();
    let mut command = Command::new(launcher);
    command
        .arg(MARK)
        .arg(serde_json::to_string(plan)?)
        .env_clear()
        .envs([("HOME", home), ("TMPDIR", home)])
        .envs([("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("TZ", "UTC")])
        // One thread each: libraries that start one for every processor reserve memory for them all.
        .envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"), ("MALLOC_ARENA_MAX", "2")])
        .current_dir(&plan.folder)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(writer.try_clone()?))
        .stderr(Stdio::from(writer))
        .kill_on_drop(true);
    let child = keeper.spawn(command).await?;
    let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok(Started { child, channel: UnixStream::from_std(ours)?, printed: Printed { pipe, kept: Vec::new(), total: 0, is_over: false } })
}

/// Sends Sid's own part and the task, waits for the answer.
async fn converse(channel: &mut UnixStream, host: &[u8], task: &Value, result_bytes: usize) -> End {
    let mut was_ready = false;
    let talk = async {
        send(channel, host).await?;
        receive(channel, AROUND).await?;
        was_ready = true;
        send(channel, task.to_string().as_bytes()).await?;
        receive(channel, result_bytes.saturating_add(AROUND)).await
    };
    match talk.await {
        Ok(answer) => End::Answered(answer),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => End::Stopped(format!("answered with {e}")),
        Err(_) => End::Silent { was_ready },
    }
}

async fn send(channel: &mut UnixStream, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| io::Error::other("a message of more than 4 GiB"))?;
    channel.write_all(&length.to_be_bytes()).await?;
    channel.write_all(data).await
}

/// A message of JSON. The other side is not trusted: neither the length that it names nor what it sends.
async fn receive(channel: &mut UnixStream, most: usize) -> io::Result<Value> {
    let mut length = [0; 4];
    channel.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes; at most {most} are taken")));
    }
    let mut data = vec![0; length];
    channel.read_exact(&mut data).await?;
    serde_json::from_slice(&data).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "something that is not JSON"))
}

/// What the process prints, the end of it.
struct Printed {
    pipe: pipe::Receiver,
    kept: Vec<u8>,
    total: u64,
    is_over: bool,
}

impl Printed {
    /// Reads for ever, or until more than `most` bytes were printed. At the end of the pipe: only if that is what is waited for.
    async fn read_over(&mut self, most: u64) {
        let mut buffer = vec![0; 64 << 10];
        while !self.is_over {
            match self.pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => self.is_over = true,
                Ok(n) => {
                    self.total += n as u64;
                    self.kept.extend_from_slice(&buffer[..n]);
                    let surplus = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..surplus);
                }
            }
            if self.total > most {
                return;
            }
        }
        if most < u64::MAX {
            std::future::pending::<()>().await;
        }
    }

    fn end(self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        text.trim_start_matches(char::REPLACEMENT_CHARACTER).trim().to_owned()
    }
}

/// Ends with what was done that may not be done.
async fn watch(folder: &Folder, limits: &Limits) -> String {
    loop {
        sleep(LOOK).await;
        if let Some(did) = folder.excess(limits) {
            return did;
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Kills the process and all that it started: they cannot leave its group.
fn kill(child: &Child) {
    if let Some(pid) = pid(child) {
        // Before it is a group of its own, there is only itself.
        if kill_process_group(pid, Signal::KILL).is_err() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Waits a moment for the end, without reaping; `None` when it has not ended.
async fn how_it_ended(child: &Child) -> Option<WaitIdStatus> {
    let pid = pid(child)?;
    let until = Instant::now() + END;
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => sleep(Duration::from_millis(5)).await,
            _ => return None,
        }
    }
}

fn describe(how: Option<&WaitIdStatus>, limits: &Limits) -> String {
    let Some(how) = how else { return "closed its channel".into() };
    match (how.exit_status(), how.terminating_signal()) {
        (Some(code), _) => format!("ended its own process with exit code {code}"),
        (_, Some(signal)) if signal == Signal::XCPU.as_raw() => format!("used more than {} s of processor time", limits.cpu_seconds),
        (_, Some(signal)) if signal == Signal::KILL.as_raw() => "was killed, most likely for using too much memory".into(),
        (_, Some(signal)) => format!("crashed (signal {signal})"),
        _ => "ended".into(),
    }
}

fn understand(mut answer: Value, printed: String) -> Result<Value, Failure> {
    let Some(error) = answer.get_mut("error") else { return Ok(answer) };
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    match error.get("kind").and_then(Value::as_str) {
        Some("arguments") => Err(Failure::Arguments(message)),
        Some("result") => Err(Failure::Result(message)),
        _ => {
            let raised: crate::words::Raised = serde_json::from_value(error.take()).unwrap_or_default();
            Err(Failure::Raised(crate::words::Raised { printed, ..raised }))
        }
    }
}

impl From<PythonError> for Failure {
    fn from(error: PythonError) -> Self {
        match error {
            PythonError::Install(_) | PythonError::Requirements { .. } => Self::Unavailable(error.to_string()),
            error => {
                tracing::error!(%error, "a function cannot be run");
                Self::Unavailable("this server cannot run functions at the moment".into())
            }
        }
    }
}
