//! Servers that are slow, lie, vanish, flood, or lead inside: each is contained, and told to the model in words.

#[path = "../../../sid-fetch/tests/ssrf/corpus.rs"]
mod corpus;
mod local;
mod peer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use corpus::{Class, Ground};
use peer::Peer;
use serde_json::Map;
use sid_fetch::{Fetcher, Policy};
use sid_mcp::{Limits, McpServer, McpTool, RemoteTool};
use sid_tools::http::{Connection, Secret, Secrets};
use sid_tools::{EffectClass, Tool as _, ToolContext, ToolOutcome};
use sid_types::Timestamp;

const SECRET: &str = "s3cret-of-the-vault";
const ONCE: EffectClass = EffectClass::External { idempotent: false };

struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn reveal(&self, _: &ToolContext, name: &str) -> Option<Secret> {
        (name == "KEY").then(|| Secret::new(SECRET))
    }
}

pub(crate) fn context() -> ToolContext {
    ToolContext::detached(Timestamp::UNIX_EPOCH)
}

fn limits() -> Limits {
    Limits {
        discovery: Duration::from_secs(3),
        call: Duration::from_secs(3),
        pause: Duration::from_millis(50),
        refresh: Duration::from_millis(50),
    }
}

fn connection() -> Connection {
    let policy = Policy { open: vec!["127.0.0.1:*".parse().expect("an opening")], timeout: Duration::from_secs(3), ..Policy::default() };
    Connection::new(Fetcher::new(policy).expect("a client")).secrets(Arc::new(Vault)).secret_header("authorization", "Bearer ", "KEY")
}

fn server(url: &str) -> McpServer {
    McpServer::remote("peer", url, connection(), connection(), None, limits()).expect("a URL that is let through")
}

pub(crate) async fn call(server: &McpServer, name: &str) -> ToolOutcome {
    let remote = RemoteTool { name: name.into(), ..RemoteTool::default() };
    McpTool::new(server, remote, "", ONCE).call(&context(), Map::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_is_asked_and_called_and_a_secret_that_it_echoes_is_hidden() {
    let peer = Peer::start().await;
    let server = server(&peer.url("good"));
    let tools = server.look(&context()).await.expect("tools");
    assert!(tools.len() == 1 && tools[0].name == "do" && tools[0].says_read_only, "{tools:?}");
    let outcome = call(&server, "do").await;
    assert!(!outcome.is_error && outcome.text == "You are Bearer [secret KEY].", "{outcome:?}");
    assert!(!call(&server, "do").await.is_error);
    assert_eq!(peer.seen.greeted.load(Ordering::SeqCst), 2, "one session for looking and one for the user, not one a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_says_why_within_its_time() {
    let peer = Peer::start().await;
    for (path, says) in [
        ("silent", "whole answer within 3.0 s"),
        ("nonsense", "no message of the protocol"),
        ("page", "`text/html`, which is not the protocol's"),
        ("secretive", "it answers 401 Unauthorized: Bearer [secret KEY]"),
        ("flood", "larger than 5000000 bytes"),
        ("flood_events", ""),
    ] {
        let began = Instant::now();
        let problem = server(&peer.url(path)).look(&context()).await.expect_err(path);
        assert!(problem.contains(says) || path == "silent", "{path}: {problem}");
        assert!(!problem.contains(SECRET), "{path}: {problem}");
        assert!(began.elapsed() < Duration::from_secs(20), "{path}");
    }
    assert!(peer.seen.sent.load(Ordering::SeqCst) < 100 << 20, "floods are not drunk up: {}", peer.seen.sent.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_without_end_end() {
    let peer = Peer::start().await;
    let tools = server(&peer.url("circle")).look(&context()).await.expect("tools");
    assert_eq!((tools.len(), peer.seen.listed.load(Ordering::SeqCst)), (20, 20));
    assert_eq!(server(&peer.url("many")).look(&context()).await.expect("tools").len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_goes_wrong_is_told_as_unknown_and_never_repeated() {
    let peer = Peer::start().await;
    for path in ["slow_call", "flood_call", "flood_events_call", "hang_up", "wrong_id"] {
        let before = peer.seen.called.load(Ordering::SeqCst);
        let outcome = call(&server(&peer.url(path)), "do").await;
        assert!(outcome.is_error && outcome.text.contains("may have been carried out"), "{path}: {outcome:?}");
        assert_eq!(peer.seen.called.load(Ordering::SeqCst) - before, 1, "{path}");
    }
    assert!(peer.seen.sent.load(Ordering::SeqCst) < 100 << 20, "{}", peer.seen.sent.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_or_says_at_length_is_told() {
    let peer = Peer::start().await;
    let outcome = call(&server(&peer.url("forgets")), "do").await;
    assert!(outcome.is_error && outcome.text.contains("refuses the call: Unknown tool: do"), "{outcome:?}");
    let outcome = call(&server(&peer.url("long")), "do").await;
    assert!(!outcome.is_error && outcome.text.len() < 10_000 && outcome.text.contains("[cut:"), "{}", outcome.text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_and_comes_back_is_seen_to() {
    let peer = Peer::start().await;
    let server = server(&peer.url("good"));
    server.look(&context()).await.expect("tools");
    let first = server.found();
    assert!(first.problem.is_none() && first.tools.len() == 1);
    peer.seen.is_down.store(true, Ordering::SeqCst);
    let told = call(&server, "do").await;
    assert!(told.is_error && told.text.contains("503"), "{told:?}");
    server.look(&context()).await.expect_err("it is down");
    let down = server.found();
    assert!(down.problem.is_some() && down.tools == first.tools && down.revision > first.revision, "what is known stays known: {down:?}");
    peer.seen.is_down.store(false, Ordering::SeqCst);
    // In the background, after a pause.
    for _ in 0..200 {
        server.keep_fresh(context());
        if server.found().problem.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(server.found().problem.is_none() && !call(&server, "do").await.is_error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_stops_the_call() {
    let peer = Peer::start().await;
    let connection = Connection::new(connection().fetcher().clone()).secret_header("authorization", "Bearer ", "KEY");
    let server = McpServer::remote("peer", &peer.url("good"), connection.clone(), connection, None, limits()).expect("a server");
    let outcome = call(&server, "do").await;
    assert!(outcome.is_error && outcome.text.contains("secret `KEY` is not there"), "{outcome:?}");
    assert_eq!(peer.seen.greeted.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_url_of_a_server_gets_inside() {
    let ground = Ground::lay().await;
    for (_, url) in ground.urls() {
        let connection = Connection::new(ground.fetcher(ground.guarded()));
        if let Ok(server) = McpServer::remote("inside", &url, connection.clone(), connection, None, limits()) {
            server.look(&context()).await.expect_err(&url);
            assert!(call(&server, "do").await.is_error, "{url}");
        }
    }
    assert_eq!(ground.seen(), 0, "connections to the canaries");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_guard_off_the_url_of_a_server_reaches_the_canary() {
    let ground = Ground::lay().await;
    let mut reached = 0;
    // Redirects to another host are refused by a server's own rule: only its host.
    for (_, url) in
        ground.urls().into_iter().filter(|(class, url)| *class == Class::Canary && url.starts_with("http://127.") && !url.contains("/302/"))
    {
        let connection = Connection::new(ground.fetcher(ground.open()));
        let before = ground.seen();
        let server = McpServer::remote("inside", &url, connection.clone(), connection, None, limits()).expect(&url);
        server.look(&context()).await.expect_err("a canary speaks no MCP");
        assert!(ground.seen() > before, "{url}");
        reached += 1;
    }
    assert!(reached >= 3, "{reached}");
}
