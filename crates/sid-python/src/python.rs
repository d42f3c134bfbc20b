//! The entry point: an interpreter, its sandbox, and the calls in it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::confine::Enforced;
use crate::environment::{self, Requirements};
use crate::folder::{Folder, Folders};
use crate::interpreter::Interpreter;
use crate::keeper::Keeper;
use crate::plan::{MARK, Plan};
use crate::process::{self, Job};
use crate::{Failure, Grants, Inspected, Limits, Module, PythonConfig, PythonError};

/// Longest that loading and describing a module may take.
const INSPECT: Duration = Duration::from_secs(20);

/// Where the server is root, calls become these users by turns: numbers that systems keep for users without an account.
const USERS: Range<u32> = 61_184..65_520;
/// How many calls of this process have had a user.
static TURNS: AtomicU32 = AtomicU32::new(0);

/// Runs Python functions. Cheap to clone; one for a server.
#[derive(Debug, Clone)]
pub struct Python {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: PythonConfig,
    interpreter: Interpreter,
    host: Vec<u8>,
    enforced: Enforced,
    folders: Folders,
    keeper: Keeper,
    free: Arc<Semaphore>,
}

/// One call.
#[derive(Clone, Default)]
pub struct Call {
    /// What the module calls the function ([`Function::function`](crate::Function::function)).
    pub function: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
    /// Values of the secrets that it may read with `sid.secret(name)`. They are sent over the private channel alone.
    pub secrets: BTreeMap<String, String>,
    /// Longest that it may take; never more than the module's limit.
    pub timeout: Option<Duration>,
}

/// Without the values of secrets.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, arguments, secrets, timeout } = self;
        let names: Vec<&String> = secrets.keys().collect();
        let mut shown = f.debug_struct("Call");
        shown.field("function", function).field("arguments", arguments).field("secrets", &names).field("timeout", timeout).finish()
    }
}

impl Python {
    /// Asks the interpreter where it lives, and tries the sandbox out.
    ///
    /// Errors: [`PythonError::Unconfined`] when a part of the sandbox is missing here and [`PythonConfig::allow_unconfined`] is off.
    pub async fn open(config: PythonConfig) -> Result<Self, PythonError> {
        let interpreter = Interpreter::probe(&config.python).await?;
        let host = interpreter.host()?;
        let calls = config.folder.join("calls");
        let folders = tokio::task::spawn_blocking(move || Folders::open(&calls)).await.map_err(std::io::Error::other).and_then(|f| f);
        let folders = folders.map_err(PythonError::io("the folder of calls cannot be made"))?;
        let keeper = Keeper::start().map_err(PythonError::io("no thread can be started"))?;
        let free = Arc::new(Semaphore::new(config.most_at_once.max(1)));
        let mut inner = Inner { config, interpreter, host, enforced: Enforced::default(), folders, keeper, free };
        inner.enforced = inner.try_out().await?;
        tracing::info!(python = inner.interpreter.version, enforced = %inner.enforced, "functions in Python");
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is in force for every call.
    #[must_use]
    pub fn enforced(&self) -> &Enforced {
        &self.inner.enforced
    }

    /// The interpreter's version, like `3.11.7`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.interpreter.version
    }

