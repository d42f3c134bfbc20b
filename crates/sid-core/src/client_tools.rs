//! Tools of the caller: the model calls them, the run ends, and the caller answers with a new run.
//!
//! Their specifications are kept with the run, so that any replica goes on with it. Which calls wait is told by the history alone: those
//! for the client in the last assistant message that have no result, while nothing else was said after it. Source: ADR 0020.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_store::{Order, StoreError};
use sid_tools::{EffectClass, Registry, Tool, ToolContext, ToolOutcome};
use sid_types::{
    Body, ClientTool, ConversationId, Message, NewMessage, Run, Scope, Seq, Source, StopReason, Timestamp, ToolCall, ToolSpec,
};

use crate::engine::Inner;
use crate::{CoreError, taint, tool_search};

/// Most tools of one caller.
const MOST_TOOLS: usize = 128;
/// Most bytes of their specifications: they are kept with each run.
const MOST_BYTES: usize = 128 * 1024;
/// How many messages are looked through for calls that wait, or did.
const LOOK_BACK: usize = 200;

/// What a caller answers to a call that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAnswer {
    /// The call's id.
    pub call_id: String,
    /// What the model reads.
    pub text: String,
    /// Whether the call failed.
    pub is_error: bool,
    /// Sources that are not trusted, of what whoever answers has read; beside those that the tool itself stands for.
    pub untrusted: Vec<Source>,
}

/// A tool that only the caller can carry out.
struct ForClient(ToolSpec);

#[async_trait]
impl Tool for ForClient {
    fn spec(&self) -> ToolSpec {
        self.0.clone()
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        // Only a call whose arguments could not be read comes here, and only after a crash.
        ToolOutcome::error("The arguments could not be read. Call it again with a JSON object.")
    }
}

/// The caller's tools of one run.
#[derive(Default)]
pub struct ClientTools {
    registry: Registry,
    specs: Vec<Arc<ToolSpec>>,
}

impl ClientTools {
    /// Those that can be used, in the order in which they were given. A name that `others` has by now is theirs.
    pub(crate) fn of(given: &[ClientTool], others: &Registry) -> Self {
        let mut out = Self::default();
        for spec in given.iter().map(|tool| &tool.spec).filter(|spec| others.declaration(&spec.name).is_none()) {
            if out.registry.register(Arc::new(ForClient(spec.clone()))).is_ok() {
                out.specs.push(Arc::new(spec.clone()));
            }
        }
        out
    }

    /// How they are described to the model.
    pub(crate) fn specs(&self) -> &[Arc<ToolSpec>] {
        &self.specs
    }

    /// The arguments of a call as the tool takes them, or what is wrong with them; `None` = it is no tool of the caller.
    pub(crate) fn fit(&self, name: &str, arguments: &Map<String, Value>) -> Option<Result<Map<String, Value>, String>> {
        self.registry.declaration(name)?;
        self.registry.fit(name, arguments.clone())
    }
}

/// Calls that wait for the caller at the end of this history.
pub(crate) fn waiting(history: &[Message]) -> Vec<&ToolCall> {
    let Some(at) = history.iter().rposition(|m| !matches!(m.body, Body::Tool { .. })) else { return Vec::new() };
    let is_answered = |id: &str| history[at + 1..].iter().any(|m| matches!(&m.body, Body::Tool { call_id, .. } if call_id == id));
    history[at].body.tool_calls().iter().filter(|call| call.for_client && !is_answered(&call.id)).collect()
}

/// What this run reacts to: its first messages, up to the agent's own first word, but for answers to calls. A run that only answers
/// goes on with what the calls came of.
pub(crate) fn stimulus(queue: &[Message], run: sid_types::RunId) -> Vec<&Message> {
    let is_said = |m: &&Message| matches!(m.body, Body::User { .. } | Body::Note { .. });
    let Some(first) = queue.iter().position(|m| m.run == Some(run)) else { return Vec::new() };
    let own = queue[first..].iter().filter(|m| m.run == Some(run)).take_while(|m| !matches!(m.body, Body::Assistant { .. }));
    let own: Vec<&Message> = own.filter(is_said).collect();
    if !own.is_empty() || !matches!(queue[first].body, Body::Tool { .. }) {
        return own;
    }
    let Some(last) = queue[..first].iter().rposition(|m| is_said(&m)) else { return Vec::new() };
    let of = queue[last].run;
    let start = queue[..last].iter().rposition(|m| m.run != of || !is_said(&m)).map_or(0, |before| before + 1);
    queue[start..=last].iter().collect()
}

