//! `cargo xtask bench turn`: what a turn costs.
//!
//! The measuring itself is `tests/bench/turn.py`, a client of the release server like any other.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Args;
use crate::{python, test};

pub(crate) fn main(args: Args) -> Result<ExitCode> {
    test::build_server()?;
    let status = python::script("tests/bench/turn.py").args(args.remainder()).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
