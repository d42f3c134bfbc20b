//! Performs faults.

use std::io;

use serde_json::{Value, json};

use super::http::Connection;
use super::openai::{Answer, WireCall};
use super::prompt::{Prompt, sample};
use super::routes::{error, pieces, said, send, stream_type, write};
use super::{Behaviour, Fault, Shared};

pub(super) async fn overflow(connection: &mut Connection, fault: Fault, prompt: u64, window: u32) -> io::Result<()> {
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
pub(super) struct Breaking<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) prompt: &'a Prompt<'a>,
    pub(super) shared: &'a Shared,
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
    pub(super) async fn perform(mut self, fault: Fault) -> io::Result<()> {
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
