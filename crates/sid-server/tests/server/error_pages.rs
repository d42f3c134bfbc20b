//! Every code has a page, and every page a code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Codes that stand as texts in the sources of these crates.
fn codes_of(rooms: &[&str]) -> BTreeSet<String> {
    let mut files = Vec::new();
    for room in rooms {
        sources(&root().join("crates").join(room).join("src"), &mut files);
    }
    let mut codes = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        for piece in text.split('"').filter(|p| p.starts_with("SID-")) {
            if piece.matches('-').count() >= 2 && piece.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-') {
                codes.insert(piece.to_owned());
            }
        }
    }
    codes
}

#[test]
fn codes_and_pages_are_the_same_set() {
    let codes = codes_of(&[
        "sid-store",
        "sid-store-sqlite",
        "sid-fetch",
        "sid-llm",
        "sid-tools",
        "sid-memory",
        "sid-context",
        "sid-core",
        "sid-server",
    ]);
    assert!(codes.len() > 40 && codes.contains("SID-STORE-CONFLICT") && codes.contains("SID-API-FORBIDDEN"), "{codes:?}");
    let pages: BTreeSet<String> = std::fs::read_dir(root().join("docs/errors"))
        .expect("docs/errors")
        .filter_map(|e| e.expect("an entry").file_name().to_str().and_then(|n| n.strip_suffix(".md")).map(ToOwned::to_owned))
        // The command line's own codes are its own tests' business; the index is generated.
        .filter(|name| name.starts_with("SID-") && !name.starts_with("SID-CLI-"))
        .collect();
    assert_eq!(codes.difference(&pages).collect::<Vec<_>>(), Vec::<&String>::new(), "codes without a page");
    assert_eq!(pages.difference(&codes).collect::<Vec<_>>(), Vec::<&String>::new(), "pages without a code");
}

#[test]
fn pages_have_a_cause_and_a_remedy() {
    for code in codes_of(&["sid-store", "sid-fetch", "sid-llm", "sid-core", "sid-server"]) {
        let text = std::fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap_or_else(|e| panic!("{code}: {e}"));
        assert!(text.starts_with(&format!("# {code}\n")), "{code}");
        assert!(text.contains("**Cause.** ") && text.contains("**Remedy.**") && text.contains("\n- "), "{code}");
    }
}

#[test]
fn the_servers_own_codes_are_unique() {
    let codes: BTreeSet<&str> = sid_server::ApiCode::ALL.iter().map(|c| c.code()).collect();
    assert_eq!(codes.len(), sid_server::ApiCode::ALL.len());
}
