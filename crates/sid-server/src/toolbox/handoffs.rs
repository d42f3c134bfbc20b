//! Hand-offs of the context service as tools: work that one of a user's assistants leaves for another one, wherever that lives. For agents that name
//! them; with the rights of the turn.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_context::{ContextError, ContextService, HandoffState};
use sid_store::{Store, StoreError};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{AgentId, Channel, Item, ItemId, Principal, Source, ToolSpec};

/// Most that a list shows.
const MOST_SHOWN: usize = 20;
/// Most characters of a hand-off's text and of a result.
const MOST_CHARS: usize = 20_000;

/// The five tools.
pub(crate) fn handoffs(context: &ContextService, store: &Arc<dyn Store>) -> Vec<Arc<dyn Tool>> {
    let kinds = [Kind::HandOff, Kind::List, Kind::Take, Kind::Close, Kind::GiveBack];
    kinds.into_iter().map(|kind| Arc::new(HandoffTool { kind, service: context.clone(), store: store.clone() }) as Arc<dyn Tool>).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    HandOff,
    List,
    Take,
    Close,
    GiveBack,
}

struct HandoffTool {
    kind: Kind,
    service: ContextService,
    store: Arc<dyn Store>,
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default().trim()
}

#[async_trait]
impl Tool for HandoffTool {
    fn spec(&self) -> ToolSpec {
        let string = || json!({"type": "string"});
        let (name, about, properties, required) = match self.kind {
            Kind::HandOff => (
                "hand_off",
                "Leave work for another of the user's assistants, or for whichever comes first. Say all that it must know.",
                json!({"title": string(), "body": string(), "agent": {"type": "string", "description": "Whose it is; anybody's, if left out."}}),
                vec!["title"],
            ),
            Kind::List => ("list_handoffs", "Work that waits for you.", json!({}), vec![]),
            Kind::Take => (
                "take_handoff",
                "Take work that waits: it is yours for a while, and you read what it is.",
                json!({"handoff": string()}),
                vec!["handoff"],
            ),
            Kind::Close => (
                "close_handoff",
                "You have done what you took: say what came of it.",
                json!({"handoff": string(), "result": string()}),
                vec!["handoff", "result"],
            ),
            Kind::GiveBack => {
                ("return_handoff", "Give back what you took: somebody else may take it.", json!({"handoff": string()}), vec!["handoff"])
            }
        };
        let parameters = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        ToolSpec { name: name.into(), description: about.into(), parameters }
    }

    fn effect(&self) -> EffectClass {
        // The call's token is a new hand-off's id, and taking, closing and returning again is recognised by its state.
        if self.kind == Kind::List { EffectClass::Read } else { EffectClass::Memory }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let Principal::Turn { agent, user: Some(_) } = context.scope.principal() else {
            return ToolOutcome::error("There is no user here: hand-offs are between a user's assistants.");
        };
        match self.done(context, agent, &arguments).await {
            Ok(outcome) => outcome,
            Err(ContextError::Store(StoreError::NotFound { .. })) => {
                ToolOutcome::error("There is no such hand-off. list_handoffs shows those that wait for you.")
            }
            Err(error) => ToolOutcome::error(format!("Not done: {error}.")),
        }
    }
}

impl HandoffTool {
    async fn done(&self, context: &ToolContext, me: AgentId, arguments: &Map<String, Value>) -> Result<ToolOutcome, ContextError> {
        let scope = &context.scope;
        if ["title", "body", "result"].iter().any(|name| text(arguments, name).chars().count() > MOST_CHARS) {
            return Ok(ToolOutcome::error(format!("Not done: a text has at most {MOST_CHARS} characters. Shorten it.")));
        }
        if let Kind::List = self.kind {
            let waiting = self.service.waiting_handoffs(scope, MOST_SHOWN).await?;
            let lines: Vec<String> = waiting.iter().map(|item| format!("{} \"{}\"", item.id, item.title)).collect();
            let told = if lines.is_empty() { "Nothing waits for you.".to_owned() } else { lines.join("\n") };
            return Ok(ToolOutcome { sources: waiting.iter().flat_map(|item| sources(item, me)).collect(), ..ToolOutcome::text(told) });
        }
        if let Kind::HandOff = self.kind {
            return self.leave(context, arguments).await;
        }
        let Ok(id) = text(arguments, "handoff").parse::<ItemId>() else {
            return Ok(ToolOutcome::error("`handoff` is no hand-off's id: it looks like item_01h2x…; list_handoffs shows them."));
        };
        match self.kind {
            Kind::Take => {
                let item = self.service.claim(scope, id).await?;
                let told = format!("It is yours now: {}\n{}\nWhen it is done, close_handoff.", item.title, item.body);
                Ok(ToolOutcome { sources: sources(&item, me), ..ToolOutcome::text(told) })
            }
            Kind::Close => {
                let result = text(arguments, "result").to_owned();
                let again = self.service.item(scope, id).await?.item;
                // Made again after a crash: it is closed with these words already.
                let state = HandoffState::read(&again);
                if !(again.state == "done" && state.claimed_by == Some(me) && state.result.as_deref() == Some(result.as_str())) {
                    self.service.finish_handoff(scope, id, Some(result), &context.untrusted).await?;
                }
                Ok(ToolOutcome::text("Closed."))
            }
            _ => {
                let known = self.service.item(scope, id).await?.item;
                if known.state != "open" {
                    self.service.give_back(scope, id).await?;
                }
                Ok(ToolOutcome::text("Given back: somebody else may take it."))
            }
        }
    }

    async fn leave(&self, context: &ToolContext, arguments: &Map<String, Value>) -> Result<ToolOutcome, ContextError> {
        let title = text(arguments, "title");
        if title.is_empty() {
            return Ok(ToolOutcome::error("Not done: the `title` is empty."));
        }
        let recipient = match text(arguments, "agent") {
            "" => None,
            name => match self.store.roster(&context.scope).await?.into_iter().find(|agent| agent.spec.name == name) {
                Some(agent) => Some(agent.id),
                None => {
                    return Ok(ToolOutcome::error(format!("There is no assistant `{name}`. Leave `agent` out for whichever comes first.")));
                }
            },
        };
        let id = ItemId::from_uuid(context.token);
        if self.service.item(&context.scope, id).await.is_err() {
            let body = text(arguments, "body").to_owned();
            self.service.hand_off(&context.scope, Some(id), recipient, title.to_owned(), body, context.untrusted.clone()).await?;
        }
        Ok(ToolOutcome::text(format!("Left: {id}.")))
    }
}

/// Whose words a hand-off has: another assistant's are text from outside, a user's own are not.
fn sources(item: &Item, me: AgentId) -> Vec<Source> {
    let from = HandoffState::read(item).from.filter(|from| *from != me);
    let mut sources = item.provenance.untrusted.clone();
    Source::add(&mut sources, &from.map(|agent| Source::new(Channel::Agent, agent.to_string())).into_iter().collect::<Vec<_>>());
    sources
}
