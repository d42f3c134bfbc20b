//! Runs many seeds of the deterministic simulation, or one with its whole trace.
//!
//! ```text
//! cargo run --release -p sid-testkit --example simulate -- [--seeds 500] [--from 0] [--seed N] [--bug NAME] [--twice EVERY]
//! ```
//!
//! Every seed is checked against all invariants; each `--twice`th one (100 unless told) is run again, and must leave the same trace. On a
//! failure the seed and the end of its trace are printed. `--bug` plants a bug in the store, to see it found.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sid_testkit::sim::{Bug, Outcome, Tally, simulate};

/// Lines of a failed seed's trace that are printed.
const TAIL: usize = 120;

struct Args {
    from: u64,
    seeds: u64,
    one: Option<u64>,
    bug: Bug,
    twice: u64,
}

fn main() -> Result<ExitCode> {
    let args = Args::read()?;
    if let Some(seed) = args.one {
        let outcome = simulate(seed, args.bug);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("hash {:016x}, {:?}", outcome.hash, outcome.tally);
        let is_same = simulate(seed, args.bug).hash == outcome.hash;
        println!("{}", if is_same { "the same trace again" } else { "ANOTHER TRACE the second time" });
        return Ok(if outcome.wrong.is_empty() && is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let began = Instant::now();
    let (mut tally, mut failed, mut slowest) = (Tally::default(), 0, (Duration::ZERO, 0));
    for seed in args.from..args.from + args.seeds {
        let start = Instant::now();
        let outcome = simulate(seed, args.bug);
        slowest = slowest.max((start.elapsed(), seed));
        tally += outcome.tally;
        let is_same = !seed.is_multiple_of(args.twice) || simulate(seed, args.bug).hash == outcome.hash;
        if !outcome.wrong.is_empty() || !is_same {
            failed += 1;
            tell(&outcome, is_same);
            if failed == 5 {
                println!("five seeds have failed: that will do");
                break;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s ({:.1} ms each, slowest {:?} with seed {})",
        args.seeds,
        seconds * 1e3 / args.seeds as f64,
        slowest.0,
        slowest.1
    );
    println!("{tally:?}");
    println!("test result: {} passed; {failed} failed; 0 ignored (simulated seeds)", args.seeds - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(outcome: &Outcome, is_same: bool) {
    println!("--- seed {}: the end of its trace", outcome.seed);
    outcome.trace.iter().skip(outcome.trace.len().saturating_sub(TAIL)).for_each(|line| println!("{line}"));
    outcome.wrong.iter().for_each(|what| println!("  WRONG {what}"));
    if !is_same {
        println!("  WRONG the second time the trace was another one");
    }
    println!("--- again, whole: cargo run --release -p sid-testkit --example simulate -- --seed {}", outcome.seed);
}

impl Args {
    fn read() -> Result<Self> {
        let mut args = Self { from: 0, seeds: 500, one: None, bug: Bug::None, twice: 100 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{word} {value}: not a number"));
            match word.as_str() {
                "--seeds" => args.seeds = number()?.max(1),
                "--from" => args.from = number()?,
                "--seed" => args.one = Some(number()?),
                "--twice" => args.twice = number()?.max(1),
                "--bug" => {
                    let known = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == value);
                    args.bug = known.with_context(|| format!("no bug is called {value}; there are {:?}", Bug::ALL))?;
                }
                _ => bail!("unknown option {word}: see the top of simulate.rs"),
            }
        }
        Ok(args)
    }
}
