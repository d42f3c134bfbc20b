//! An MCP server over HTTP that misbehaves as its path says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it has seen, and what tests may change.
#[derive(Default)]
pub(crate) struct Seen {
    /// Greetings.
    pub(crate) greeted: AtomicUsize,
    /// Lists.
    pub(crate) listed: AtomicUsize,
    /// Calls of tools.
    pub(crate) called: AtomicUsize,
    /// Bytes that were sent and taken.
    pub(crate) sent: AtomicUsize,
    /// It answers nothing but errors.
    pub(crate) is_down: AtomicBool,
}

pub(crate) struct Peer {
    address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, seen) = (listener.local_addr().expect("an address"), Arc::new(Seen::default()));
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

struct Asked {
    path: String,
    authorization: String,
    body: Value,
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8_192]);
    loop {
        let end = bytes.windows(4).position(|w: &[u8]| w == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let header = |name: &str| {
                let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            };
            let length = header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let first = head.lines().next()?;
                let path = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
                let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or(Value::Null);
                let asked = Asked { path, authorization: header("authorization").unwrap_or_default(), body };
                return (first.starts_with("POST")).then_some(asked);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let Some(asked) = read(&mut stream).await else { return };
    let id = asked.body["id"].clone();
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    if seen.is_down.load(Ordering::SeqCst) {
        return say(&mut stream, "503 Service Unavailable", "text/plain", "down").await;
    }
    let path = asked.path.as_str();
    match asked.body["method"].as_str().unwrap_or_default() {
        "initialize" => {
            seen.greeted.fetch_add(1, Ordering::SeqCst);
            match path {
                "silent" => tokio::time::sleep(Duration::from_secs(600)).await,
                "nonsense" => say(&mut stream, "200 OK", "application/json", "{\"answer\": 42}").await,
                "page" => say(&mut stream, "200 OK", "text/html", "<p>Welcome</p>").await,
                "secretive" => say(&mut stream, "401 Unauthorized", "text/plain", &asked.authorization).await,
                "flood" => flood(&mut stream, "application/json", &seen).await,
                "flood_events" => flood(&mut stream, "text/event-stream", &seen).await,
                _ => {
                    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}});
                    say(&mut stream, "200 OK", "application/json", &result(hello).to_string()).await;
                }
            }
        }
        "tools/list" => {
            let count = seen.listed.fetch_add(1, Ordering::SeqCst);
            let tool = |name: String| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
            let list = match path {
                "circle" => json!({"tools": [tool(format!("t{count}"))], "nextCursor": "again"}),
                "many" => json!({"tools": (0..10_000).map(|n| tool(format!("t{n}"))).collect::<Vec<_>>()}),
                _ => json!({"tools": [tool("do".into())]}),
            };
            say(&mut stream, "200 OK", "application/json", &result(list).to_string()).await;
        }
        "tools/call" => {
            seen.called.fetch_add(1, Ordering::SeqCst);
            let text = |text: &str| result(json!({"content": [{"type": "text", "text": text}]})).to_string();
            match path {
                "slow_call" => tokio::time::sleep(Duration::from_secs(600)).await,
                "flood_call" => flood(&mut stream, "application/json", &seen).await,
                "flood_events_call" => flood(&mut stream, "text/event-stream", &seen).await,
                "hang_up" => {}
                "forgets" => {
                    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "Unknown tool: do"}});
                    say(&mut stream, "200 OK", "application/json", &error.to_string()).await;
                }
                "wrong_id" => {
                    let other = json!({"jsonrpc": "2.0", "id": 999_999, "result": {"content": []}});
                    say(&mut stream, "200 OK", "application/json", &other.to_string()).await;
                }
                "long" => say(&mut stream, "200 OK", "application/json", &text(&"word ".repeat(100_000))).await,
                _ => say(&mut stream, "200 OK", "application/json", &text(&format!("You are {}.", asked.authorization))).await,
            }
        }
        _ => say(&mut stream, "202 Accepted", "text/plain", "").await,
    }
}

async fn say(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}

/// A gigabyte, as far as it is taken.
async fn flood(stream: &mut TcpStream, kind: &str, seen: &Seen) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\ndata: \"");
    let _ = stream.write_all(head.as_bytes()).await;
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..1_024 {
        if stream.write_all(&chunk).await.is_err() {
            return;
        }
        seen.sent.fetch_add(chunk.len(), Ordering::SeqCst);
    }
}
