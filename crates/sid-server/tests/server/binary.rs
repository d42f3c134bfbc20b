//! The program itself: what it prints, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sid-server"));
    // No configuration of the machine's may get in.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SID_")) {
        command.env_remove(name);
    }
    command.current_dir(std::env::temp_dir());
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("runs")
}

/// One line on standard error that names the code; nothing on standard output, no backtrace.
fn check_refused(output: &Output, code: &str, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let line = text.lines().find(|l| l.starts_with("sid-server: error ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(code) && line.contains(words), "{line}");
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
}

#[test]
fn config_check_prints_effective_values_or_refuses() {
    let good = run(&["config", "check", "--set", "models.m.api_key=canary", "--listen", "127.0.0.1:9"]);
    let shown = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success() && shown.contains("listen = \"127.0.0.1:9\"") && !shown.contains("canary"), "{shown}");
    check_refused(&run(&["config", "check", "--set", "server.lisen=x"]), "SID-CONFIG-UNKNOWN-KEY", "did you mean `server.listen`?");
    check_refused(&run(&["--config", "no-such.toml", "config", "check"]), "SID-CONFIG-UNREADABLE", "no-such.toml");
    let variable = program().args(["config", "check"]).env("SID_STORE__KIND", "paper").output().expect("runs");
    check_refused(&variable, "SID-CONFIG-BAD-VALUE", "SID_STORE__KIND");
}

#[test]
fn the_generators_print_what_the_library_says() {
    assert_eq!(run(&["config", "reference"]).stdout, sid_server::config::reference_markdown().as_bytes());
    let document: Value = serde_json::from_slice(&run(&["openapi"]).stdout).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn an_occupied_port_is_refused_before_the_folder_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    check_refused(&run(&["--listen", &address, "--data", &data.display().to_string()]), "SID-START-LISTEN", "--listen");
    assert!(!data.exists());
}

#[cfg(unix)]
#[test]
fn it_prints_the_first_key_serves_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let mut server =
        program().args(["--listen", "127.0.0.1:0", "--data", &data]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
    let key = lines.next().expect("a line").expect("text");
    let key = key.strip_prefix("first operator key (shown once): ").expect("the marked line").to_owned();
    assert!(key.starts_with("sid_") && key.len() == 56, "{key}");
    let url = lines.next().expect("a line").expect("text");
    let address = url.strip_prefix("sid-server listens on http://").expect("the address").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).expect("connects");
    let request = format!("GET /api/v1/tenants HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("written");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"default\""), "{answer}");
    // While it runs, the folder is its own.
    check_refused(&run(&["key", "create", "--data", &data]), "SID-STORE-UNAVAILABLE", "in use");
    assert!(Command::new("kill").args(["-TERM", &server.id().to_string()]).status().expect("kill").success());
    assert!(server.wait().expect("ends").success());
    let made = run(&["key", "create", "--data", &data]);
    assert!(made.status.success() && String::from_utf8_lossy(&made.stdout).starts_with("operator key (shown once): sid_"));
}
