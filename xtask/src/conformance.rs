//! `cargo xtask conformance`: the store contract against a backend.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::{proc, setup};

pub(crate) const HELP: &str = "\
Usage: cargo xtask conformance [in-process|sqlite|postgres|qdrant]

Runs every check of sid-testkit's conformance suite against one store, or against all of them.
`postgres` starts a throw-away server, `qdrant` a Qdrant engine beside it (see `cargo xtask setup --help`).";

/// The packages that run the suite, the names of their test binaries, and the features that these need.
const STORES: &[(&str, &str, &str, &str)] = &[
    ("in-process", "sid-testkit", "conformance*", ""),
    ("sqlite", "sid-store-sqlite", "conformance*", ""),
    ("postgres", "sid-store-pg", "postgres_conformance*", "postgres-tests"),
    ("qdrant", "sid-store-qdrant", "qdrant_conformance*", "qdrant-tests"),
];

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let wanted = args.word();
    args.finish()?;
    let mut ok = true;
    let chosen: Vec<_> = STORES.iter().filter(|(name, ..)| wanted.as_deref().is_none_or(|w| w == *name)).collect();
    if chosen.is_empty() {
        bail!("no such store; there are: {}", STORES.iter().map(|s| s.0).collect::<Vec<_>>().join(", "));
    }
    for (name, package, binaries, features) in chosen {
        proc::heading(&format!("conformance of {name}"));
        match *name {
            "postgres" => drop(setup::ensure(&[setup::Group::Postgres])?),
            "qdrant" => drop(setup::ensure(&[setup::Group::Postgres, setup::Group::Qdrant])?),
            _ => {}
        }
        let mut tests = proc::cargo(&["test", "--locked", "--package", package, "--test", binaries, "--features", features]);
        ok &= proc::tee(&mut tests)?.success;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
