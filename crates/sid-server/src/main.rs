//! `sid-server`: reads the configuration, opens the server, serves until it is told to stop.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sid_server::config::{Config, LogFormat, Sources, reference_markdown};
use sid_server::{App, OpenError};
use tokio::net::TcpListener;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Perpetual agents with paged memory, as a server.
#[derive(Parser)]
#[command(name = "sid-server", version)]
struct Arguments {
    /// The configuration file; ./sid.toml when it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one option, such as `server.listen=0.0.0.0:8700`; as often as needed.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Short for `--set server.listen=...`.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Short for `--set store.path=...`.
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// Short for `--set store.kind=...`.
    #[arg(long, global = true, value_name = "KIND")]
    store: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves (the default).
    Serve,
    /// Looks at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Prepares a Postgres database, or brings it to this version: once, before the servers start. Prints the first operator key.
    Migrate,
    /// Makes keys without a server, on the store itself.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Prints the OpenAPI document.
    #[command(hide = true)]
    Openapi,
    /// Prints who may do what, as Markdown.
    #[command(hide = true)]
    Access,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Makes an operator key and prints it, once. On the embedded store, the server must be stopped.
    Create {
        /// A note for humans.
        #[arg(long, default_value = "made by sid-server key create")]
        name: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Checks the configuration and prints the effective values, secrets redacted.
    Check,
    /// Prints the reference of all options as Markdown.
    #[command(hide = true)]
    Reference,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, found `{text}`"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl Arguments {
    fn sources(&self) -> Sources {
        let short = [("server.listen", &self.listen), ("store.path", &self.data), ("store.kind", &self.store)];
        let short = short.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        Sources::of_process(self.config.clone(), self.set.iter().cloned().chain(short).collect())
    }
}

/// Standard output may be a closed pipe: nothing is lost then.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn fail(error: &OpenError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sid-server: error {}: {error}", error.code());
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    sid_server::launch_if_asked();
    #[cfg(feature = "failpoints")]
    sid_store::crash::arm(&std::env::var("FAILPOINTS").unwrap_or_default());
    let arguments = Arguments::parse();
    let wants_config =
        !matches!(arguments.command, Some(Command::Openapi | Command::Access | Command::Config { command: ConfigCommand::Reference }));
    if !wants_config {
        print(&match arguments.command {
            Some(Command::Openapi) => sid_server::openapi_json() + "\n",
            Some(Command::Access) => sid_server::access_markdown(),
            _ => reference_markdown(),
        });
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(arguments.sources()) {
        Ok(config) => config,
        Err(e) => return fail(&e.into()),
    };
    if let Some(Command::Config { .. }) = arguments.command {
        print(&config.show());
        return ExitCode::SUCCESS;
    }
    if matches!(arguments.command, None | Some(Command::Serve)) {
        start_log(&config);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("sid").build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "sid-server: error SID-API-INTERNAL: cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    let done = match arguments.command {
        Some(Command::Key { command: KeyCommand::Create { name } }) => {
            let made = runtime.block_on(sid_server::create_operator_key(&config, &name));
            made.map(|key| print(&format!("operator key (shown once): {key}\n")))
        }
        Some(Command::Migrate) => runtime.block_on(sid_server::migrate(&config)).map(|(version, key)| {
            print(&format!("the database has schema {version}, which is this version's\n"));
            if let Some(key) = key {
                print(&format!("first operator key (shown once): {key}\n"));
            }
        }),
        _ => runtime.block_on(serve(config)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

fn start_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let filter = filter.and(filter_fn(sid_server::may_be_logged));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => tracing_subscriber::registry().with(log.with_filter(filter)).init(),
        LogFormat::Json => tracing_subscriber::registry().with(log.json().with_filter(filter)).init(),
    }
}

async fn serve(config: Config) -> Result<(), OpenError> {
    let started = std::time::Instant::now();
    let wanted: SocketAddr = config.server.listen.parse().map_err(|_| sid_server::config::ConfigError::BadValue {
        key: "server.listen".into(),
        problem: "is not an address".into(),
        place: None,
    })?;
    // The port first: a second server on the same port must not touch the data folder.
    let listener = TcpListener::bind(wanted).await.map_err(|source| OpenError::Listen { address: wanted, source })?;
    let address = listener.local_addr().unwrap_or(wanted);
    let signals = StopSignals::new().map_err(|source| OpenError::Listen { address, source })?;
    let app = App::open(config).await?;
    if let Some(key) = app.first_key() {
        print(&format!("first operator key (shown once): {key}\n"));
    }
    print(&format!("sid-server listens on http://{address}\n"));
    tracing::info!(%address, ready_ms = started.elapsed().as_millis() as u64, "ready");
    app.serve(listener, stop_signal(signals)).await.map_err(|source| OpenError::Listen { address, source })
}

/// SIGTERM and Ctrl-C, heard from the moment on when this is made: not a moment after the server has said that it is ready.
#[cfg(unix)]
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Ready at the first signal; a second one ends the process at once.
async fn stop_signal(mut signals: StopSignals) {
    signals.next().await;
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}
