//! The list of crash points is what the code has.

use std::collections::BTreeMap;
use std::path::Path;

/// Names between quotes after `before`, with how often each comes.
fn names(text: &str, before: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for rest in text.split(before).skip(1) {
        let name = rest.split('"').next().expect("a quote ends").to_owned();
        *found.entry(name).or_default() += 1;
    }
    found
}

/// All Rust code under a folder.
fn code(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            code(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a file of text"));
        }
    }
}

#[test]
fn every_named_point_is_in_the_code_and_every_point_has_a_name() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").join("crates");
    let list = std::fs::read_to_string(crates.join("sid-store/src/crash.rs")).expect("the list of points");
    let list = list.split("POINTS: &[&str] = &[").nth(1).and_then(|rest| rest.split(']').next()).expect("the list");
    let listed = names(list, "    \"");
    assert!(listed.len() >= 40, "{} points", listed.len());
    assert!(listed.values().all(|times| *times == 1), "a name is listed twice: {listed:?}");

    let mut text = String::new();
    for package in std::fs::read_dir(&crates).expect("the crates").filter_map(Result::ok) {
        code(&package.path().join("src"), &mut text);
    }
    let marked = names(&text, "crash_point!(\"");
    let missing: Vec<_> = listed.keys().filter(|name| !marked.contains_key(*name)).collect();
    let unlisted: Vec<_> = marked.keys().filter(|name| !listed.contains_key(*name)).collect();
    assert!(missing.is_empty() && unlisted.is_empty(), "listed but not in the code: {missing:?}; in the code but not listed: {unlisted:?}");
    let twice: Vec<_> = marked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "one name for several places: {twice:?}");
}
