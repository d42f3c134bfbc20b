//! `cargo xtask ci`: what `.ci/run` runs.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::args::Args;
use crate::legs::FEATURES;
use crate::table::{self, Counts, Row, State};
use crate::{dirs, r#gen, licences, proc, test};

pub(crate) const HELP: &str = "\
Usage: cargo xtask ci [--fast]

Format, clippy with warnings as errors, documentation with warnings as errors, licences and bans
(cargo-deny where it is installed, else a small check of our own over `cargo metadata`), generated
files, then every leg of `cargo xtask test`. All of it runs even when something fails.

  --fast   leave out the legs of `test`";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let fast = args.flag("--fast");
    args.finish()?;
    let mut rows = vec![
        check("format", &mut proc::cargo(&["fmt", "--all", "--check"])),
        check("clippy", &mut clippy(&["--all-targets"], &["-A", "clippy::disallowed_methods"])),
        // Tests may grant themselves a scope, the code proper may not.
        check("clippy, scopes", &mut clippy(&["--lib", "--bins"], &[])),
        check(
            "docs",
            proc::cargo(&["doc", "--workspace", "--no-deps", "--locked", "--profile", &dirs::profile()]).env("RUSTDOCFLAGS", "-D warnings"),
        ),
        step("licences", licences::check),
    ];
    if !fast {
        rows.extend(test::legs(None)?);
    }
    // After the tests: it asks the server, which is built by now.
    rows.push(step("generated", r#gen::check));
    Ok(if table::finish("What CI ran", &rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn clippy(targets: &[&str], lints: &[&str]) -> Command {
    let mut command = proc::cargo(&["clippy", "--workspace", "--locked", "--profile", &dirs::profile(), "--features", FEATURES]);
    command.args(targets).args(["--", "-D", "warnings"]).args(lints);
    command
}

/// One command as a row.
fn check(name: &str, command: &mut Command) -> Row {
    step(name, || proc::run(command))
}

/// One thing that may fail, as a row.
fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Row {
    proc::heading(name);
    let start = Instant::now();
    let state = match run() {
        Ok(()) => State::Passed,
        Err(error) => {
            println!("    FAILED: {error:#}");
            State::Failed
        }
    };
    Row { name: name.into(), state, counts: Counts::default(), took: start.elapsed() }
}
