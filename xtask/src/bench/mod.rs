//! `cargo xtask bench`: what Sid is measured by.

pub(crate) mod memory;
pub(crate) mod turn;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;

pub(crate) const HELP: &str = "\
Usage: cargo xtask bench memory [--store sqlite|postgres|qdrant] [--only scenarios|locomo|beam] [--scenario ID] [--limit N] [--verbose]
       cargo xtask bench turn [--store sqlite|pg] [--quick] [--only PART]

memory   runs the measuring stick (../shared/bench, or SID_BENCH_DIR) against a fresh server with
         MiniLM through tests/memory/shim.py: the scenarios at the full window and at 40 % of it, LoCoMo
         and BEAM evidence retrieval; prints the figures beside their goals
           --only       one of the three parts
           --scenario   only scenarios whose id contains this
           --limit      questions per conversation
           --verbose    every scenario, with what failed
turn     latency, CPU, throughput, memory and start-up of one server with an instant model (docs/performance.md)
           --quick      a tenth of everything
           --only       start, sequential, concurrent, prefix, search or history";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    match args.word().as_deref() {
        Some("memory") => memory::main(args),
        Some("turn") => turn::main(args),
        _ => bail!("which bench? There are: memory, turn"),
    }
}
