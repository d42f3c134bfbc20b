//! The figures of one torture, each with its target where it has one.

use std::fmt::Display;
use std::time::Duration;

use sid_testkit::checker::{Invariant, Violation};

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) target: String,
    pub(crate) measured: String,
    /// `None`: a figure without a target.
    pub(crate) is_met: Option<bool>,
}

/// What one torture has measured.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    pub(crate) name: &'static str,
    pub(crate) store: &'static str,
    pub(crate) seed: u64,
    pub(crate) figures: Vec<Figure>,
    pub(crate) took: Duration,
}

impl Sheet {
    pub(crate) const fn new(name: &'static str, store: &'static str, seed: u64) -> Self {
        Self { name, store, seed, figures: Vec::new(), took: Duration::ZERO }
    }

    fn add(&mut self, what: &str, target: String, measured: String, is_met: Option<bool>) {
        let mark = match is_met {
            None => "    ",
            Some(true) => "PASS",
            Some(false) => "FAIL",
        };
        let target_shown = if target.is_empty() { String::new() } else { format!("   (target {target})") };
        println!("    {mark} {what}: {measured}{target_shown}");
        self.figures.push(Figure { what: what.to_owned(), target, measured, is_met });
    }

    /// A figure without a target.
    pub(crate) fn fact(&mut self, what: &str, measured: impl Display) {
        self.add(what, String::new(), measured.to_string(), None);
    }

    /// Must be nothing.
    pub(crate) fn none(&mut self, what: &str, count: u64) {
        self.add(what, "0".into(), count.to_string(), Some(count == 0));
    }

    /// Must be this.
    pub(crate) fn exactly(&mut self, what: &str, target: u64, measured: u64) {
        self.add(what, target.to_string(), measured.to_string(), Some(measured == target));
    }

    /// Must be no more than this.
    pub(crate) fn at_most(&mut self, what: &str, target: f64, measured: f64, unit: &str) {
        self.add(what, format!("<= {target} {unit}"), format!("{} {unit}", short(measured)), Some(measured <= target));
    }

    /// Must be at least this.
    pub(crate) fn at_least(&mut self, what: &str, target: f64, measured: f64, unit: &str) {
        self.add(what, format!(">= {target} {unit}"), format!("{} {unit}", short(measured)), Some(measured >= target));
    }

    /// Should be no more than this, where nothing else uses the machine: timing that decides nothing.
    pub(crate) fn goal(&mut self, what: &str, goal: f64, measured: f64, unit: &str) {
        let verdict = if measured <= goal { "" } else { ", missed here" };
        self.add(what, format!("goal <= {goal} {unit}"), format!("{} {unit}{verdict}", short(measured)), None);
    }

    /// Things that must not have happened, with the first of them in words.
    pub(crate) fn nothing(&mut self, what: &str, wrong: &[String]) {
        for line in wrong.iter().take(5) {
            println!("         {line}");
        }
        self.none(what, wrong.len() as u64);
    }

    /// What the checker found: one figure per invariant that was looked at.
    pub(crate) fn invariants(&mut self, found: &[Violation]) {
        for violation in found.iter().take(8) {
            println!("         {violation}");
        }
        let (lost, doubled) = (count(found, "is lost"), count(found, " times"));
        self.none("acknowledged messages lost", lost);
        self.none("messages doubled", doubled);
        let others = found.len() as u64 - lost - doubled;
        let broken: Vec<String> =
            Invariant::ALL.into_iter().filter(|i| found.iter().any(|v| v.invariant == *i)).map(|i| format!("{i:?}")).collect();
        let what =
            if broken.is_empty() { "other violations of I1 to I7".into() } else { format!("other violations ({})", broken.join(", ")) };
        self.none(&what, others);
    }

    /// The torture could not be run to its end.
    pub(crate) fn broken(&mut self, why: String) {
        self.add("ran to its end", "yes".into(), why, Some(false));
    }

    pub(crate) fn is_met(&self) -> bool {
        self.figures.iter().all(|f| f.is_met != Some(false)) && self.figures.iter().any(|f| f.is_met == Some(true))
    }
}

fn count(found: &[Violation], words: &str) -> u64 {
    found.iter().filter(|v| v.invariant == Invariant::I1 && v.detail.ends_with(words)).count() as u64
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Prints all figures that have a target, and the closing line; answers whether all are met.
pub(crate) fn table(sheets: &[Sheet]) -> bool {
    println!("\n{:<34} {:<58} {:<14} {:<16}", "torture", "what", "target", "measured");
    let (mut passed, mut failed) = (0, 0);
    for sheet in sheets {
        let name = format!("{} ({})", sheet.name, sheet.store);
        for figure in sheet.figures.iter().filter(|f| f.is_met.is_some()) {
            let (is_met, mark) = if figure.is_met == Some(true) { (true, "passed") } else { (false, "FAILED") };
            let measured: String = figure.measured.chars().take(60).collect();
            println!("{name:<34} {:<58} {:<14} {measured:<16} {mark}", figure.what, figure.target);
            if is_met { passed += 1 } else { failed += 1 }
        }
        println!("{name:<34} {:<58} {:<14} {} s, seed {}", "", "", sheet.took.as_secs(), sheet.seed);
    }
    // `cargo xtask test` counts this line.
    println!("test result: {passed} passed; {failed} failed; 0 ignored (targets)");
    failed == 0 && sheets.iter().all(Sheet::is_met)
}
