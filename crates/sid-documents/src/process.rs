//! A reader in a process of its own: what it uses up, and how it ends, is its own affair.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Stdio, exit};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use sid_types::DocumentFormat;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::error::Unreadable;
use crate::limits::Limits;
use crate::read::{ReadDocument, read};
use crate::reader::{DocumentReader, on_thread};

/// The first argument of a program that is to read a document.
const MARK: &str = "sid-read-document";

/// Standard input, output and error: a process that may have no more opens neither a file nor a connection.
const STREAMS: u64 = 3;
/// Most readers at a time, each with all the memory that it may take; more wait.
const AT_ONCE: usize = 4;

/// The second one.
#[derive(Serialize, Deserialize)]
struct Plan {
    format: DocumentFormat,
    limits: Limits,
}

/// Reads each document in a process of its own, with bounds of memory and time that the kernel keeps, no environment and no files.
#[derive(Debug, Clone)]
pub struct OwnProcess {
    limits: Limits,
    program: PathBuf,
    room: Arc<Semaphore>,
}

impl OwnProcess {
    /// Starts this program again, which calls [`launch_if_asked`] first in `main`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // Linux finds it under this name even after it was replaced by a newer one.
        let own = if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe().unwrap_or_default() };
        Self::with_program(limits, own)
    }

    /// Starts another program, which calls [`launch_if_asked`] first in `main`.
    #[must_use]
    pub fn with_program(limits: Limits, program: impl Into<PathBuf>) -> Self {
        Self { limits, program: program.into(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn ask(&self, format: DocumentFormat, content: &[u8]) -> Result<ReadDocument, Unreadable> {
        let failed = |problem: String| Unreadable::NoReader { problem };
        let plan = serde_json::to_string(&Plan { format, limits: self.limits.clone() }).map_err(|e| failed(e.to_string()))?;
        let mut child = Command::new(&self.program)
            .arg(MARK)
            .arg(plan)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (Some(mut into), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no pipes".into()));
        };
        let write = async move {
            // It may have ended before it has read all: its answer tells why.
            let _ = into.write_all(content).await;
        };
        // Characters as JSON writes them, and places.
        let most = self.limits.characters.saturating_mul(8).saturating_add(64 << 20);
        let mut answer = Vec::new();
        let mut bounded = out.take(most);
        let ((), read) = tokio::join!(write, bounded.read_to_end(&mut answer));
        read.map_err(|e| failed(e.to_string()))?;
        let ended = child.wait().await.map_err(|e| failed(e.to_string()))?;
        match serde_json::from_slice(&answer) {
            Ok(outcome) if ended.success() => outcome,
            _ => Err(Unreadable::UsedUp { what: "memory or time".into() }),
        }
    }
}

#[async_trait]
impl DocumentReader for OwnProcess {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn read(&self, format: DocumentFormat, content: Vec<u8>) -> Result<ReadDocument, Unreadable> {
        let _room = self.room.acquire().await.map_err(|e| Unreadable::NoReader { problem: e.to_string() })?;
        let asked = tokio::time::timeout(self.limits.time, self.ask(format, &content)).await;
        asked.unwrap_or_else(|_| Err(Unreadable::UsedUp { what: "time".into() }))
    }
}

/// Becomes the reader of one document if this program was started for that, and does not return then. Else it does nothing.
///
/// Call it first in `main`, before any thread, file or log.
pub fn launch_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next() != Some(OsString::from(MARK)) {
        return;
    }
    let plan = arguments.next().and_then(|plan| plan.into_string().ok());
    let Some(plan) = plan.and_then(|plan| serde_json::from_str::<Plan>(&plan).ok()) else { exit(2) };
    let done = confine(&plan.limits).is_ok().then(|| answer(plan)).flatten();
    exit(if done.is_some() { 0 } else { 2 });
}

/// Reads standard input, and writes what it says, or why it cannot be read.
fn answer(plan: Plan) -> Option<()> {
    let worker = move || {
        let mut content = Vec::new();
        std::io::stdin().lock().read_to_end(&mut content).ok()?;
        let outcome = read(plan.format, &content, &plan.limits);
        let mut out = std::io::stdout().lock();
        out.write_all(&serde_json::to_vec(&outcome).ok()?).ok()?;
        out.flush().ok()
    };
    let (done, ended) = std::sync::mpsc::channel();
    let thread = on_thread(move || {
        let _ = done.send(worker());
    });
    thread.ok()?.join().ok()?;
    ended.recv().ok().flatten()
}

/// Soft and hard limits alike; what is less already stays so.
fn confine(limits: &Limits) -> Result<(), rustix::io::Errno> {
    let seconds = limits.time.as_secs().max(1);
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, STREAMS), (Resource::Cpu, seconds), (Resource::As, limits.memory)]
    {
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
