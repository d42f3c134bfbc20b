//! Takes connections, finds out what to do, and does it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use sid_llm::HashEmbedder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::breaking::{Breaking, overflow};
use super::directive::Directives;
use super::http::{Connection, Request};
use super::openai::{Answer, WireCall};
use super::prompt::{Prompt, sample};
use super::{Behaviour, Fault, Flavour, RecordedRequest, Shared};

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this future: connections end with the server.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    while let Ok(Some(request)) = connection.request().await {
        if answer(&mut connection, &request, &shared).await.is_err() {
            break;
        }
    }
}

pub(super) async fn send(connection: &mut Connection, status: u16, body: &Value) -> io::Result<()> {
    connection.respond(status, &[], body.to_string().as_bytes()).await
}

pub(super) fn error(message: &str, kind: &str) -> Value {
    json!({"error": {"message": message, "type": kind}})
}

async fn answer(connection: &mut Connection, request: &Request, shared: &Shared) -> io::Result<()> {
    let path = request.path.as_str();
    if let Some(control) = path.strip_prefix("/_") {
        return self::control(connection, control, request, shared).await;
    }
    let body: Value = if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap_or_default() };
    if shared.options.record {
        shared.requests.lock().push(RecordedRequest { path: path.to_owned(), body: body.clone(), raw: request.body.clone() });
    }
    if let Some(key) = &shared.options.api_key
        && request.header("authorization") != Some(&format!("Bearer {key}"))
    {
        return send(connection, 401, &error("Incorrect API key provided", "invalid_request_error")).await;
    }
    let flavour = shared.options.flavour;
    let model = shared.options.model.as_str();
    let window = shared.options.window.unwrap_or(8_192);
    match (request.method.as_str(), path) {
        ("POST", "/v1/chat/completions") if flavour != Flavour::Ollama => chat(connection, &body, false, shared).await,
        ("POST", "/api/chat") => chat(connection, &body, true, shared).await,
        ("POST", "/v1/embeddings") => embeddings(connection, &body, model).await,
        ("GET", "/v1/models") => {
            let mut entry = json!({"id": model, "object": "model", "created": 0, "owned_by": "sid-testkit"});
            match flavour {
                Flavour::Vllm => {
                    entry["owned_by"] = "vllm".into();
                    entry["max_model_len"] = window.into();
                }
                Flavour::LlamaCpp => {
                    entry["owned_by"] = "llamacpp".into();
                    entry["meta"] = json!({"n_ctx_train": 131_072});
                }
                Flavour::Generic | Flavour::Ollama => {}
            }
            send(connection, 200, &json!({"object": "list", "data": [entry]})).await
        }
        ("GET", "/props") if flavour == Flavour::LlamaCpp => {
            let can = shared.options.has_tools;
            let caps = json!({"supports_tools": can, "supports_tool_calls": can, "supports_system_role": true});
            send(connection, 200, &json!({"default_generation_settings": {"n_ctx": window}, "total_slots": 1, "chat_template_caps": caps}))
                .await
        }
        ("POST", "/apply-template") if flavour == Flavour::LlamaCpp => {
            let prompt = body.get("messages").map(Value::to_string).unwrap_or_default();
            send(connection, 200, &json!({"prompt": prompt})).await
        }
        ("POST", "/tokenize") if flavour == Flavour::LlamaCpp => {
            let length = body.get("content").and_then(Value::as_str).map_or(0, str::len).div_ceil(4);
            send(connection, 200, &json!({"tokens": (0..length).collect::<Vec<_>>()})).await
        }
        ("POST", "/tokenize") if flavour == Flavour::Vllm => {
            let count = Prompt::new(&body, false).tokens();
            send(connection, 200, &json!({"count": count, "max_model_len": window, "tokens": []})).await
        }
        ("POST", "/api/show") if flavour == Flavour::Ollama => {
            if body.get("model").and_then(Value::as_str) != Some(model) {
                return send(connection, 404, &json!({"error": "model not found"})).await;
            }
            let capabilities = if shared.options.has_tools { json!(["completion", "tools"]) } else { json!(["completion"]) };
            send(connection, 200, &json!({"capabilities": capabilities, "model_info": {"llama.context_length": 131_072}})).await
        }
        ("GET", "/api/ps") if flavour == Flavour::Ollama => {
            let models = shared.options.window.map_or(json!([]), |w| json!([{"name": model, "model": model, "context_length": w}]));
            send(connection, 200, &json!({"models": models})).await
        }
        ("GET", "/health" | "/healthz") => send(connection, 200, &json!({"status": "ok"})).await,
        _ => send(connection, 404, &error(&format!("no such path {path}"), "not_found_error")).await,
    }
}

