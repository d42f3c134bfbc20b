//! Tool search: an agent with more tools than its prompt has room for finds them.
//!
//! The prompt then has the memory tools, the pinned ones, and two more: [`FIND`] tells of tools in its result, and [`CALL`] calls any of them, for
//! engines that let a model call only what was offered. What is offered never changes by a search, so the prompt's beginning does
//! not either; what was found is known as long as the result is in the prompt. Source: ADR 0021.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_llm::ReplyCall;
use sid_memory::{TOOL_IMPORTANCE, count_bytes, fit_specs, spec_tokens};
use sid_store::index::{Document, PartitionIndex};
use sid_store::{RecordId, SearchQuery};
use sid_tools::{EffectClass, Registry, Tool, ToolContext, ToolOutcome, fit_result};
use sid_types::{PassageId, Timestamp, Tokens, ToolSpec};

use crate::tool_vectors::ToolVectors;

/// Finds tools.
pub(crate) const FIND: &str = "find_tools";
/// Calls a tool that was found.
pub(crate) const CALL: &str = "call_tool";
/// Most tools that one search tells of.
const MOST_FOUND: usize = 5;
/// Most tokens of what it tells.
const MOST_TOLD: Tokens = Tokens(1_500);
/// From this likeness on a tool is found that shares no word with the request. Sentences about different things are below 0.2 for MiniLM.
const LIKE: f32 = 0.3;

/// What stands in the prompt of an agent with these tools, when not all of them fit `cap`; `None` = they do, or search would not help.
///
/// Shape: the `first` ones, the memory tools and the pinned ones as far as they fit, in the order of `specs`; then the two of the search.
/// Pure: the same tools give the same offer.
pub(crate) fn offer(specs: &[Arc<ToolSpec>], first: &[&str], pinned: &[&str], cap: Tokens) -> Option<Vec<Arc<ToolSpec>>> {
    if fit_specs(specs.to_vec(), cap, &count_bytes).len() == specs.len() {
        return None;
    }
    let size = |spec: &ToolSpec| spec_tokens(spec, &count_bytes);
    let search = [find_spec(), call_spec()].map(Arc::new);
    let taken: Tokens = search.iter().map(|spec| size(spec)).sum();
    // In a tiny window the few most important tools are worth more than a way to find others.
    if taken.0 * 2 > cap.0 {
        return None;
    }
    let mut left = cap.saturating_sub(taken);
    let mut kept = vec![false; specs.len()];
    for name in first.iter().chain(&TOOL_IMPORTANCE).chain(pinned) {
        let Some(at) = specs.iter().position(|spec| spec.name == *name).filter(|at| !kept[*at]) else { continue };
        if size(&specs[at]) <= left {
            left = left - size(&specs[at]);
            kept[at] = true;
        }
    }
    let is_hidden = |spec: &ToolSpec| !TOOL_IMPORTANCE.contains(&spec.name.as_str());
    if !specs.iter().zip(&kept).any(|(spec, kept)| !kept && is_hidden(spec)) {
        return None;
    }
    let shown = specs.iter().zip(kept).filter(|(_, kept)| *kept).map(|(spec, _)| spec.clone());
    Some(shown.chain(search).collect())
}

/// The registry with the two tools of the search over `specs`; `None` = one of the names is taken.
pub(crate) fn with_search(registry: &Registry, specs: &[Arc<ToolSpec>], vectors: Arc<ToolVectors>) -> Option<Registry> {
    let mut own = Registry::new();
    own.register(Arc::new(FindTools { specs: specs.to_vec(), vectors })).ok()?;
    own.register(Arc::new(CallTool)).ok()?;
    let is_free = [FIND, CALL].iter().all(|name| registry.declaration(name).is_none());
    is_free.then(|| registry.and(&own))
}

/// Makes a call through [`CALL`] the call that it means, so that rules, journal and history know the tool itself.
pub(crate) fn unwrap_call(call: &mut ReplyCall) {
    if call.name != CALL {
        return;
    }
    let Ok(given) = &call.arguments else { return };
    let Some(name) = given.get("name").and_then(Value::as_str).map(str::to_owned).filter(|name| name != CALL) else { return };
    let arguments = match given.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => arguments,
            _ => return,
        },
        Some(_) => return,
    };
    (call.name, call.arguments) = (name, Ok(arguments));
}

fn find_spec() -> ToolSpec {
    ToolSpec {
        name: FIND.into(),
        description: "Finds more tools: you have many that are not listed here. Say what you want to do.".into(),
        parameters: json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}),
    }
}

fn call_spec() -> ToolSpec {
    let properties = json!({"name": {"type": "string"}, "arguments": {"type": "object"}});
    ToolSpec {
        name: CALL.into(),
        description: "Calls a tool that find_tools told of.".into(),
        parameters: json!({"type": "object", "properties": properties, "required": ["name"]}),
    }
}

