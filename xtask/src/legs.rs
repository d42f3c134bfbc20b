//! The legs of `cargo xtask test`: each runs one kind of test and says how it went.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Group, Parts};
use crate::table::{Counts, Row, State};
use crate::{bench, dirs, proc, python};

/// A kind of test.
pub(crate) struct Leg {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What it needs from the set-up.
    pub(crate) needs: &'static [Group],
    /// Why it cannot run here, if it cannot.
    pub(crate) missing: fn() -> Option<String>,
    pub(crate) run: fn(&Parts) -> Result<proc::Teed>,
}

const fn nothing_missing() -> Option<String> {
    None
}

/// All legs, in the order in which they run: what fails soonest comes first.
pub(crate) const LEGS: &[Leg] = &[
    Leg { name: "unit", about: "unit, property and snapshot tests of all crates", needs: &[], missing: nothing_missing, run: unit },
    Leg {
        name: "conformance",
        about: "the store contract against the in-process store and SQLite",
        needs: &[],
        missing: nothing_missing,
        run: conformance,
    },
    Leg { name: "doc", about: "the examples in the documentation", needs: &[], missing: nothing_missing, run: doctests },
    Leg {
        name: "black box",
        about: "a real server over HTTP: tenants, kills, streams, bad input",
        needs: &[],
        missing: nothing_missing,
        run: |_| folder("tests/blackbox", &[]),
    },
    Leg {
        name: "embedding",
        about: "MiniLM in process: recall by meaning",
        needs: &[Group::Embed],
        missing: nothing_missing,
        run: embedding,
    },
    Leg {
        name: "real clients",
        about: "the official `openai` package against the front door",
        needs: &[Group::Clients],
        missing: nothing_missing,
        run: |parts| folder("tests/clients", &[parts["clients"].clone()]),
    },
    Leg {
        name: "real model",
        about: "SmolLM2 behind llama.cpp's server: protocol, streaming, usage, memory in the prompt",
        needs: &[Group::Llm],
        missing: nothing_missing,
        run: |_| folder("tests/llm", &[]),
    },
    Leg {
        name: "torture",
        about: "kill -9 under load, a few times",
        needs: &[],
        missing: nothing_missing,
        run: |_| crate::torture::kill(5, 16, None),
    },
    Leg {
        name: "memory",
        about: "the measuring stick's scenarios",
        needs: &[Group::Embed],
        missing: || dirs::shared_bench().is_none().then(|| "the measuring stick (../shared/bench or SID_BENCH_DIR) is not there".into()),
        run: |_| bench::memory::scenarios_leg(),
    },
];

/// Tests run in the release profile: the servers under test are release builds, and so each dependency is compiled once.
pub(crate) const PROFILE: &str = "release";

/// The test binaries of the store contract; every store's is called so.
const CONFORMANCE: &str = "conformance*";

/// Tests of all crates by nextest where it is installed, else by cargo test, which cannot leave a binary out.
fn tests(only_conformance: bool) -> Command {
    if proc::has_cargo("nextest") {
        let mut command = proc::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--cargo-profile", PROFILE]);
        let filter = format!("{}binary(#{CONFORMANCE})", if only_conformance { "" } else { "not " });
        command.args(["-E", &filter]);
        return command;
    }
    let mut command = proc::cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--profile", PROFILE]);
    if only_conformance {
        command.args(["--test", CONFORMANCE]);
    } else {
        command.args(["--lib", "--bins", "--tests"]);
    }
    command
}

fn unit(_: &Parts) -> Result<proc::Teed> {
    proc::tee(&mut tests(false))
}

fn conformance(_: &Parts) -> Result<proc::Teed> {
    // The same selection of packages as the unit leg, so that nothing is built with other features.
    proc::tee(&mut tests(true))
}

fn doctests(_: &Parts) -> Result<proc::Teed> {
    proc::tee(&mut proc::cargo(&["test", "--doc", "--workspace", "--locked", "--profile", PROFILE]))
}

/// One folder of Python suites, with further folders on the module path.
fn folder(path: &str, more: &[PathBuf]) -> Result<proc::Teed> {
    proc::tee(&mut python::unittest(path, more))
}

fn embedding(parts: &Parts) -> Result<proc::Teed> {
    let mut command = python::unittest("tests/embedding", &[]);
    proc::tee(command.env("ORT_DYLIB_PATH", &parts["onnxruntime"]).env("SID_EMBED_DIR", &parts["minilm"]))
}

impl Leg {
    /// Runs it, whatever happens.
    pub(crate) fn run(&self) -> Row {
        proc::heading(&format!("{}: {}", self.name, self.about));
        let start = std::time::Instant::now();
        let row = |state, counts| Row { name: self.name.into(), state, counts, took: start.elapsed() };
        let cannot = |why: String| {
            println!("    {}: {why}", if dirs::is_ci() { "FAILED, cannot run" } else { "SKIPPED" });
            row(if dirs::is_ci() { State::Failed } else { State::Skipped(why) }, Counts::default())
        };
        if let Some(why) = (self.missing)() {
            return cannot(why);
        }
        let parts = match setup::ensure(self.needs) {
            Ok(parts) => parts,
            Err(error) => return cannot(format!("{error:#}")),
        };
        match (self.run)(&parts) {
            Ok(went) => {
                let counts = Counts::read(&went.text);
                row(if went.success && counts.failed == 0 { State::Passed } else { State::Failed }, counts)
            }
            Err(error) => {
                println!("    FAILED: {error:#}");
                row(State::Failed, Counts::default())
            }
        }
    }
}
