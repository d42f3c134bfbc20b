//! `cargo xtask test`: sets up, runs every leg, prints which ran.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::legs::{FEATURES, LEGS, Leg};
use crate::table::{self, Row};
use crate::{dirs, proc};

pub(crate) const HELP: &str = "\
Usage: cargo xtask test [--filter NAME[,NAME...]] [--build] [--list]

Sets up what is needed (see `cargo xtask setup --help`), builds the server, runs every leg,
and ends in a table of which ran. A leg that cannot run on this machine is SKIPPED with the reason;
with CI=true it is a failure.

SID_PROFILE names the cargo profile that all is built with: `release` unless it is set; `quick`, as in CI,
is built in half the time.

  --filter   only legs whose name contains one of these
  --build    only build what the legs in Python start
  --list     only name the legs";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let filter = args.value("--filter")?;
    let (list, builds_only) = (args.flag("--list"), args.flag("--build"));
    args.finish()?;
    if list {
        for leg in LEGS {
            println!("  {:<14} {}", leg.name, leg.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if builds_only {
        build_server()?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = legs(filter.as_deref())?;
    Ok(if table::finish("What ran", &rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the chosen legs, all of them even when one fails.
pub(crate) fn legs(filter: Option<&str>) -> Result<Vec<Row>> {
    let wanted = |leg: &Leg| filter.is_none_or(|f| f.split(',').any(|part| leg.name.contains(part.trim())));
    let chosen: Vec<&Leg> = LEGS.iter().filter(|l| wanted(l)).collect();
    if chosen.is_empty() {
        bail!(
            "no leg is called `{}`; they are: {}",
            filter.unwrap_or_default(),
            LEGS.iter().map(|l| l.name).collect::<Vec<_>>().join(", ")
        );
    }
    // One build for all of them, before the first clock is started.
    build_server()?;
    Ok(chosen.into_iter().map(Leg::run).collect())
}

/// The binaries that everything here starts: server, command line, scripted model, bench, tortures.
///
/// One selection for every subcommand, and the one that tests are built with: cargo then agrees on one set of features, and builds each
/// dependency once.
pub(crate) fn build_server() -> Result<()> {
    proc::heading("building the server and command line (the first time takes some minutes)");
    proc::run(&mut proc::cargo(&[
        "build",
        "--locked",
        "--profile",
        &dirs::profile(),
        "--workspace",
        "--bins",
        "--example",
        "model_server",
        "--example",
        "turn_bench",
        "--example",
        "postgres_server",
        "--example",
        "torture",
        "--example",
        "simulate",
        "--example",
        "mcp_fixtures",
        "--features",
        FEATURES,
    ]))
}