/// Refuses tools that cannot be offered: a bad name or schema, one of Sid's or the tenant's own, too many.
pub(crate) async fn check(inner: &Inner, scope: &Scope, conversation: ConversationId, tools: &[ClientTool]) -> Result<(), CoreError> {
    if tools.is_empty() {
        return Ok(());
    }
    let bad = |problem: String| CoreError::ClientTool(problem);
    if tools.len() > MOST_TOOLS {
        return Err(bad(format!("a request brings at most {MOST_TOOLS} tools, not {}", tools.len())));
    }
    let size = serde_json::to_vec(tools).map_or(usize::MAX, |bytes| bytes.len());
    if size > MOST_BYTES {
        return Err(bad(format!("the tools of a request have at most {MOST_BYTES} bytes in all, not {size}")));
    }
    let mut own = Registry::new();
    for spec in tools {
        own.register(Arc::new(ForClient(spec.spec.clone()))).map_err(|e| bad(e.to_string()))?;
    }
    let given = match &inner.provider {
        Some(provider) => {
            let talk = inner.store.conversation(scope, conversation).await?;
            // As its turn sees them: a person sees none.
            provider.given(&scope.turn(talk.agent, talk.user)).await?
        }
        None => None,
    };
    let is_taken = |name: &str| {
        let is_given = given.as_ref().is_some_and(|g| g.registry.declaration(name).is_some());
        is_given || inner.tools.declaration(name).is_some() || [tool_search::FIND, tool_search::CALL].contains(&name)
    };
    match own.names().find(|name| is_taken(name)) {
        Some(name) => Err(bad(format!("`{name}` is a tool of the server already: give yours another name"))),
        None => Ok(()),
    }
}

/// Answers, checked against the calls that wait.
pub(crate) struct Answers {
    /// As messages, in the order of the calls.
    pub(crate) messages: Vec<NewMessage>,
    /// What they were checked against holds while this is the last message.
    pub(crate) after: Seq,
    /// The tools of the run that called.
    pub(crate) tools: Vec<ClientTool>,
}

/// Finds the calls that wait in a conversation and answers them, all at once.
///
/// Errors: `UnknownCall`, `CallOver`, `CallsOpen`; `Busy` while the run that calls is not over.
pub(crate) async fn answer(
    inner: &Inner,
    scope: &Scope,
    conversation: ConversationId,
    answers: &[ClientAnswer],
    now: Timestamp,
) -> Result<Answers, CoreError> {
    let mut history = inner.store.page(scope, conversation, None, Order::Descending, LOOK_BACK).await?;
    history.reverse();
    let calling = calling_run(inner, scope, &history).await?;
    let calls = if calling.is_some() { waiting(&history) } else { Vec::new() };
    let mut answered = BTreeSet::new();
    for given in answers {
        let id = &given.call_id;
        if !calls.iter().any(|call| call.id == *id) {
            let was_asked = history.iter().any(|m| m.body.tool_calls().iter().any(|call| call.for_client && call.id == *id));
            return Err(if was_asked { CoreError::CallOver { call: id.clone() } } else { CoreError::UnknownCall { call: id.clone() } });
        }
        if !answered.insert(id.as_str()) {
            return Err(CoreError::Invalid(format!("call `{id}` is answered twice in one request")));
        }
    }
    let open: Vec<String> = calls.iter().filter(|call| !answered.contains(call.id.as_str())).map(|call| call.id.clone()).collect();
    if !open.is_empty() {
        return Err(CoreError::CallsOpen { calls: open });
    }
    let (Some(run), Some(last)) = (calling, history.last()) else {
        return Err(CoreError::Invalid("no call waits for an answer".into()));
    };
    let message = |call: &&ToolCall| {
        let given = answers.iter().find(|given| given.call_id == call.id)?;
        let text = if given.text.trim().is_empty() { "(no output)".to_owned() } else { given.text.clone() };
        let mut untrusted = given.untrusted.clone();
        if run.client_tools.iter().any(|tool| tool.spec.name == call.name && tool.untrusted) {
            Source::add(&mut untrusted, &[taint::of_tool(&call.name)]);
        }
        let text = if untrusted.is_empty() { text } else { taint::marked(text) };
        let body = Body::Tool { call_id: call.id.clone(), name: call.name.clone(), text, is_error: given.is_error, quotes: Vec::new() };
        Some(NewMessage { untrusted, ..NewMessage::of(body, now) })
    };
    let messages = calls.iter().filter_map(message).collect();
    Ok(Answers { messages, after: last.seq, tools: run.client_tools })
}

/// The run that ended with calls for the client, if the conversation's last run did.
async fn calling_run(inner: &Inner, scope: &Scope, history: &[Message]) -> Result<Option<Run>, CoreError> {
    if waiting(history).is_empty() {
        return Ok(None);
    }
    let Some(run) = history.last().and_then(|m| m.run) else { return Ok(None) };
    let run = inner.store.run(scope, run).await?;
    if !run.status.is_terminal() {
        return Err(StoreError::Busy.into());
    }
    Ok(Some(run).filter(|run| run.stop_reason == Some(StopReason::ClientCalls)))
}
