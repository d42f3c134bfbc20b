//! What a message costs beside the model: `cargo xtask bench turn`.
//!
//! Starts the release `sid-server` named by `--server` on the embedded store, or on a Postgres of its own (durable, fsync on both), against an instant model that lives in
//! this process, and measures from outside: latency over HTTP, CPU and memory from the operating system's own accounting.
//! Prints one row per figure: goal, measured, how. It judges nothing: timing decides no test.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to its reader")]

mod api;
mod host;
mod measures;
mod model;
mod process;
mod shared;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// What to measure, from the command line.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) server: PathBuf,
    /// Folder with MiniLM, for the row that needs it.
    pub(crate) minilm: Option<PathBuf>,
    pub(crate) onnxruntime: Option<PathBuf>,
    /// A tenth of everything: for trying the bench itself.
    pub(crate) quick: bool,
    /// On a Postgres of its own, which syncs to disk, in place of the embedded store.
    pub(crate) on_postgres: bool,
    /// Most runs that a server works at; 0 = no limit.
    pub(crate) runs_at_once: usize,
    /// Only this part.
    only: Option<String>,
}

const PARTS: [&str; 8] = ["start", "sequential", "concurrent", "prefix", "search", "history", "trips", "replicas"];

/// What there is to measure of a database only.
const POSTGRES_ONLY: [&str; 2] = ["trips", "replicas"];

fn options() -> Result<Options> {
    let mut options = Options {
        server: PathBuf::from("target/release/sid-server"),
        minilm: None,
        onnxruntime: None,
        quick: false,
        on_postgres: false,
        runs_at_once: 0,
        only: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--server" => options.server = value()?.into(),
            "--minilm" => options.minilm = Some(value()?.into()),
            "--onnxruntime" => options.onnxruntime = Some(value()?.into()),
            "--quick" => options.quick = true,
            "--store" => match value()?.as_str() {
                "sqlite" => options.on_postgres = false,
                "pg" | "postgres" => options.on_postgres = true,
                other => anyhow::bail!("there is no store {other} here: sqlite or pg"),
            },
            "--only" => options.only = Some(value()?),
            other => anyhow::bail!("unknown argument {other}: use --server, --minilm, --onnxruntime, --store, --quick, --only"),
        }
    }
    if let Some(part) = options.only.as_deref().filter(|p| !PARTS.contains(p)) {
        anyhow::bail!("there is no part {part}: they are {}", PARTS.join(", "));
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<()> {
    // The client speaks plain HTTP, but its TLS wants to know a provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = options()?;
    println!("| figure | goal | measured | how |\n| --- | --- | --- | --- |");
    for part in PARTS {
        if options.only.as_deref().is_some_and(|only| only != part) || (!options.on_postgres && POSTGRES_ONLY.contains(&part)) {
            continue;
        }
        match part {
            "start" => measures::start_and_idle(&options).await?,
            "sequential" => measures::sequential(&options).await?,
            "concurrent" => measures::concurrent(&options).await?,
            "prefix" => measures::prefix(&options).await?,
            "search" => measures::search(&options).await?,
            "trips" => shared::trips(&options).await?,
            "replicas" => shared::replicas(&options).await?,
            _ => measures::history(&options).await?,
        }
    }
    Ok(())
}
