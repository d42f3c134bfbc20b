//! Takes connections, finds out what to do, and does it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use sid_llm::HashEmbedder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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

async fn send(connection: &mut Connection, status: u16, body: &Value) -> io::Result<()> {
    connection.respond(status, &[], body.to_string().as_bytes()).await
}

fn error(message: &str, kind: &str) -> Value {
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
fn said(prompt: &Prompt<'_>, shared: &Shared, behaviour: Behaviour) -> Answer {
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
fn pieces(prompt: &Prompt<'_>, answer: &Answer) -> Vec<String> {
    if prompt.is_ollama {
        return answer.ollama_lines();
    }
    let mut events = answer.events();
    events.push("data: [DONE]\n\n".into());
    events
}

const fn stream_type(prompt: &Prompt<'_>) -> &'static str {
    if prompt.is_ollama { "application/x-ndjson" } else { "text/event-stream" }
}

async fn write(connection: &mut Connection, prompt: &Prompt<'_>, answer: &Answer, shared: &Shared) -> io::Result<()> {
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

async fn overflow(connection: &mut Connection, fault: Fault, prompt: u64, window: u32) -> io::Result<()> {
    let body = match fault {
        Fault::OverflowLlamaCpp => json!({"error": {
            "code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": prompt, "n_ctx": window,
            "message": "the request exceeds the available context size, try increasing it",
        }}),
        Fault::OverflowSglang => json!({"object": "error", "type": "BadRequestError", "code": 400, "message": format!(
            "Requested token count exceeds the model's maximum context length of {window} tokens. You requested a total of {} tokens: {prompt} tokens from the input messages and 256 tokens for the completion.",
            prompt + 256
        )}),
        Fault::OverflowLmStudio => json!({"error": format!(
            "Trying to keep the first {prompt} tokens when context the overflows. However, the model is loaded with context length of only {window} tokens, which is not enough."
        )}),
        _ => json!({"error": {"type": "BadRequestError", "code": 400, "message": format!(
            "This model's maximum context length is {window} tokens. However, you requested {} tokens ({prompt} in the messages, 256 in the completion). Please reduce the length of the messages or completion.",
            prompt + 256
        )}}),
    };
    send(connection, 400, &body).await
}

/// Performs faults.
struct Breaking<'a> {
    connection: &'a mut Connection,
    prompt: &'a Prompt<'a>,
    shared: &'a Shared,
}

impl Breaking<'_> {
    async fn status(self, status: u16, headers: &[(&str, &str)], message: &str) -> io::Result<()> {
        let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.connection.respond(status, &headers, error(message, "scripted").to_string().as_bytes()).await
    }

    async fn say(self, answer: &Answer) -> io::Result<()> {
        write(self.connection, self.prompt, answer, self.shared).await
    }

    fn answer(&self, text: &str) -> Answer {
        said(self.prompt, self.shared, Behaviour::Text(text.into()))
    }

    /// Calls of the first offered tools with arguments that fit them.
    fn calls(&self, n: usize) -> Answer {
        let tools = self.prompt.tools();
        let pick = |at: usize| {
            tools.get(at % tools.len().max(1)).map_or_else(|| ("search".into(), json!({})), |(name, schema)| (name.clone(), sample(schema)))
        };
        said(self.prompt, self.shared, Behaviour::Calls((0..n).map(pick).collect()))
    }

    /// A call whose arguments are spoilt; on the lower rungs the same happens to its JSON.
    fn spoilt(&self, arguments: Option<&str>) -> Answer {
        let mut answer = self.calls(1);
        match answer.calls.first_mut() {
            Some(call) => call.arguments = arguments.map(str::to_owned),
            None => {
                let tools = self.prompt.tools();
                let name = tools.first().map_or("search", |t| t.0.as_str());
                answer.text = format!(r#"{{"action": {{"tool": "{name}", "arguments": {}}}}}"#, arguments.unwrap_or("null"));
            }
        }
        answer
    }

    fn marked_call(&self) -> String {
        let (name, schema) = self.prompt.tools().into_iter().next().unwrap_or_else(|| ("search".into(), json!({})));
        format!("<tool_call>\n{}\n</tool_call>", json!({"name": name, "arguments": sample(&schema)}))
    }

    #[expect(clippy::too_many_lines, reason = "one arm per fault, each of a line or two")]
    async fn perform(mut self, fault: Fault) -> io::Result<()> {
        match fault {
            Fault::RateLimited => self.status(429, &[], "slow down").await,
            Fault::RateLimitedRetryAfter => self.status(429, &[("retry-after", "0.05")], "slow down").await,
            Fault::RateLimitedLong => self.status(429, &[("retry-after", "120")], "come back later").await,
            Fault::OverflowVllm | Fault::OverflowLlamaCpp | Fault::OverflowSglang | Fault::OverflowLmStudio => {
                overflow(self.connection, fault, self.prompt.tokens().max(5_000), 4_096).await
            }
            Fault::OverflowInStream | Fault::ErrorInStream => {
                let body = match fault {
                    Fault::OverflowInStream => {
                        error("the request exceeds the available context size (4096 tokens)", "exceed_context_size_error")
                    }
                    _ => error("the tool parser raised an exception", "InternalServerError"),
                };
                match (self.prompt.stream(), self.prompt.is_ollama) {
                    (false, _) => send(self.connection, if fault == Fault::OverflowInStream { 400 } else { 500 }, &body).await,
                    (true, is_ollama) => {
                        let first = pieces(self.prompt, &self.answer("I was about to say")).into_iter().take(2).collect::<String>();
                        let last = if is_ollama { format!("{body}\n") } else { format!("data: {body}\n\n") };
                        self.connection.begin(stream_type(self.prompt), &[first.as_bytes(), last.as_bytes()], true).await
                    }
                }
            }
            Fault::Unauthorized => self.status(401, &[], "bad key").await,
            Fault::NoSuchModel => self.status(404, &[], "The model does not exist").await,
            Fault::ToolsUnsupported if self.prompt.has_tools() => {
                self.status(
                    400,
                    &[],
                    "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set: tools are not supported",
                )
                .await
            }
            Fault::ToolsUnsupported => {
                let answer = self.answer("No tools here.");
                self.say(&answer).await
            }
            Fault::ServerError => self.status(500, &[], "boom").await,
            Fault::Unavailable => self.status(503, &[], "Loading model").await,
            Fault::HangBefore => self.hang().await,
            Fault::HangMid => {
                self.half().await?;
                self.hang().await
            }
            Fault::Reset => {
                self.connection.reset();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::ResetMid => {
                self.half().await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                self.connection.reset();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::CutStream => {
                self.half().await?;
                self.connection.close().await;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Fault::NoEnd if self.prompt.stream() => {
                let first = pieces(self.prompt, &self.answer("I was about to say something long")).into_iter().take(2).collect::<String>();
                self.connection.begin(stream_type(self.prompt), &[first.as_bytes()], true).await
            }
            Fault::BadJson | Fault::NoEnd => match self.prompt.stream() {
                true => {
                    let mut all = pieces(self.prompt, &self.answer("words"));
                    let broken = if self.prompt.is_ollama {
                        "{\"message\": {\"cont\n"
                    } else {
                        "data: {\"choices\": [{\"index\": 0, \"delta\": {\"cont\n\n"
                    };
                    all.insert(1, broken.into());
                    self.connection.begin(stream_type(self.prompt), &[all.concat().as_bytes()], true).await
                }
                false => self.connection.respond(200, &[], b"{\"choices\": [{\"index\": 0, \"mess").await,
            },
            Fault::Html => self.connection.respond(200, &[], b"<html><body>It works!</body></html>").await,
            Fault::SplitUtf8 => {
                let answer = self.answer("Grüße, 世界 🥒!");
                if !self.prompt.stream() {
                    return self.say(&answer).await;
                }
                let all = pieces(self.prompt, &answer).concat();
                self.connection.begin(stream_type(self.prompt), &[], false).await?;
                for byte in all.as_bytes().chunks(3) {
                    self.connection.piece(byte).await?;
                    tokio::task::yield_now().await;
                }
                self.connection.end().await
            }
            Fault::LoneSurrogate => {
                let answer = self.answer("broken SURROGATE here");
                let escaped = |text: String| text.replace("SURROGATE", "\\ud83d");
                if self.prompt.stream() {
                    let all = escaped(pieces(self.prompt, &answer).concat());
                    return self.connection.begin(stream_type(self.prompt), &[all.as_bytes()], true).await;
                }
                let document = if self.prompt.is_ollama { answer.ollama_document() } else { answer.document() };
                self.connection.respond(200, &[], escaped(document).as_bytes()).await
            }
            Fault::HugeOutput => self.huge().await,
            Fault::EmptyChoices => {
                let body = json!({"id": "x", "object": "chat.completion", "model": "scripted", "choices": []});
                match (self.prompt.stream(), self.prompt.is_ollama) {
                    (true, false) => {
                        let events = format!("data: {body}\n\ndata: [DONE]\n\n");
                        self.connection.begin("text/event-stream", &[events.as_bytes()], true).await
                    }
                    (_, true) => send(self.connection, 200, &json!({"model": "scripted", "done": true})).await,
                    (false, false) => send(self.connection, 200, &body).await,
                }
            }
            other => {
                let answer = self.odd(other);
                self.say(&answer).await
            }
        }
    }

    /// Faults of the answer itself.
    fn odd(&self, fault: Fault) -> Answer {
        match fault {
            Fault::EmptyAnswer => Answer { text: String::new(), ..self.answer("") },
            Fault::ThinkOnly => Answer { reasoning: "I should think about this.".into(), text: String::new(), ..self.answer("") },
            Fault::UnknownFinish => Answer { finish: "because_i_say_so".into(), ..self.answer("All is well.") },
            Fault::AnnouncedCalls => Answer { text: String::new(), finish: "tool_calls".into(), ..self.answer("") },
            Fault::CutArguments => Answer { finish: "length".into(), ..self.spoilt(Some("{\"query\": \"half a str")) },
            Fault::UnknownTool => said(self.prompt, self.shared, Behaviour::Calls(vec![("launch_rockets".into(), json!({}))])),
            Fault::PollutedName => {
                let mut answer = self.calls(1);
                answer.calls.iter_mut().for_each(|c| c.name.push_str("<|channel|>commentary"));
                answer
            }
            Fault::BadArguments => self.spoilt(Some("pickles and gherkins")),
            Fault::MissingArguments => self.spoilt(Some("{}")),
            Fault::NullArguments => self.spoilt(None),
            Fault::DoubleEncoded => {
                let arguments = self.prompt.tools().first().map_or_else(|| json!({}), |t| sample(&t.1)).to_string();
                self.spoilt(Some(&Value::from(arguments).to_string()))
            }
            Fault::DeepArguments => self.spoilt(Some(&format!("{{\"a\": {}1{}}}", "[".repeat(500), "]".repeat(500)))),
            Fault::CallInText => Answer { text: format!("Let me look.\n{}", self.marked_call()), calls: Vec::new(), ..self.answer("") },
            Fault::CallInReasoning => Answer {
                reasoning: format!("I should look this up. {}", self.marked_call()),
                text: String::new(),
                calls: Vec::new(),
                ..self.answer("")
            },
            Fault::DuplicateIds => self.edit(2, |call, _| call.id = Some("call_1".into())),
            Fault::MissingIndex => self.edit(2, |call, _| call.index = None),
            Fault::MissingId => self.edit(2, |call, _| call.id = None),
            Fault::IndexZero => self.edit(2, |call, _| call.index = Some(0)),
            Fault::TwoCalls => self.calls(2),
            Fault::EndlessCalls => self.calls(1),
            Fault::UsageEverywhere => Answer { usage_everywhere: true, ..self.answer("Counted.") },
            Fault::NoUsage => Answer { has_usage: false, ..self.answer("Not counted.") },
            _ => self.answer("Understood."),
        }
    }

    fn edit(&self, n: usize, change: impl Fn(&mut WireCall, usize)) -> Answer {
        let mut answer = self.calls(n);
        answer.calls.iter_mut().enumerate().for_each(|(at, call)| change(call, at));
        answer
    }

    /// The first half of an answer.
    async fn half(&mut self) -> io::Result<()> {
        let answer = self.answer("I was about to tell you something that is rather long, and then");
        if self.prompt.stream() {
            let all = pieces(self.prompt, &answer);
            let half = all[..all.len() / 2].concat();
            return self.connection.begin(stream_type(self.prompt), &[half.as_bytes()], false).await;
        }
        let document = if self.prompt.is_ollama { answer.ollama_document() } else { answer.document() };
        self.connection.respond_part(document.len(), &document.as_bytes()[..document.len() / 2]).await
    }

    async fn hang(self) -> io::Result<()> {
        let _ = tokio::time::timeout(self.shared.options.hang, self.connection.gone()).await;
        Err(io::ErrorKind::TimedOut.into())
    }

    /// 50 MB of words, never held at once.
    async fn huge(self) -> io::Result<()> {
        const PIECE: usize = 64 * 1_024;
        const PIECES: usize = 50 * 1_000 * 1_000 / PIECE;
        let words = "pickles ".repeat(PIECE / 8);
        if self.prompt.stream() {
            let answer = Answer { text: words, ..self.answer("") };
            // Small frames, as engines send them.
            let all = pieces(self.prompt, &answer);
            let middle = all[1..all.len().min(2_000)].concat();
            self.connection.begin(stream_type(self.prompt), &[all[0].as_bytes()], false).await?;
            let mut sent = 0;
            while sent < PIECES * PIECE {
                self.connection.piece(middle.as_bytes()).await?;
                sent += middle.len();
            }
            return self.connection.end().await;
        }
        let (before, after) = match self.prompt.is_ollama {
            true => (r#"{"model": "scripted", "message": {"role": "assistant", "content": ""#, r#""}, "done": true}"#),
            false => (r#"{"choices": [{"index": 0, "message": {"role": "assistant", "content": ""#, r#""}, "finish_reason": "stop"}]}"#),
        };
        self.connection.respond_part(before.len() + PIECES * words.len() + after.len(), before.as_bytes()).await?;
        for _ in 0..PIECES {
            self.connection.raw(words.as_bytes()).await?;
        }
        self.connection.raw(after.as_bytes()).await
    }
}
