//! Licences, bans and sources of what we depend on.
//!
//! `cargo deny` where it is installed. Else a small check of our own that reads the same lists from `deny.toml`: every licence
//! expression must be satisfied by the allowed ones, no banned crate may be in the tree, everything comes from one registry or from this
//! checkout. It does not look for security advisories.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{dirs, proc};

pub(crate) fn check() -> Result<()> {
    if proc::has_cargo("deny") {
        return proc::run(&mut proc::cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]));
    }
    println!("    cargo-deny is not installed: our own check of licences, bans and sources (no advisories)");
    let deny = std::fs::read_to_string(dirs::root().join("deny.toml")).context("cannot read deny.toml")?;
    let allowed = list(&deny, "licenses", "allow")?;
    let banned = list(&deny, "bans", "deny")?;
    let metadata = proc::output(&mut proc::cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let mut wrong = Vec::new();
    let mut sources = BTreeSet::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if banned.contains(name) {
            wrong.push(format!("{name} is banned"));
        }
        match package["source"].as_str() {
            None => {}
            Some(source) => {
                if !source.starts_with("registry+") {
                    wrong.push(format!("{name} comes from {source}"));
                }
                sources.insert(source.to_owned());
            }
        }
        match package["license"].as_str() {
            Some(expression) if is_allowed(expression, &allowed) => {}
            Some(expression) => wrong.push(format!("{name}: licence {expression}")),
            None => wrong.push(format!("{name}: no licence named")),
        }
    }
    if sources.len() > 1 {
        wrong.push(format!("more than one registry: {}", sources.into_iter().collect::<Vec<_>>().join(", ")));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n    "));
    }
    println!("    {} packages, all fine", packages.len());
    Ok(())
}

/// The quoted strings of `key = [...]` in `[section]`. Enough TOML for our own file.
fn list(toml: &str, section: &str, key: &str) -> Result<BTreeSet<String>> {
    let from = toml.find(&format!("[{section}]")).with_context(|| format!("deny.toml has no [{section}]"))?;
    let body = &toml[from..];
    let at = body.find(&format!("\n{key} = [")).with_context(|| format!("deny.toml has no {section}.{key}"))?;
    let body = &body[at..];
    let end = body.find("\n]").context("a list in deny.toml ends in a line of its own")?;
    let lines = body[..end].lines().map(|l| l.split('#').next().unwrap_or_default());
    Ok(lines.filter_map(|l| l.split('"').nth(1)).map(str::to_owned).collect())
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `/` is the old spelling of `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let fits = any_of(&words, &mut at, allowed);
    fits && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut fits = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fits |= all_of(words, at, allowed);
    }
    fits
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut fits = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fits &= one(words, at, allowed);
    }
    fits
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let fits = any_of(words, at, allowed);
        *at += 1;
        return fits;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return allowed.contains(&format!("{word} WITH {}", words.get(*at - 1).unwrap_or(&"")));
    }
    allowed.contains(word)
}

#[cfg(test)]
mod tests {
    use super::{is_allowed, list};

    #[test]
    fn expressions_are_understood() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for good in
            ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Apache-2.0", "Apache-2.0 WITH LLVM-exception OR GPL-3.0"]
        {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "", "MIT MIT"] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn lists_are_read() {
        let toml = "[bans]\nmultiple-versions = \"allow\"\ndeny = [\n  { crate = \"openssl\" }, # no\n  # \"not this\"\n]\n[licenses]\nallow = [\n  \"MIT\",\n]\n";
        assert_eq!(list(toml, "bans", "deny").expect("a list").into_iter().collect::<Vec<_>>(), ["openssl"]);
        assert_eq!(list(toml, "licenses", "allow").expect("a list").len(), 1);
        assert!(list(toml, "sources", "allow").is_err());
    }
}
