//! `archival_memory_insert` and `archival_memory_search`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_store::{Record, RecordKinds};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{NewPassage, Owner, PassageId, Principal, Provenance, ToolSpec};

use super::finder::Finder;
use super::pager::Row;
use super::search::{outcome, sources, store_failed};
use super::{integer, page, schema, string, text};
use crate::render;

/// Most characters of one passage: longer ones are several facts.
const LONGEST: usize = 8_000;

/// Whose memory a turn writes: the pair's, or the agent's own when there is no human. `None` for scopes that are no turn.
pub(super) fn owner(context: &ToolContext) -> Option<Owner> {
    match context.scope.principal() {
        Principal::Turn { agent, user } => Some(Owner::of_conversation(agent, user)),
        _ => None,
    }
}

/// Stores a passage for later.
pub struct ArchivalInsert;

#[async_trait]
impl Tool for ArchivalInsert {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "archival_memory_insert".into(),
            description: "Store a fact for good, so that it can be searched.".into(),
            parameters: schema(&[("content", string()), ("tags", json!({"type": "array", "items": {"type": "string"}}))], &["content"]),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Memory
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let content = text(&arguments, "content");
        if content.is_empty() {
            return ToolOutcome::error("`content` is empty: say what to store.");
        }
        let length = content.chars().count();
        if length > LONGEST {
            return ToolOutcome::error(format!("`content` has {length} of {LONGEST} characters: store it in smaller parts."));
        }
        let Some(owner) = owner(context) else {
            return ToolOutcome::error("Nothing can be stored here: this is no agent's turn.");
        };
        let tags = arguments.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let passage = NewPassage {
            // The call's own token: the same call made again stores the same passage, not a second one.
            id: PassageId::from_uuid(context.token),
            owner,
            text: content.to_owned(),
            tags: tags.map(str::trim).filter(|t| !t.is_empty()).take(16).map(ToOwned::to_owned).collect(),
            at: context.now,
            provenance: Provenance {
                conversation: Some(context.conversation),
                run: Some(context.run),
                user: context.scope.user(),
                channel: "tool".into(),
                ..Provenance::default()
            },
        };
        ToolOutcome { passages: vec![passage], ..ToolOutcome::text("Stored.") }
    }
}

/// Searches passages: the agent's, the user's, and those shared with both.
pub struct ArchivalSearch {
    finder: Finder,
}

impl ArchivalSearch {
    /// The tool over this finder.
    #[must_use]
    pub fn new(finder: Finder) -> Self {
        Self { finder }
    }
}

#[async_trait]
impl Tool for ArchivalSearch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "archival_memory_search".into(),
            description: "Search stored facts, your team's too.".into(),
            parameters: schema(&[("query", string()), ("page", integer())], &["query"]),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let query = text(&arguments, "query");
        if query.is_empty() {
            return ToolOutcome::error("`query` is empty: say what to look for.");
        }
        let found = match self.finder.find(context, query, RecordKinds::PASSAGES).await {
            Ok(found) => found,
            Err(error) => return store_failed(&error),
        };
        let zone = render::zone(&context.timezone);
        let rows: Vec<Row> = found
            .iter()
            .filter_map(|found| {
                let Record::Passage(passage) = &found.record else { return None };
                let tags = if passage.tags.is_empty() { String::new() } else { format!(" (tags: {})", passage.tags.join(", ")) };
                Some(Row { text: format!("{}{tags}", found.line(&zone).0), whole_at: String::new(), quotes: Vec::new() })
            })
            .collect();
        if rows.is_empty() {
            return ToolOutcome::text("Nothing was found. Try other words, or conversation_search for what was said.");
        }
        let sources = sources(found.iter().map(|f| &f.record));
        ToolOutcome { sources, ..outcome("Stored facts", &rows, page(&arguments), context.result_budget) }
    }
}
