#![doc = include_str!("../README.md")]

pub mod cli;
pub mod client;
pub mod commands;
pub mod error;
pub mod output;
pub mod session;
pub mod wire;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::CliError;
use crate::session::Session;

/// Reads the command line of this process, does what it says and answers the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    start_log(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let error = CliError::failed("SID-CLI-RUNTIME", format!("cannot start: {e}"), "are there enough threads and file handles?");
            output::Output::new(cli.global.json, cli.global.no_color, false).error(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let code = runtime.block_on(call(cli));
    // A thread that waits for a line of standard input must not hold the end up.
    runtime.shutdown_background();
    code
}

async fn call(cli: cli::Cli) -> ExitCode {
    let agent = match &cli.command {
        cli::Command::Mcp(args) => args.agent.clone(),
        cli::Command::Context(args) => args.agent.as_deref().map(|agent| session::named("agent", agent)),
        _ => None,
    };
    let session = Session::new(cli.global, commands::acts_as_user(&cli.command)).as_agent(agent);
    let result = Box::pin(commands::run(cli.command, &session)).await;
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::BrokenPipe | CliError::Interrupted) {
                session.out.error(&error);
            }
            ExitCode::from(error.exit_code())
        }
    };
    session.close().await;
    code
}

/// The log of an embedded store and engine, on standard error. Quiet unless asked, or when `RUST_LOG` says what to log.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "info,sqlx=warn,hyper=warn,ort=warn",
        _ => "debug,sqlx=warn,hyper=info,h2=info,rustyline=info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = log.with_filter(filter.and(filter_fn(sid_server::may_be_logged)));
    let _ = tracing_subscriber::registry().with(log).try_init();
}
