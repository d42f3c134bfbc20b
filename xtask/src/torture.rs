//! `cargo xtask torture`: builds the release server and starts `sid-testkit`'s example `torture` with it.

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
  --list    only name them";

/// What it needs from the set-up.
pub(crate) const NEEDS: &[Group] = &[Group::Postgres, Group::Torture];

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let (is_full, is_list) = (args.flag("--full"), args.flag("--list"));
    let mut options = Vec::new();
    for name in ["--store", "--seed"] {
        if let Some(value) = args.value(name)? {
            options.extend([name.to_owned(), value]);
        }
    }
    if args.flag("--keep") {
        options.push("--keep".into());
    }
    if is_list {
        options.push("--list".into());
    }
    if is_full {
        options.extend(["--full".into(), "--page".into(), dirs::root().join("docs/torture.md").display().to_string()]);
    }
    while let Some(name) = args.word() {
        options.push(name);
    }
    args.finish()?;
    let parts = if is_list { Parts::new() } else { setup::ensure(NEEDS)? };
    test::build_server()?;
    proc::run(program(&parts).args(options))?;
    Ok(ExitCode::SUCCESS)
}

/// The quick form of all of them.
pub(crate) fn quick(parts: &Parts) -> Result<proc::Teed> {
    proc::tee(&mut program(parts))
}

fn program(parts: &Parts) -> Command {
    let mut program = Command::new(dirs::target().join("release/examples/torture"));
    program.arg("--server").arg(dirs::release("sid-server"));
    for (option, part) in [("--pgbouncer", "pgbouncer"), ("--faketime", "faketime")] {
        if let Some(path) = parts.get(part) {
            program.arg(option).arg(path);
        }
    }
    program
}
