//! The memory tools that a model calls, as [`sid_tools::Tool`]s over a store.
//!
//! Every tool reads and writes with the scope of its [`ToolContext`](sid_tools::ToolContext) and nothing else: an argument that the
//! schema does not know (a `user_id`, say) is ignored, so a model cannot be talked into reading another user's memory.
//! Results are paged to the context's `result_budget` and never larger; a mistake of the model is an outcome that says what to do.

mod archival;
mod blocks;
mod diary;
mod finder;
mod pager;
mod search;

use std::sync::Arc;

use serde_json::{Map, Value};
use sid_llm::Embedder;
use sid_store::{DiaryStore, MemorySearch, RecallStore, Store};
use sid_tools::{Registry, RegistryError, Tool};

pub use archival::{ArchivalInsert, ArchivalSearch};
pub use blocks::{CoreAppend, CoreReplace};
pub use diary::DiaryRead;
pub use finder::{Finder, Found};
pub use search::ConversationSearch;

/// Registers all six memory tools.
///
/// Errors: those of [`Registry::register`], when one of the names is taken.
pub fn register_memory_tools(
    registry: &mut Registry,
    store: Arc<dyn Store>,
    embedder: Option<Arc<dyn Embedder>>,
) -> Result<(), RegistryError> {
    for tool in memory_tools(store.clone(), store.clone(), store, embedder) {
        registry.register(tool)?;
    }
    Ok(())
}

/// The six memory tools, for those who have not a whole [`Store`].
#[must_use]
pub fn memory_tools(
    search: Arc<dyn MemorySearch>,
    recall: Arc<dyn RecallStore>,
    diary: Arc<dyn DiaryStore>,
    embedder: Option<Arc<dyn Embedder>>,
) -> Vec<Arc<dyn Tool>> {
    let finder = Finder::new(search, embedder);
    vec![
        Arc::new(CoreAppend),
        Arc::new(CoreReplace),
        Arc::new(ConversationSearch::new(finder.clone(), recall)),
        Arc::new(ArchivalInsert),
        Arc::new(ArchivalSearch::new(finder)),
        Arc::new(DiaryRead::new(diary)),
    ]
}

/// A text argument without white space around it; empty when it is missing.
fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default().trim()
}

/// The page that is asked for, from 1.
fn page(arguments: &Map<String, Value>) -> usize {
    arguments.get("page").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1)
}

/// A schema of an object; `parameters` as `(name, declaration)`.
fn schema(parameters: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> = parameters.iter().map(|(name, declared)| ((*name).to_owned(), declared.clone())).collect();
    if required.is_empty() {
        return serde_json::json!({"type": "object", "properties": properties});
    }
    serde_json::json!({"type": "object", "properties": properties, "required": required})
}

fn string() -> Value {
    serde_json::json!({"type": "string"})
}

fn integer() -> Value {
    serde_json::json!({"type": "integer"})
}

#[cfg(test)]
mod tests;