    /// Installs the packages of a module, if they are not there; `progress` hears each line of the installer.
    ///
    /// Errors: [`PythonError::Requirements`] and [`PythonError::Install`], in words for whoever wrote the requirements.
    pub async fn prepare(&self, module: &Module, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<(), PythonError> {
        self.inner.packages(module, progress).await.map(drop)
    }

    /// Loads a module in the sandbox, and describes its functions. Its packages are installed first.
    ///
    /// Errors: [`PythonError::Module`] when it cannot be loaded; what is wrong with single functions is in the answer.
    pub async fn inspect(&self, module: &Module) -> Result<Inspected, PythonError> {
        let packages = self.inner.packages(module, &|_| {}).await?;
        // A module that answers with more than this is none that a model could choose from.
        let limits = Limits { result_bytes: 1 << 20, ..module.limits.clone() };
        let task = json!({"do": "describe"});
        let deadline = Instant::now() + INSPECT;
        let answer = self.run(module, limits, packages, task, deadline).await.map_err(|f| match f {
            Failure::TimedOut { .. } => PythonError::Module(format!("loading it took longer than {} s", INSPECT.as_secs())),
            failure => PythonError::Module(failure.to_string()),
        })?;
        serde_json::from_value(answer).map_err(|e| PythonError::Module(format!("its description cannot be read: {e}")))
    }

    /// Calls a function in a process of its own, and answers what it returned.
    ///
    /// Dropping the future ends the process. Errors are for the model.
    pub async fn call(&self, module: &Module, call: Call) -> Result<Value, Failure> {
        let most = Duration::from_millis(module.limits.timeout_ms);
        let had = call.timeout.map_or(most, |t| t.min(most));
        let deadline = Instant::now() + had;
        let limits = Limits { timeout_ms: u64::try_from(had.as_millis()).unwrap_or(u64::MAX), ..module.limits.clone() };
        let packages = self.packages_until(module, deadline).await?;
        let task = json!({"do": "call", "function": call.function, "arguments": call.arguments, "secrets": call.secrets});
        let mut answer = self.run(module, limits, packages, task, deadline).await?;
        Ok(answer.get_mut("value").map(Value::take).unwrap_or_default())
    }

    /// The packages, if they are there in time. Their installation goes on when they are not: the next call will find them.
    async fn packages_until(&self, module: &Module, deadline: Instant) -> Result<Option<PathBuf>, Failure> {
        if module.requirements.is_none() {
            return Ok(None);
        }
        let (inner, module) = (Arc::clone(&self.inner), module.clone());
        let installing = tokio::spawn(async move { inner.packages(&module, &|_| {}).await });
        match timeout_at(deadline, installing).await {
            Ok(Ok(packages)) => Ok(packages?),
            Ok(Err(_)) => Err(Failure::Unavailable("its packages could not be installed".into())),
            Err(_) => Err(Failure::Unavailable("its packages are still being installed; try again in a minute".into())),
        }
    }

    async fn run(
        &self,
        module: &Module,
        limits: Limits,
        packages: Option<PathBuf>,
        mut task: Value,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let inner = Arc::clone(&self.inner);
        let Ok(permit) = timeout_at(deadline, Arc::clone(&inner.free).acquire_owned()).await else {
            return Err(Failure::Unavailable("too many functions are running; try again later".into()));
        };
        task["module"] = module.name.clone().into();
        task["source"] = module.source.clone().into();
        task["paths"] = json!(packages.iter().collect::<Vec<_>>());
        task["result_limit"] = limits.result_bytes.into();
        let job = inner.job(limits, module.grants, packages, task, deadline)?;
        // In a task of its own: however the caller ends, the process is killed and its folder cleared away.
        let cancelled = CancellationToken::new();
        let on_drop = cancelled.clone().drop_guard();
        let running = tokio::spawn(async move {
            let result = process::run(&inner.keeper, job, cancelled).await;
            drop(permit);
            result
        });
        let result = running.await;
        on_drop.disarm();
        result.unwrap_or_else(|_| Err(Failure::Unavailable("the server is stopping".into())))
    }
}

impl Inner {
    async fn packages(&self, module: &Module, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<Option<PathBuf>, PythonError> {
        let requirements = Requirements::parse(module.requirements.as_deref().unwrap_or_default())?;
        if requirements.is_empty() {
            return Ok(None);
        }
        environment::ready(&requirements, &self.interpreter, &self.config, progress).await.map(Some)
    }

    fn job(&self, limits: Limits, grants: Grants, packages: Option<PathBuf>, task: Value, deadline: Instant) -> Result<Job, Failure> {
        if grants.processes && !self.config.allow_unconfined && !(self.enforced.groups && self.enforced.signals) {
            return Err(Failure::Unavailable("this server cannot confine functions that start processes".into()));
        }
        let folder = self.folders.make().map_err(PythonError::io("a working folder cannot be made"))?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let groups = self.config.cgroups.make(&format!("sid-{}-{name}", std::process::id()), &limits)?;
        let mut plan = self.plan(limits, grants, &folder);
        plan.program = Some((self.interpreter.executable.clone(), Interpreter::arguments()));
        plan.read.extend(packages);
        plan.cgroups = groups.folders().to_vec();
        Ok(Job { launcher: self.config.launcher.clone(), plan, host: self.host.clone(), task, deadline, folder, groups })
    }

    fn plan(&self, limits: Limits, grants: Grants, folder: &Folder) -> Plan {
        // Servers of one machine begin at different places.
        let turn = std::process::id().wrapping_mul(101).wrapping_add(TURNS.fetch_add(1, Ordering::Relaxed));
        Plan {
            program: None,
            parent: std::process::id(),
            user: USERS.start + turn % (USERS.end - USERS.start),
            read: self.interpreter.reads(grants.network),
            execute: self.interpreter.executes(grants.processes),
            folder: folder.path().to_owned(),
            cgroups: Vec::new(),
            limits,
            grants,
            allow_unconfined: self.config.allow_unconfined,
        }
    }

    /// Starts a launcher that reports instead of becoming Python.
    async fn try_out(&self) -> Result<Enforced, PythonError> {
        let folder = self.folders.make().map_err(PythonError::io("a working folder cannot be made"))?;
        let groups = self.config.cgroups.make(&format!("sid-{}-try", std::process::id()), &Limits::default())?;
        let mut plan = self.plan(Limits::default(), Grants::default(), &folder);
        plan.cgroups = groups.folders().to_vec();
        let mut command = Command::new(&self.config.launcher);
        command.arg(MARK).arg(serde_json::to_string(&plan).unwrap_or_default()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let cannot = || PythonError::io("the launcher cannot be started");
        let child = self.keeper.spawn(command).await.map_err(cannot())?;
        let output = child.wait_with_output().await.map_err(cannot())?;
        if !output.status.success() {
            return Err(PythonError::Unconfined(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let not_a_launcher = |_| PythonError::Unconfined(format!("{} does not call `launch_if_asked`", self.config.launcher.display()));
        serde_json::from_slice(&output.stdout).map_err(not_a_launcher)
    }
}
