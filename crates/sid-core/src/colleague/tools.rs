//! `send_message_to_agent` and `ask_agent`: for agents that have somebody to speak with.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_tools::{Declaration, EffectClass, Registry, RegistryError, Tool, ToolContext, ToolOutcome};
use sid_types::{Agent, ToolSpec};

use super::reach::Reach;
use super::send::{Words, send};
use super::{answer, words};
use crate::engine::Inner;

const SEND: &str = "send_message_to_agent";
const ASK: &str = "ask_agent";
/// The tools by which agents wake each other.
pub(super) const NAMES: [&str; 2] = [SEND, ASK];
/// Most characters of a message.
const MOST_CHARS: usize = 20_000;
/// A call ends by itself when its time is over; this is for what holds it up besides.
const SPARE: Duration = Duration::from_secs(60);

/// Both tools, for one turn.
pub(crate) fn registry(inner: &Arc<Inner>, reach: Reach) -> Result<Registry, RegistryError> {
    let reach = Arc::new(reach);
    let mut registry = Registry::new();
    for asks in [false, true] {
        registry.register(Arc::new(Speak { inner: inner.clone(), reach: reach.clone(), asks }))?;
    }
    Ok(registry)
}

struct Speak {
    inner: Arc<Inner>,
    reach: Arc<Reach>,
    /// Whether it waits for the answer.
    asks: bool,
}

impl Speak {
    fn colleague(&self, name: &str) -> Result<&Agent, ToolOutcome> {
        self.reach.colleagues.iter().find(|a| a.spec.name == name).ok_or_else(|| {
            ToolOutcome::error(format!("You cannot speak with `{name}`. You can with: {}.", words::list(&self.reach.colleagues)))
        })
    }
}

#[async_trait]
impl Tool for Speak {
    fn spec(&self) -> ToolSpec {
        let colleagues = words::list(&self.reach.colleagues);
        let (name, about) = if self.asks {
            (
                ASK,
                format!(
                    "Ask another agent and wait for its answer. Say all that it must know: it does not see this talk. Agents: {colleagues}."
                ),
            )
        } else {
            (SEND, format!("Tell another agent something and go on; no answer comes back here. Agents: {colleagues}."))
        };
        let names: Vec<&str> = self.reach.colleagues.iter().map(|a| a.spec.name.as_str()).collect();
        let text = if self.asks { "question" } else { "message" };
        let parameters = json!({
            "type": "object",
            "properties": {"agent": {"type": "string", "enum": names}, text: {"type": "string"}},
            "required": ["agent", text],
            "additionalProperties": false,
        });
        ToolSpec { name: name.into(), description: about, parameters }
    }

    fn declaration(&self) -> Declaration {
        // A question made again is the same one: its run has the call's id. Several are asked at the same time.
        let effect = if self.asks { EffectClass::Read } else { EffectClass::Memory };
        Declaration { timeout: self.inner.config.ask_timeout + SPARE, ..Declaration::new(effect) }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().trim();
        let said = if self.asks { text("question") } else { text("message") };
        if said.is_empty() {
            return ToolOutcome::error("Not sent: there are no words.");
        }
        if said.chars().count() > MOST_CHARS {
            return ToolOutcome::error(format!("Not sent: a message has at most {MOST_CHARS} characters. Shorten it."));
        }
        let to = match self.colleague(text("agent")) {
            Ok(to) => to,
            Err(refused) => return refused,
        };
        match send(&self.inner, &self.reach, context, Words { to, text: said, asks: self.asks }).await {
            Ok(sent) if self.asks => answer::wait(&self.inner, &self.reach, context, to, sent).await,
            Ok(_) => ToolOutcome::text(format!("Sent to `{}`.", to.spec.name)),
            Err(refused) => refused,
        }
    }
}