struct FindTools {
    specs: Vec<Arc<ToolSpec>>,
    vectors: Arc<ToolVectors>,
}

impl FindTools {
    /// The best first: BM25 over names, descriptions and arguments, and their likeness of meaning where an embedder knows it. The scores of both
    /// are added, each as a share of the best there may be.
    async fn search(&self, query: &str) -> Vec<&ToolSpec> {
        let texts: Vec<String> = self.specs.iter().map(|spec| words_of(spec)).collect();
        let likeness = self.vectors.likeness(query, &texts).await.unwrap_or_else(|| vec![0.0; texts.len()]);
        let words = self.by_words(query, &texts);
        let best = words.iter().copied().fold(0.0, f32::max);
        let share = |words: f32| if best > 0.0 { words / best } else { 0.0 };
        let score = |i: usize| share(words[i]) + likeness[i].max(0.0);
        let mut found: Vec<usize> = (0..self.specs.len()).filter(|i| words[*i] > 0.0 || likeness[*i] >= LIKE).collect();
        found.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then_with(|| self.specs[*a].name.cmp(&self.specs[*b].name)));
        found.into_iter().take(MOST_FOUND).map(|i| &*self.specs[i]).collect()
    }

    /// The score of each by words.
    fn by_words(&self, query: &str, texts: &[String]) -> Vec<f32> {
        let mut index = PartitionIndex::new();
        let mut by_id = HashMap::new();
        for (i, text) in texts.iter().enumerate() {
            let id = RecordId::Passage(PassageId::new());
            let at = Timestamp::UNIX_EPOCH;
            index.insert(&Document { id, conversation: None, seq: None, role: None, at, speaker: None, text });
            by_id.insert(id, i);
        }
        let query = SearchQuery { per_channel: texts.len().max(1), ..SearchQuery::new(apart(query)) };
        let mut scores = vec![0.0; texts.len()];
        index.search(&query).items.iter().for_each(|hit| scores[by_id[&hit.id]] = hit.channels.bm25);
        scores
    }
}

#[async_trait]
impl Tool for FindTools {
    fn spec(&self) -> ToolSpec {
        find_spec()
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
        let found = self.search(query).await;
        if found.is_empty() {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            let text = format!("No tool fits these words. Try others. These are all tools: {}", names.join(", "));
            return ToolOutcome::text(fit_result(&text, context.result_budget.min(MOST_TOLD)));
        }
        let mut text = format!("Call one of these by its name, or with {CALL}:");
        for spec in found {
            let _ = write!(text, "\n\n{}: {}\narguments: {}", spec.name, spec.description, spec.parameters);
        }
        ToolOutcome::text(fit_result(&text, context.result_budget.min(MOST_TOLD)))
    }
}

/// A call that could not be unwrapped.
struct CallTool;

#[async_trait]
impl Tool for CallTool {
    fn spec(&self) -> ToolSpec {
        call_spec()
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        ToolOutcome::error(format!("`{CALL}` needs the `name` of a tool that `{FIND}` told of, and its `arguments` as an object."))
    }
}

/// What a tool is found by.
fn words_of(spec: &ToolSpec) -> String {
    let mut text = format!("{} {}", apart(&spec.name), spec.description);
    for (name, declared) in spec.parameters.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let about = declared.get("description").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(text, " {} {about}", apart(name));
    }
    text
}

/// Words of a name: `getBread_price` as `get Bread price`.
fn apart(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut before = ' ';
    for c in name.chars() {
        if c == '_' || c == '-' {
            out.push(' ');
        } else {
            if c.is_uppercase() && before.is_lowercase() {
                out.push(' ');
            }
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool_vectors::tests::vectors;

    #[tokio::test]
    async fn tools_are_found_by_words_and_by_meaning_and_by_words_alone_when_the_embedder_fails() {
        let spec = |name: &str, description: &str| {
            Arc::new(ToolSpec { name: name.into(), description: description.into(), parameters: json!({}) })
        };
        let specs = vec![spec("bake", "Makes a loaf."), spec("bill", "Sends an invoice."), spec("plough", "Turns the field.")];
        let check = async |fails: bool, query: &str, expected: &[&str]| {
            let find = FindTools { specs: specs.clone(), vectors: Arc::new(vectors(fails).0) };
            let found: Vec<&str> = find.search(query).await.into_iter().map(|spec| spec.name.as_str()).collect();
            assert_eq!(found, expected, "{query}, {fails}");
        };
        check(false, "let her pay", &["bill"]).await;
        check(true, "let her pay", &[]).await;
        // Its word stands in one, its meaning in the other.
        check(false, "pay for the loaf", &["bake", "bill"]).await;
        check(true, "pay for the loaf", &["bake"]).await;
        // Word and meaning together go before a word alone.
        check(false, "turns into an invoice", &["bill", "plough"]).await;
    }
}
