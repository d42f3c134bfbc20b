//! `cargo xtask torture`: faults on purpose, many times over.

mod simulate;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::{proc, python, test};

pub(crate) const HELP: &str = "\
Usage: cargo xtask torture kill [--times 50] [--conversations 16] [--seed N]
       cargo xtask torture simulate [--seeds 500] [--full] [--seed N]

kill      Starts a release sid-server on SQLite with the scripted model, sends to many conversations at once,
kills the server with SIGKILL at a random moment, starts it again over the same data, and compares it
with a ledger of what was acknowledged. After each restart: no acknowledged message lost, none
doubled, sequences dense, every run terminal within 25 s. Ends in the figures.

simulate  Replicas, store, models, clocks, network and clients in one thread from one seed, 500 seeds (10,000
with --full): every invariant holds, and every hundredth seed tells the same story twice. --seed prints
one seed's whole trace.";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let kind = args.word();
    if kind.as_deref() == Some("simulate") {
        let full = if args.flag("--full") { simulate::FULL } else { simulate::SHORT };
        let (seeds, seed) = (args.number("--seeds")?.unwrap_or(full), args.number("--seed")?);
        args.finish()?;
        return Ok(if simulate::run(seeds, seed)?.success { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let times = args.number("--times")?.unwrap_or(50);
    let conversations = args.number("--conversations")?.unwrap_or(16);
    let seed = args.number("--seed")?;
    args.finish()?;
    if kind.as_deref() != Some("kill") {
        bail!("which torture? There are: kill, simulate");
    }
    test::build_server()?;
    Ok(if kill(times, conversations, seed)?.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Kills the server so many times.
pub(crate) fn kill(times: u64, conversations: u64, seed: Option<u64>) -> Result<proc::Teed> {
    let mut command = python::script("tests/torture/kill.py");
    command.args(["--times", &times.to_string(), "--conversations", &conversations.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    proc::tee(&mut command)
}
