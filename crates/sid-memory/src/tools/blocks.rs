//! `core_memory_append` and `core_memory_replace`.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Block, BlockAccess, BlockOp, Owner, Tokens, ToolSpec};

use super::pager::count;
use super::{schema, string, text};
use crate::text::cut_to;

/// Adds a line to a block.
pub struct CoreAppend;

#[async_trait]
impl Tool for CoreAppend {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "core_memory_append".into(),
            description: "Add a line to a core memory block: what you must always see.".into(),
            parameters: schema(&[("label", string()), ("content", string())], &["label", "content"]),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Memory
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let content = text(&arguments, "content");
        if content.is_empty() {
            return ToolOutcome::error("`content` is empty: say what to add.");
        }
        let block = match writable(context, text(&arguments, "label")) {
            Ok(block) => block,
            Err(problem) => return fitting(problem, context),
        };
        if block.value.lines().any(|line| line.trim() == content) {
            return ToolOutcome::text(format!("Block `{}` says so already.", block.label));
        }
        edit(block, BlockOp::Append { text: content.to_owned() }, context)
    }
}

/// Replaces a text in a block.
pub struct CoreReplace;

#[async_trait]
impl Tool for CoreReplace {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "core_memory_replace".into(),
            description: "Replace text in a core memory block. Empty new_content removes it.".into(),
            parameters: schema(
                &[("label", string()), ("old_content", string()), ("new_content", string())],
                &["label", "old_content", "new_content"],
            ),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Memory
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let block = match writable(context, text(&arguments, "label")) {
            Ok(block) => block,
            Err(problem) => return fitting(problem, context),
        };
        let old = text(&arguments, "old_content");
        let Some(old) = find(&block.value, old) else {
            let what = if old.is_empty() {
                "`old_content` is empty".to_owned()
            } else {
                format!("Block `{}` does not contain that text", block.label)
            };
            let how = "Copy old_content from the present value exactly, or use core_memory_append.";
            return fitting(with_value(&format!("{what}. {how}"), block, context), context);
        };
        let op = BlockOp::Replace { old: old.to_owned(), new: text(&arguments, "new_content").to_owned() };
        edit(block, op, context)
    }
}

/// The block with this label that the agent may edit, or what the model is to be told.
fn writable<'c>(context: &'c ToolContext, label: &str) -> Result<&'c Block, String> {
    let matches = |b: &&Block| b.label.eq_ignore_ascii_case(label);
    let mut found: Vec<&Block> = context.blocks.iter().filter(matches).collect();
    // Labels are unique per owner only. The pair's own block is the one that is meant, not one that many share.
    found.sort_by_key(|b| (b.access != BlockAccess::Write, !matches!(b.owner, Owner::Pair { .. }), b.id));
    match found.first() {
        Some(block) if block.access == BlockAccess::Write => Ok(block),
        Some(block) => Err(format!("Block `{}` is read-only for you. {}", block.label, labels(context))),
        None => Err(format!("There is no block `{}`. {}", label.chars().take(40).collect::<String>(), labels(context))),
    }
}

fn labels(context: &ToolContext) -> String {
    let names: Vec<String> = context
        .blocks
        .iter()
        .filter(|b| b.access == BlockAccess::Write)
        .map(|b| format!("{} ({} of {} characters used)", b.label, b.value.chars().count(), b.limit_chars))
        .collect();
    if names.is_empty() {
        return "There is no block that you may edit; use archival_memory_insert.".into();
    }
    format!("Blocks that you may edit: {}.", names.join(", "))
}

/// The text in `value` that `old` means: itself, or, where that is not there, the one that differs in case only.
fn find<'v>(value: &'v str, old: &str) -> Option<&'v str> {
    if old.is_empty() {
        return None;
    }
    if let Some(at) = value.find(old) {
        return Some(&value[at..at + old.len()]);
    }
    let at = value.to_ascii_lowercase().find(&old.to_ascii_lowercase())?;
    // ASCII lower-casing keeps every byte's place.
    Some(&value[at..at + old.len()])
}

fn edit(block: &Block, op: BlockOp, context: &ToolContext) -> ToolOutcome {
    let Some(value) = op.apply(&block.value) else {
        return fitting(with_value(&format!("Block `{}` does not contain that text.", block.label), block, context), context);
    };
    let size = value.chars().count();
    let limit = block.limit_chars;
    if size > limit as usize {
        let problem = format!(
            "Not done: block `{}` would have {size} of {limit} characters. Shorten it with core_memory_replace first, or use \
             archival_memory_insert.",
            block.label
        );
        return fitting(with_value(&problem, block, context), context);
    }
    ToolOutcome {
        block_edits: vec![(block.id, op, block.version)],
        ..ToolOutcome::text(format!("Block `{}` is updated ({size} of {limit} characters).", block.label))
    }
}

/// `problem` and the block's present value, cut to what the result may have.
fn with_value(problem: &str, block: &Block, context: &ToolContext) -> String {
    let head = format!("{problem} Present value:\n");
    let room = context.result_budget.saturating_sub(count(&head) + Tokens(2));
    let value = cut_to(&block.value, room, &count);
    let mark = if value.len() < block.value.len() { "…" } else { "" };
    if block.value.is_empty() { format!("{problem} It is empty.") } else { format!("{head}{value}{mark}") }
}

fn fitting(problem: String, context: &ToolContext) -> ToolOutcome {
    ToolOutcome::error(cut_to(&problem, context.result_budget, &count))
}