/// The control side, for tests that run the server as a process.
async fn control(connection: &mut Connection, path: &str, request: &Request, shared: &Shared) -> io::Result<()> {
    match path {
        "script" => match serde_json::from_slice::<Vec<Behaviour>>(&request.body) {
            Ok(behaviours) => {
                shared.script.lock().extend(behaviours);
                send(connection, 200, &json!({})).await
            }
            Err(problem) => send(connection, 400, &error(&problem.to_string(), "bad_script")).await,
        },
        "requests" => {
            let requests: Value = shared.requests.lock().iter().map(|r| json!({"path": r.path, "body": r.body})).collect();
            send(connection, 200, &requests).await
        }
        "stats" => {
            let stats =
                json!({"chats": shared.count.load(Ordering::Relaxed), "most_in_flight": shared.most_in_flight.load(Ordering::Relaxed)});
            send(connection, 200, &stats).await
        }
        "reset" => {
            shared.reset();
            send(connection, 200, &json!({})).await
        }
        _ => send(connection, 404, &error("no such control", "not_found_error")).await,
    }
}

async fn embeddings(connection: &mut Connection, body: &Value, model: &str) -> io::Result<()> {
    let texts: Vec<&str> = match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let embedder = HashEmbedder::new();
    let one = |(index, text): (usize, &&str)| json!({"object": "embedding", "index": index, "embedding": embedder.vector(text)});
    // Backwards, as the API allows: order is told by the index.
    let data: Vec<Value> = texts.iter().enumerate().rev().map(one).collect();
    send(connection, 200, &json!({"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})).await
}

struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn enter(shared: &'a Shared) -> Self {
        shared.count.fetch_add(1, Ordering::Relaxed);
        let now = shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_in_flight.fetch_max(now, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn chat(connection: &mut Connection, body: &Value, is_ollama: bool, shared: &Shared) -> io::Result<()> {
    let _here = InFlight::enter(shared);
    let prompt = Prompt::new(body, is_ollama);
    if !shared.options.delay.is_zero() {
        tokio::time::sleep(shared.options.delay).await;
    }
    if let Some(window) = shared.options.window.filter(|w| prompt.tokens() > u64::from(*w)) {
        let fault = match shared.options.flavour {
            Flavour::LlamaCpp => Fault::OverflowLlamaCpp,
            _ => Fault::OverflowVllm,
        };
        return overflow(connection, fault, prompt.tokens(), window).await;
    }
    if !shared.options.has_tools && prompt.has_tools() {
        return send(connection, 400, &error("this model does not support tools", "invalid_request_error")).await;
    }
    let behaviour = shared.script.lock().pop_front().unwrap_or_else(|| directed(&prompt, shared));
    match behaviour {
        Behaviour::Fault(fault) => Breaking { connection, prompt: &prompt, shared }.perform(fault).await,
        Behaviour::Raw { status, headers, body } => connection.respond(status, &headers, body.as_bytes()).await,
        Behaviour::Chunks(chunks) => {
            connection.begin("text/event-stream", &[], false).await?;
            for chunk in &chunks {
                connection.piece(chunk).await?;
                tokio::task::yield_now().await;
            }
            connection.end().await
        }
        behaviour => write(connection, &prompt, &said(&prompt, shared, behaviour), shared).await,
    }
}

/// What the user's directives say, or the default.
fn directed(prompt: &Prompt<'_>, shared: &Shared) -> Behaviour {
    let (text, acted) = prompt.last_user();
    if !text.contains('#') {
        return Behaviour::Text(shared.options.default_text.clone());
    }
    let directives = Directives::read(&text);
    if let Some((fault, is_once)) = directives.fault() {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let is_due = if is_once { shared.done_once.lock().insert(hasher.finish()) } else { !acted || fault == Fault::EndlessCalls };
        if is_due {
            return Behaviour::Fault(fault);
        }
    }
    directives.behaviour(acted).unwrap_or_else(|| Behaviour::Text(shared.options.default_text.clone()))
}

/// The answer to a well-behaved behaviour.
pub(super) fn said(prompt: &Prompt<'_>, shared: &Shared, behaviour: Behaviour) -> Answer {
    let mut answer = Answer {
        model: shared.options.model.clone(),
        reasoning: String::new(),
        text: String::new(),
        calls: Vec::new(),
        finish: "stop".into(),
        prompt_tokens: prompt.tokens(),
        has_usage: prompt.wants_usage(),
        usage_everywhere: false,
    };
    match behaviour {
        Behaviour::Text(text) => answer.text = text,
        Behaviour::Reasoned { reasoning, text } => {
            answer.reasoning = reasoning;
            answer.text = text;
        }
        Behaviour::Calls(calls) if prompt.is_envelope() => {
            if let Some((name, arguments)) = calls.first() {
                answer.text = json!({"action": {"tool": name, "arguments": arguments}}).to_string();
            }
            return answer;
        }
        Behaviour::Calls(calls) if !prompt.has_tools() => {
            // Nothing was offered natively: the call goes into the words, as models do when they are told to.
            let lines: Vec<String> =
                calls.iter().map(|(name, arguments)| json!({"tool": name, "arguments": arguments}).to_string()).collect();
            answer.text = lines.join("\n");
            return answer;
        }
        Behaviour::Calls(calls) => {
            let number = shared.count.load(Ordering::Relaxed);
            answer.calls = calls
                .into_iter()
                .enumerate()
                .map(|(at, (name, arguments))| WireCall {
                    index: Some(at as u64),
                    id: Some(format!("call_{number}_{at}")),
                    name,
                    arguments: Some(arguments.to_string()),
                })
                .collect();
            answer.finish = "tool_calls".into();
        }
        Behaviour::Fault(_) | Behaviour::Raw { .. } | Behaviour::Chunks(_) => {}
    }
    if prompt.is_envelope() {
        answer.text = json!({"reply": answer.text}).to_string();
    } else if let Some(schema) = prompt.schema() {
        answer.text = sample(schema).to_string();
    }
    answer
}

/// Pieces of a stream, and whether `[DONE]` ends it.
pub(super) fn pieces(prompt: &Prompt<'_>, answer: &Answer) -> Vec<String> {
    if prompt.is_ollama {
        return answer.ollama_lines();
    }
    let mut events = answer.events();
    events.push("data: [DONE]\n\n".into());
    events
}

pub(super) const fn stream_type(prompt: &Prompt<'_>) -> &'static str {
    if prompt.is_ollama { "application/x-ndjson" } else { "text/event-stream" }
}

pub(super) async fn write(connection: &mut Connection, prompt: &Prompt<'_>, answer: &Answer, shared: &Shared) -> io::Result<()> {
    if !prompt.stream() {
        let document = if prompt.is_ollama { answer.ollama_document() } else { answer.document() };
        return connection.respond(200, &[], document.as_bytes()).await;
    }
    let pieces = pieces(prompt, answer);
    if shared.options.chunk_delay.is_zero() {
        let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
        return connection.begin(stream_type(prompt), &[&pieces.concat()], true).await;
    }
    connection.begin(stream_type(prompt), &[], false).await?;
    for piece in &pieces {
        connection.piece(piece.as_bytes()).await?;
        tokio::time::sleep(shared.options.chunk_delay).await;
    }
    connection.end().await
}
