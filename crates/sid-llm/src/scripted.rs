//! A model that answers what it was told to: for tests, examples and doctests, without a network.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use sid_types::{Tokens, Usage};

use crate::{ChatEvent, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile, ReplyCall, Rung};

/// One answer of a [`ScriptedModel`].
#[derive(Debug, Clone, PartialEq)]
pub enum Scripted {
    /// Words, in a few deltas.
    Text(String),
    /// Calls: names and arguments (an object; anything else arrives as malformed arguments).
    Calls(Vec<(String, Value)>),
    /// A reply as it is, without deltas.
    Reply(Box<ChatReply>),
    /// The call fails before anything comes.
    Error(LlmError),
    /// These deltas come, and then the stream fails.
    Broken(Vec<String>, LlmError),
    /// Nothing ever comes.
    Hang,
}

type Responder = dyn Fn(&ChatRequest) -> Scripted + Send + Sync;

struct State {
    script: VecDeque<Scripted>,
    requests: Vec<ChatRequest>,
    calls: u64,
}

/// Answers from a queue, then from a function, and keeps the requests.
///
/// ```
/// use sid_llm::{ChatMessage, ChatRequest, ScriptedModel, complete};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let model = ScriptedModel::new().text("Hello!").call("diary_read", serde_json::json!({"level": "day"}));
/// let request = ChatRequest { messages: vec![ChatMessage::User { text: "Hi".into() }], ..ChatRequest::default() };
/// assert_eq!(complete(&model, request.clone()).await.unwrap().text, "Hello!");
/// assert_eq!(complete(&model, request).await.unwrap().calls[0].name, "diary_read");
/// assert_eq!(model.requests().len(), 2);
/// # });
/// ```
#[derive(Clone)]
pub struct ScriptedModel {
    state: Arc<Mutex<State>>,
    otherwise: Arc<Responder>,
    info: ModelInfo,
}

impl std::fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedModel").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Default for ScriptedModel {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedModel {
    /// A model with an empty script, which answers "Understood.".
    #[must_use]
    pub fn new() -> Self {
        Self::answering(|_| Scripted::Text("Understood.".into()))
    }

    /// A model that answers by a function where its script is empty.
    #[must_use]
    pub fn answering(otherwise: impl Fn(&ChatRequest) -> Scripted + Send + Sync + 'static) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { script: VecDeque::new(), requests: Vec::new(), calls: 0 })),
            otherwise: Arc::new(otherwise),
            info: ModelInfo {
                model: "scripted".into(),
                profile: ModelProfile { context_window: Some(Tokens(8_192)), ..ModelProfile::default() },
            },
        }
    }

    /// The same model with another profile.
    #[must_use]
    pub fn with_profile(mut self, profile: ModelProfile) -> Self {
        self.info.profile = profile;
        self
    }

    /// Then it says this.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.then(Scripted::Text(text.into()))
    }

    /// Then it calls this tool.
    #[must_use]
    pub fn call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.then(Scripted::Calls(vec![(name.into(), arguments)]))
    }

    /// Then it fails.
    #[must_use]
    pub fn error(self, error: LlmError) -> Self {
        self.then(Scripted::Error(error))
    }

    /// Then it does this.
    #[must_use]
    pub fn then(self, scripted: Scripted) -> Self {
        self.push(scripted);
        self
    }

    /// Adds to the script of a model that is in use.
    pub fn push(&self, scripted: Scripted) {
        self.state.lock().script.push_back(scripted);
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.state.lock().requests.clone()
    }

    /// How much of the script is left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.state.lock().script.len()
    }
}

/// Four bytes of the prompt and of the answer are a token.
fn usage(request: &ChatRequest, answer: usize) -> Usage {
    let text = |m: &crate::ChatMessage| match m {
        crate::ChatMessage::System { text } | crate::ChatMessage::User { text } | crate::ChatMessage::Tool { text, .. } => text.len(),
        crate::ChatMessage::Assistant { text, tool_calls } => {
            text.len() + tool_calls.iter().map(|c| c.name.len() + Value::Object(c.arguments.clone()).to_string().len()).sum::<usize>()
        }
    };
    let tools: usize = request.tools.iter().map(|t| t.name.len() + t.description.len() + t.parameters.to_string().len()).sum();
    let prompt = request.messages.iter().map(text).sum::<usize>() + tools;
    Usage { prompt_tokens: prompt.div_ceil(4) as u64, completion_tokens: answer.div_ceil(4) as u64, cached_tokens: 0, is_estimated: false }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let (scripted, number) = {
            let mut state = self.state.lock();
            state.requests.push(request.clone());
            state.calls += 1;
            (state.script.pop_front(), state.calls)
        };
        let scripted = scripted.unwrap_or_else(|| (self.otherwise)(&request));
        let rung = if request.tools.is_empty() { Rung::None } else { Rung::Native };
        let reply = |text: String, calls: Vec<ReplyCall>, answer: usize| ChatReply {
            text,
            reasoning: String::new(),
            finish: if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls },
            calls,
            usage: Some(usage(&request, answer)),
            rung,
        };
        let events: Vec<Result<ChatEvent, LlmError>> = match scripted {
            Scripted::Text(text) => {
                let mut events: Vec<_> = text.split_inclusive(' ').map(|word| Ok(ChatEvent::TextDelta(word.to_owned()))).collect();
                let length = text.len();
                events.push(Ok(ChatEvent::Done(Box::new(reply(text, Vec::new(), length)))));
                events
            }
            Scripted::Calls(calls) => {
                let length = calls.iter().map(|(name, arguments)| name.len() + arguments.to_string().len()).sum();
                let one = |(at, (name, arguments)): (usize, (String, Value))| ReplyCall {
                    id: format!("call_{number}_{at}"),
                    name,
                    arguments: crate::arguments::from_value(arguments, None),
                };
                vec![Ok(ChatEvent::Done(Box::new(reply(String::new(), calls.into_iter().enumerate().map(one).collect(), length))))]
            }
            Scripted::Reply(reply) => vec![Ok(ChatEvent::Done(reply))],
            Scripted::Error(error) => return Err(error),
            Scripted::Broken(deltas, error) => {
                deltas.into_iter().map(|d| Ok(ChatEvent::TextDelta(d))).chain(std::iter::once(Err(error))).collect()
            }
            Scripted::Hang => return Ok(futures::stream::pending().boxed()),
        };
        Ok(futures::stream::iter(events).boxed())
    }
}
