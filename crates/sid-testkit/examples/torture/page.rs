//! `docs/torture.md`: the figures of the last full run of each torture.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::TORTURES;
use crate::sheet::Sheet;

const HEAD: &str = "\
# The tortures

`cargo xtask torture --full` runs all of them within an hour on two cores, with real servers, a real Postgres that syncs to disk, and a
scripted model; `cargo xtask torture` runs the quick form of each; `cargo xtask torture kill --store postgres --seed 7` runs one. Each
message that a server acknowledged is written to a ledger, synced to disk, before the next one is sent; afterwards everything is read
back over the public API, and `sid_testkit::checker` compares.

Figures are those of the last full run of each, written here by the program itself. They depend on the machine; targets do not.

## Overview

";

/// Writes the sections of these sheets and keeps those of the others.
///
/// Errors: the file cannot be written.
pub(crate) fn write(path: &Path, sheets: &[Sheet], is_full: bool) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let mut sections: BTreeMap<String, String> = old
        .split("\n## ")
        .skip(2)
        .filter_map(|section| Some((section.lines().next()?.trim_matches('`').to_owned(), section.trim_end().to_owned())))
        .collect();
    for sheet in sheets {
        sections.insert(title(sheet.name, sheet.store).trim_matches('`').to_owned(), section(sheet, is_full));
    }
    let mut text = HEAD.to_owned();
    text.push_str("| torture | what happens |\n| --- | --- |\n");
    for torture in TORTURES {
        text.push_str(&format!("| `{}` | {} |\n", torture.name, torture.about));
    }
    for torture in TORTURES {
        for store in torture.stores {
            if let Some(section) = sections.get(title(torture.name, store.name()).trim_matches('`')) {
                text.push_str(&format!("\n## {section}\n"));
            }
        }
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn title(name: &str, store: &str) -> String {
    format!("`{name}` on {store}")
}

fn section(sheet: &Sheet, is_full: bool) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let size = if is_full { "full" } else { "quick" };
    let mut text = format!(
        "{}\n\n{day}, {size} size, {} s on {cores} cores, seed {}.\n\n| what | target | measured | |\n| --- | --- | --- | --- |\n",
        title(sheet.name, sheet.store),
        sheet.took.as_secs(),
        sheet.seed
    );
    for figure in &sheet.figures {
        let mark = match figure.is_met {
            None => "",
            Some(true) => "passed",
            Some(false) => "FAILED",
        };
        let measured: String = figure.measured.lines().next().unwrap_or_default().chars().take(160).collect();
        text.push_str(&format!("| {} | {} | {} | {mark} |\n", figure.what, figure.target, measured.replace('|', "\\|")));
    }
    text.trim_end().to_owned()
}
