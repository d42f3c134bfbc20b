//! `sid mcp`: the MCP endpoint on standard input and output, for assistants that start their servers as processes.

use axum::http::StatusCode;
use clap::Args;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::client::{Client, Request};
use crate::error::CliError;
use crate::session::Session;

/// The newest revision that begins with `initialize`: what later messages of such a client are taken for.
const LAST_WITH_INITIALIZE: &str = "2025-11-25";

/// Serve memory to an assistant over standard input and output, as MCP wants it: a JSON-RPC message on each line.
///
/// With --server it speaks for that server, else it works on the data folder. --user says whose memory it is, --agent which of the user's
/// assistants asks.
#[derive(Debug, Args)]
pub struct Mcp {
    /// The assistant, by id or `@name`
    #[arg(long, value_name = "AGENT", env = "SID_AGENT")]
    pub agent: Option<String>,
    /// Every operation as a tool of its own, in place of some fifteen groups
    #[arg(long)]
    all_tools: bool,
}

pub(crate) async fn run(args: Mcp, session: &Session) -> Result<(), CliError> {
    let client = session.client().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut output = tokio::io::stdout();
    let mut revision = LAST_WITH_INITIALIZE.to_owned();
    // Calls may take long, and others must not wait for them.
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            line = lines.next_line(), if is_open => match line {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => match serde_json::from_str::<Value>(&line) {
                    Ok(message) => pending.push(answer(client, message, revision.clone(), args.all_tools)),
                    Err(error) => write(&mut output, &failure(&Value::Null, -32_700, &format!("this line is no JSON: {error}"))).await?,
                },
                Ok(None) => is_open = false,
                Err(error) => return Err(CliError::failed("SID-CLI-FILE", format!("standard input cannot be read: {error}"), "")),
            },
            Some(answered) = pending.next() => if let Some(message) = answered {
                if let Some(agreed) = message.pointer("/result/protocolVersion").and_then(Value::as_str) {
                    agreed.clone_into(&mut revision);
                }
                write(&mut output, &message).await?;
            }
        }
    }
    Ok(())
}

/// The answer to a message; `None` for those that have none.
async fn answer(client: &Client, message: Value, revision: String, all_tools: bool) -> Option<Value> {
    let id = message.get("id").cloned();
    let answered = post(client, message, &revision, all_tools).await;
    let id = id?;
    Some(match answered {
        Ok(Some(answer)) => answer,
        Ok(None) => failure(&id, -32_603, "the server gave no answer"),
        Err(problem) => failure(&id, -32_603, &problem),
    })
}

async fn post(client: &Client, message: Value, revision: &str, all_tools: bool) -> Result<Option<Value>, String> {
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let own = text("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    let method = text("/method");
    let name = text("/params/name").or_else(|| text("/params/uri"));
    let mut request = Request::mcp()
        .header("accept", "application/json, text/event-stream")
        .query_if("tools", all_tools.then_some("all"))
        .header_if("mcp-method", method.as_deref())
        .header_if("mcp-name", name.as_deref().filter(|name| name.is_ascii()));
    // The first message of an older client says its revision itself.
    if method.as_deref() != Some("initialize") {
        request = request.header("mcp-protocol-version", own.unwrap_or_else(|| revision.to_owned()));
    }
    let reply = client.exchange(request.json(message)).await.map_err(|error| error.message())?;
    let status = reply.status;
    let is_stream = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let body = reply.bytes().await.map_err(|error| error.message())?;
    if status == StatusCode::ACCEPTED || body.is_empty() {
        return Ok(None);
    }
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let answer = if is_stream {
        String::from_utf8_lossy(&body).lines().filter_map(|l| parse(l.strip_prefix("data:")?.as_bytes())).next_back()
    } else {
        parse(&body)
    };
    match answer {
        Some(answer) if answer["jsonrpc"].is_string() => Ok(Some(answer)),
        Some(problem) => Err(problem["detail"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned)),
        None => Err(format!("HTTP {status}: {}", String::from_utf8_lossy(&body))),
    }
}

fn failure(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// One message is one line: JSON has no raw line breaks.
async fn write(output: &mut tokio::io::Stdout, message: &Value) -> Result<(), CliError> {
    let line = format!("{message}\n");
    let written = async {
        output.write_all(line.as_bytes()).await?;
        output.flush().await
    };
    written.await.map_err(|error| CliError::failed("SID-CLI-BROKEN-PIPE", format!("standard output cannot be written: {error}"), ""))
}
