//! `cargo xtask`: what developers and CI run on Sid.
//!
//! It takes few dependencies, because it is the first thing that a fresh clone compiles. It needs Rust, Python 3 with pip and a C
//! compiler, nothing else: models and native libraries come as pinned Python packages, and the black-box parts (`tests/`) are Python
//! with the standard library only.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod args;
mod bench;
mod ci;
mod conformance;
mod demo;
mod dirs;
mod r#gen;
mod legs;
mod licences;
mod proc;
mod python;
mod setup;
mod table;
mod test;
mod torture;

use std::process::ExitCode;

use args::Args;

/// A subcommand: name, one line for the overview, the whole help, and what it does.
struct Command {
    name: &'static str,
    about: &'static str,
    help: &'static str,
    run: fn(Args) -> anyhow::Result<ExitCode>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "setup",
        about: "fetch the models and native libraries that Sid is tried and tested with",
        help: setup::HELP,
        run: setup::main,
    },
    Command { name: "demo", about: "see an agent remember: the pickles story with a real small model", help: demo::HELP, run: demo::main },
    Command { name: "test", about: "set up and run every kind of test", help: test::HELP, run: test::main },
    Command {
        name: "ci",
        about: "what CI runs: format, lints, docs, licences, generated files, then `test`",
        help: ci::HELP,
        run: ci::main,
    },
    Command { name: "gen", about: "write the generated reference pages, or check them", help: r#gen::HELP, run: r#gen::main },
    Command { name: "bench", about: "measure: `memory` quality, `turn` latency and throughput", help: bench::HELP, run: bench::main },
    Command { name: "conformance", about: "run the store contract against a backend", help: conformance::HELP, run: conformance::main },
    Command {
        name: "torture",
        about: "kill, freeze, cut and overload real servers, and look for what was lost, doubled or late",
        help: torture::HELP,
        run: torture::main,
    },
];

fn overview() {
    println!("Usage: cargo xtask <command> [options]\n");
    for command in COMMANDS {
        println!("  {:<12} {}", command.name, command.about);
    }
    println!("\n`cargo xtask <command> --help` tells more.");
}

fn main() -> ExitCode {
    let mut rest: Vec<String> = std::env::args().skip(1).collect();
    let wants_help = |args: &[String]| args.iter().any(|a| a == "--help" || a == "-h");
    if rest.is_empty() || matches!(rest[0].as_str(), "help" | "--help" | "-h") {
        overview();
        return ExitCode::SUCCESS;
    }
    let name = rest.remove(0);
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        eprintln!("no such command: {name}\n");
        overview();
        return ExitCode::from(2);
    };
    if wants_help(&rest) {
        println!("{}\n\n{}", command.about, command.help.trim_end());
        return ExitCode::SUCCESS;
    }
    match (command.run)(Args::new(rest)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
