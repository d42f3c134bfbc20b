//! Which dependency edges must not exist. ARCHITECTURE.md section 2 and `docs/architecture.md` say why.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of all packages that `package` compiles, itself excluded, with its default features (or these).
fn tree(package: &str, features: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args([
        "tree",
        "--offline",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "-p",
        package,
    ]);
    if !features.is_empty() {
        command.args(["--no-default-features", "--features", &features.join(",")]);
    }
    let out = command.output().expect("cargo runs");
    assert!(out.status.success(), "cargo tree -p {package}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("cargo prints text");
    text.lines().filter_map(|l| l.split_whitespace().next()).filter(|n| *n != package).map(str::to_owned).collect()
}

#[track_caller]
fn absent(package: &str, banned: &[&str]) {
    let found = tree(package, &[]);
    let wrong: Vec<_> = banned.iter().filter(|b| found.contains(**b)).collect();
    assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
}

/// Our own crates that `package` may see.
#[track_caller]
fn ours(package: &str, allowed: &[&str]) {
    let found: Vec<_> = tree(package, &[]).into_iter().filter(|n| n.starts_with("sid-") && !allowed.contains(&n.as_str())).collect();
    assert!(found.is_empty(), "{package} must not depend on {found:?}");
}

#[test]
fn types_do_no_io() {
    absent("sid-types", &["tokio", "futures", "async-trait", "axum", "reqwest", "sqlx"]);
    ours("sid-types", &[]);
}

#[test]
fn store_contracts_know_no_driver() {
    absent("sid-store", &["sqlx", "reqwest", "axum", "hyper", "fastembed"]);
    ours("sid-store", &["sid-types"]);
}

#[test]
fn sqlite_knows_contracts_only() {
    absent("sid-store-sqlite", &["reqwest", "axum", "fastembed", "sqlx-postgres", "sqlx-mysql"]);
    ours("sid-store-sqlite", &["sid-types", "sid-store"]);
}

#[test]
fn postgres_knows_contracts_only() {
    absent("sid-store-pg", &["reqwest", "axum", "fastembed", "sqlx-sqlite", "sqlx-mysql", "aws-lc-sys", "openssl-sys", "native-tls"]);
    ours("sid-store-pg", &["sid-types", "sid-store"]);
}

#[test]
fn qdrant_knows_contracts_only() {
    // axum comes with the server half of tonic, which the client takes along.
    absent("sid-store-qdrant", &["sqlx", "reqwest", "fastembed", "aws-lc-sys", "openssl-sys", "native-tls"]);
    ours("sid-store-qdrant", &["sid-types", "sid-store"]);
}

#[test]
fn context_service_is_taken_alone() {
    absent("sid-context", &["sqlx", "reqwest", "axum", "fastembed", "aws-lc-sys", "openssl-sys"]);
    ours("sid-context", &["sid-types", "sid-store", "sid-memory"]);
}

#[test]
fn model_contracts_stand_alone() {
    absent("sid-llm", &["sqlx", "axum", "fastembed", "tiktoken-rs"]);
    ours("sid-llm", &["sid-types"]);
    // Whoever brings a provider of their own compiles no HTTP client.
    let bare = tree("sid-llm", &[""]);
    assert!(!bare.contains("reqwest") && !bare.contains("rustls"), "sid-llm without features must have no HTTP client");
}

#[test]
fn tools_stand_alone() {
    absent("sid-tools", &["sqlx", "axum", "reqwest", "hyper", "fastembed"]);
    ours("sid-tools", &["sid-types"]);
}

#[test]
fn tools_over_http_bring_one_client() {
    let with_http = tree("sid-tools", &["http"]);
    assert!(
        with_http.contains("sid-fetch") && !with_http.contains("axum") && !with_http.contains("sqlx") && !with_http.contains("sid-llm")
    );
}

#[test]
fn python_functions_are_taken_alone() {
    absent("sid-python", &["axum", "reqwest", "hyper", "sqlx", "fastembed", "pyo3", "aws-lc-sys", "openssl-sys", "native-tls"]);
    ours("sid-python", &["sid-types", "sid-tools"]);
    // Whoever writes no tools compiles no macros.
    ours("sid-tools-macros", &[]);
    absent("sid-tools", &["sid-tools-macros"]);
}

#[test]
fn mcp_servers_are_taken_alone() {
    absent("sid-mcp", &["axum", "sqlx", "fastembed", "oauth2", "process-wrap", "aws-lc-sys", "openssl-sys", "native-tls"]);
    // Pages of the web are read as HTML documents are.
    ours("sid-mcp", &["sid-types", "sid-documents", "sid-fetch", "sid-tools"]);
}

#[test]
fn documents_are_read_alone() {
    absent("sid-documents", &["axum", "sqlx", "reqwest", "hyper", "pdf-extract"]);
    ours("sid-documents", &["sid-types"]);
    assert!(tree("sid-documents", &["pdf"]).contains("pdf-extract"));
}

#[test]
fn tools_of_an_assistant_bring_what_was_asked_for() {
    absent(
        "sid-assistant",
        &["axum", "sqlx", "reqwest", "hyper", "lettre", "fend-core", "jiff-tzdb-platform", "aws-lc-sys", "openssl-sys", "native-tls"],
    );
    ours("sid-assistant", &["sid-types", "sid-tools"]);
    let with_mail = tree("sid-assistant", &["mail"]);
    assert!(with_mail.contains("lettre") && !with_mail.contains("native-tls") && !with_mail.contains("aws-lc-sys"));
}

#[test]
fn the_guarded_client_is_taken_alone() {
    absent("sid-fetch", &["sqlx", "axum", "fastembed", "aws-lc-sys", "openssl-sys", "native-tls"]);
    ours("sid-fetch", &[]);
    // No Sid crate with URLs of strangers has a client beside it.
    for package in ["sid-tools", "sid-memory", "sid-core", "sid-context"] {
        absent(package, &["reqwest", "hyper"]);
    }
}

#[test]
fn receivers_of_webhooks_compile_no_server() {
    absent("sid-webhooks", &["tokio", "axum", "reqwest", "hyper", "sqlx", "serde"]);
    ours("sid-webhooks", &[]);
}

#[test]
fn paging_compiles_no_server_no_client_no_runtime() {
    absent("sid-memory", &["axum", "reqwest", "hyper", "sqlx", "tokio", "fastembed"]);
    ours("sid-memory", &["sid-types"]);
    // With its tools it knows contracts, still no provider and no driver.
    let with_tools = tree("sid-memory", &["tools"]);
    for banned in ["axum", "reqwest", "hyper", "sqlx", "fastembed", "sid-store-sqlite", "sid-core"] {
        assert!(!with_tools.contains(banned), "sid-memory with `tools` must not depend on {banned}");
    }
}

#[test]
fn the_core_does_no_sql_and_no_http() {
    absent("sid-core", &["sqlx", "reqwest", "hyper", "axum", "fastembed", "ort"]);
    ours("sid-core", &["sid-types", "sid-store", "sid-llm", "sid-tools", "sid-memory", "sid-documents"]);
    // Whoever brings no PDF compiles no parser of it.
    absent("sid-core", &["pdf-extract", "lopdf"]);
}

#[test]
fn only_the_server_and_what_stands_on_it_know_axum() {
    for package in
        ["sid-types", "sid-store", "sid-store-sqlite", "sid-store-pg", "sid-fetch", "sid-llm", "sid-tools", "sid-memory", "sid-core"]
    {
        absent(package, &["axum", "utoipa"]);
    }
    assert!(tree("sid-server", &[]).contains("axum"), "the check itself must be able to see axum");
}

#[test]
fn tls_is_ring_alone() {
    absent("sid-server", &["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"]);
    absent("sid-cli", &["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"]);
}

#[test]
fn xtask_stays_small() {
    let found = tree("xtask", &[]);
    assert!(found.len() <= 12, "a fresh clone compiles xtask first; it has {} dependencies: {found:?}", found.len());
}
