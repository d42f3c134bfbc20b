//! `cargo xtask conformance`: the store contract against a backend.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::proc;

pub(crate) const HELP: &str = "\
Usage: cargo xtask conformance [in-process|sqlite]

Runs every check of sid-testkit's conformance suite against one store, or against all of them.";

/// The packages that run the suite, in test binaries called `conformance…`.
const STORES: &[(&str, &str)] = &[("in-process", "sid-testkit"), ("sqlite", "sid-store-sqlite")];

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let wanted = args.word();
    args.finish()?;
    let mut ok = true;
    let chosen: Vec<_> = STORES.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|w| w == *name)).collect();
    if chosen.is_empty() {
        bail!("no such store; there are: {}", STORES.iter().map(|s| s.0).collect::<Vec<_>>().join(", "));
    }
    for (name, package) in chosen {
        proc::heading(&format!("conformance of {name}"));
        ok &= proc::tee(&mut proc::cargo(&["test", "--locked", "--package", package, "--test", "conformance*"]))?.success;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
