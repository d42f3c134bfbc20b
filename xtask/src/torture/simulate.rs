//! `cargo xtask torture simulate`: the example `simulate` of sid-testkit, over many seeds.

use std::process::Command;

use anyhow::Result;

use crate::{dirs, proc, test};

/// Seeds of the full form, and of the one that CI runs.
pub(crate) const FULL: u64 = 10_000;
pub(crate) const SHORT: u64 = 500;

/// Runs so many seeds, or one with its whole trace.
pub(crate) fn run(seeds: u64, seed: Option<u64>) -> Result<proc::Teed> {
    test::build_server()?;
    let mut command = Command::new(dirs::example("simulate"));
    match seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--seeds", &seeds.to_string()]),
    };
    proc::tee(&mut command)
}
