//! `cargo xtask torture`: builds the server and starts `sid-testkit`'s example `torture` with it; the
//! simulation needs no server.

mod simulate;

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::args::Args;
use crate::setup::{self, Group, Parts};
use crate::{dirs, proc, test};

pub(crate) const HELP: &str = "\
Usage: cargo xtask torture [NAME...] [--full] [--store sqlite|postgres] [--seed N] [--list]

What Sid promises, under the faults that it promises it for: real servers, a real Postgres that syncs
to disk, a scripted model, and a ledger of all that was acknowledged. Without a name: all of them.
Prints figures with their targets and ends in a table; a missed target is a failure.

  --full    the sizes of docs/torture.md, within an hour; the figures are written there
  --store   only on this store
  --seed    what everything drawn by lot follows from; each torture prints its own
  --keep    leave the servers' folders with their logs
  --list    only name them

  simulate  replicas, store, models, clocks, network and clients in one thread from one seed: 500 seeds, 10,000
            with --full; with --seed N that one's whole trace";

/// What it needs from the set-up.
pub(crate) const NEEDS: &[Group] = &[Group::Postgres, Group::PgBouncer, Group::FakeTime];

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let (is_full, is_list, keeps) = (args.flag("--full"), args.flag("--list"), args.flag("--keep"));
    let (store, seed) = (args.value("--store")?, args.number("--seed")?);
    let mut names: Vec<String> = std::iter::from_fn(|| args.word()).collect();
    args.finish()?;
    let is_all = names.is_empty();
    let mut is_well = true;
    if !is_list && (is_all || names.iter().any(|n| n == "simulate")) {
        let seeds = if is_full { simulate::FULL } else { simulate::SHORT };
        is_well = simulate::run(seeds, seed.filter(|_| !is_all))?.success;
        names.retain(|n| n != "simulate");
        if !is_all && names.is_empty() {
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    let mut options = names.clone();
    for (name, value) in [("--store", store), ("--seed", seed.map(|s| s.to_string()))] {
        options.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    }
    if keeps {
        options.push("--keep".into());
    }
    if is_list {
        options.push("--list".into());
    }
    if is_full {
        options.extend(["--full".into(), "--page".into(), dirs::root().join("docs/torture.md").display().to_string()]);
    }
    let parts = if is_list { Parts::new() } else { setup::ensure(NEEDS)? };
    test::build_server()?;
    proc::run(program(&parts).args(options))?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The quick form of all of them.
pub(crate) fn quick(parts: &Parts) -> Result<proc::Teed> {
    let simulated = simulate::run(simulate::SHORT, None)?;
    Ok(simulated.and(proc::tee(&mut program(parts))?))
}

fn program(parts: &Parts) -> Command {
    let mut program = Command::new(dirs::example("torture"));
    program.arg("--server").arg(dirs::binary("sid-server"));
    for (option, part) in [("--pgbouncer", "pgbouncer"), ("--faketime", "faketime")] {
        if let Some(path) = parts.get(part) {
            program.arg(option).arg(path);
        }
    }
    program
}
