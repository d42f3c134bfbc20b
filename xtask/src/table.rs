//! The table at the end: which legs ran, and how they went.

use std::time::Duration;

use crate::proc::human;

/// How a leg went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Passed,
    Failed,
    /// It could not run here, or is not meant to; the reason.
    Skipped(String),
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
}

/// Tests of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds up the closing lines of cargo test, nextest and Python's unittest.
    pub(crate) fn read(text: &str) -> Self {
        let mut all = Self::default();
        let mut ran = None;
        for line in text.lines().map(plain) {
            // nextest shows what a failed test printed, moved to the right, and counts it itself.
            let rest = line.strip_prefix("test result: ");
            let line = line.trim();
            if let Some(rest) = rest {
                all.passed += before(rest, "passed");
                all.failed += before(rest, "failed");
                all.skipped += before(rest, "ignored");
            } else if line.starts_with("Summary [") && line.contains("tests run:")
                || line.starts_with("Summary [") && line.contains("test run:")
            {
                all.passed += before(line, "passed");
                all.failed += before(line, "failed") + before(line, "timed out");
            } else if let Some(rest) = line.strip_prefix("Ran ")
                && (rest.contains(" tests in ") || rest.contains(" test in "))
            {
                ran = rest.split(' ').next().and_then(|n| n.parse::<u64>().ok());
            } else if let Some(total) = ran
                && (line.starts_with("OK") || line.starts_with("FAILED ("))
            {
                let (failed, skipped) = (after(line, "failures=") + after(line, "errors="), after(line, "skipped="));
                all.passed += total.saturating_sub(failed + skipped);
                all.failed += failed;
                all.skipped += skipped;
                ran = None;
            }
        }
        all
    }
}

/// The line without colour codes.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The number right before `word`.
fn before(line: &str, word: &str) -> u64 {
    let Some(at) = line.find(&format!(" {word}")) else { return 0 };
    line[..at].rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The number right after `word`.
fn after(line: &str, word: &str) -> u64 {
    let Some(at) = line.find(word) else { return 0 };
    line[at + word.len()..].split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Prints the table and its closing line; gives whether all is well.
pub(crate) fn finish(title: &str, rows: &[Row]) -> bool {
    println!("\n{title}");
    println!("{:<24} {:<8} {:>7} {:>7} {:>8} {:>12}", "leg", "state", "passed", "failed", "skipped", "time");
    let mut sum = Counts::default();
    let mut skipped_legs = 0;
    for row in rows {
        let (state, note) = match &row.state {
            State::Passed => ("passed", String::new()),
            State::Failed => ("FAILED", String::new()),
            State::Skipped(why) => ("SKIPPED", format!("   {why}")),
        };
        let c = row.counts;
        println!("{:<24} {:<8} {:>7} {:>7} {:>8} {:>12}{note}", row.name, state, c.passed, c.failed, c.skipped, human(row.took));
        sum.passed += c.passed;
        sum.failed += c.failed;
        sum.skipped += c.skipped;
        match row.state {
            // A leg that is one check, or that died before its runner could count.
            State::Passed if c.passed == 0 => sum.passed += 1,
            State::Failed if c.failed == 0 => sum.failed += 1,
            State::Skipped(_) => skipped_legs += 1,
            _ => {}
        }
    }
    if skipped_legs > 0 {
        println!("\n{skipped_legs} leg(s) did not run; the table says why. In CI a leg that cannot run has failed.");
    }
    // CI recognises this line; it stays the last one.
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped + skipped_legs);
    sum.failed == 0
}

#[cfg(test)]
mod tests {
    use super::Counts;

    fn check(text: &str, passed: u64, failed: u64, skipped: u64) {
        assert_eq!(Counts::read(text), Counts { passed, failed, skipped }, "{text}");
    }

    #[test]
    fn closing_lines_are_read() {
        check("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n", 5, 0, 1);
        check(
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.1s\n     Summary [   0.9s] 1 test run: 0 passed, 1 failed\n",
            0,
            1,
            0,
        );
        check("     Summary [   0.9s] 12 tests run: 10 passed, 2 failed, 3 skipped\n", 10, 2, 0);
        check("\u{1b}[32;1m     Summary\u{1b}[0m [   0.9s] 1 test run: 1 passed, 0 skipped\n", 1, 0, 0);
        check("Ran 7 tests in 1.2s\n\nOK (skipped=2)\n", 5, 0, 2);
        check("Ran 7 tests in 1.2s\n\nFAILED (failures=1, errors=2)\n", 4, 3, 0);
        check("nothing of the kind\n", 0, 0, 0);
    }
}
