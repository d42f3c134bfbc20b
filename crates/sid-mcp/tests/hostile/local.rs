//! Local servers: programs that end, flood, hang, and leave children behind.

use std::path::Path;
use std::time::{Duration, Instant};

use sid_mcp::{Limits, McpServer, Program};

use crate::{call, context};

/// A server in shell: it greets and tells its one tool, and does `THEN` when that is called.
const SERVER: &str = r#"
echo $$ >> pids
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}}';;
    *'"tools/list"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}}';;
    *'"tools/call"'*) THEN ;;
  esac
done
"#;
const ANSWER: &str =
    r#"echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[{"type":"text","text":"'"$(env | cut -d= -f1 | sort | tr '\n' ' ')"'"}]}}'"#;

fn local(folder: &Path, then: &str) -> McpServer {
    local_with_pause(folder, then, Duration::from_millis(20))
}

fn local_with_pause(folder: &Path, then: &str, pause: Duration) -> McpServer {
    let program = Program {
        launcher: None,
        command: "/bin/sh".into(),
        arguments: vec!["-c".into(), SERVER.replace("THEN", then)],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("MINE".into(), "1".into())],
        folder: folder.to_owned(),
    };
    let limits = Limits { discovery: Duration::from_secs(10), call: Duration::from_secs(2), pause, ..Limits::default() };
    McpServer::local("shell", program, limits)
}

/// Numbers of the processes that were started, in order.
fn started(folder: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_server_has_a_clean_environment_and_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = local(folder.path(), ANSWER);
    assert_eq!(server.look(&context()).await.expect("tools").len(), 1);
    for _ in 0..3 {
        let outcome = call(&server, "do").await;
        let names: Vec<&str> = outcome.text.split_whitespace().filter(|n| !matches!(*n, "PWD" | "OLDPWD" | "SHLVL" | "_")).collect();
        assert_eq!((names, outcome.is_error), (vec!["MINE", "PATH"], false), "{outcome:?}");
    }
    assert_eq!(started(folder.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_server_that_ends_is_told_of_and_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = local_with_pause(folder.path(), "exit 3", Duration::from_secs(3));
    let mut pauses = 0;
    for n in 1..=2 {
        let mut outcome = call(&server, "do").await;
        // It is not started again before its pause is over.
        let began = Instant::now();
        while outcome.text.contains("tried again in") && began.elapsed() < Duration::from_secs(30) {
            pauses += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            outcome = call(&server, "do").await;
        }
        assert!(outcome.is_error && outcome.text.contains("may have been carried out"), "{n}: {outcome:?}");
        assert_eq!(started(folder.path()).len(), n);
    }
    assert!(pauses > 0, "it was not started again at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_and_a_hang_are_contained() {
    for then in ["head -c 100000000 /dev/zero | tr '\\0' x", "sleep 600"] {
        let folder = tempfile::tempdir().expect("a folder");
        let server = local(folder.path(), then);
        let began = Instant::now();
        let outcome = call(&server, "do").await;
        assert!(outcome.is_error && outcome.text.contains("may have been carried out"), "{then}: {outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "{then}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_local_server_is_left_when_it_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = local(folder.path(), "(sleep 600 & echo $! >> pids); echo");
    let _ = call(&server, "do").await;
    let processes = started(folder.path());
    assert_eq!(processes.len(), 2, "itself and its child");
    let is_there = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert!(processes.iter().all(is_there));
    drop(server);
    until("the server and its child end", || !processes.iter().any(is_there)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_none_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program {
        launcher: None,
        command: "/no/such/program".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
        folder: folder.path().to_owned(),
    };
    let problem = McpServer::local("none", program, Limits::default()).look(&context()).await.expect_err("nothing to start");
    assert!(problem.contains("/no/such/program cannot be started"), "{problem}");
}
