//! Calls as JSON: marked, fenced or bare.

use serde_json::{Map, Value};

use super::{Block, Context, RawCall};
use crate::lenient;

const NAME_KEYS: [&str; 7] = ["name", "tool", "tool_name", "function", "function_name", "recipient_name", "action"];
const ARGUMENT_KEYS: [&str; 8] = ["arguments", "parameters", "args", "input", "params", "argument", "action_input", "kwargs"];
const OTHER_KEYS: [&str; 6] = ["type", "id", "call_id", "index", "thought", "tool_calls"];

/// The calls that a value stands for; `None` when it is anything else.
pub(crate) fn calls_in(context: &Context<'_>, value: &Value) -> Option<Vec<RawCall>> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let calls: Option<Vec<_>> = items.iter().map(|item| calls_in(context, item)).collect();
            calls.map(|c| c.into_iter().flatten().collect())
        }
        Value::Object(map) => calls_in_object(context, map),
        _ => None,
    }
}

fn calls_in_object(context: &Context<'_>, map: &Map<String, Value>) -> Option<Vec<RawCall>> {
    if let Some(calls) = map.get("tool_calls").filter(|c| c.is_array()) {
        return calls_in(context, calls);
    }
    if let Some(inner @ Value::Object(_)) = map.get("function").or_else(|| map.get("action")).or_else(|| map.get("tool_call")) {
        return calls_in(context, inner);
    }
    let name_key = NAME_KEYS.into_iter().find(|k| map.get(*k).is_some_and(Value::is_string))?;
    let argument_key = ARGUMENT_KEYS.into_iter().find(|k| map.contains_key(*k));
    let is_only_a_call = map.keys().all(|k| k == name_key || Some(k.as_str()) == argument_key || OTHER_KEYS.contains(&k.as_str()));
    if !is_only_a_call {
        return None;
    }
    let arguments = argument_key.and_then(|k| map.get(k)).cloned().unwrap_or_default();
    let name = map.get(name_key)?.as_str()?;
    let call = if name_key == "tool" && argument_key == Some("arguments") {
        context.call_as_asked(name, arguments)
    } else {
        context.call(name, arguments)
    };
    call.map(|call| vec![call])
}

/// The first bytes that are one balanced object or array; `None` while it is open.
pub(super) fn span(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if in_string => {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            }
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads a value that may be badly written.
pub(super) fn read(text: &str) -> Option<Value> {
    let text = text.trim();
    serde_json::from_str(text).ok().or_else(|| lenient::read_value(text).ok().map(|v| v.0))
}

/// A call whose name can be read though its JSON cannot: the arguments are then what is wrong with it.
fn legible(context: &Context<'_>, text: &str) -> Option<RawCall> {
    let after = |key: &str| {
        let at = text.find(&format!("\"{key}\""))?;
        text[at + key.len() + 2..].trim_start().strip_prefix(':').map(str::trim_start)
    };
    let arguments = ["arguments", "parameters"].into_iter().find_map(after)?;
    let name = |key: &str| after(key)?.strip_prefix('"')?.split('"').next();
    let call = match name("tool") {
        Some(name) => context.call_as_asked(name, Value::from(arguments)),
        None => context.call(name("name")?, Value::from(arguments)),
    };
    // Only what is beyond repair: the rest has been read already.
    call.filter(|_| read(text).is_none())
}

/// Calls of a text that is one value, or is meant to be.
fn read_calls(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    match read(text) {
        Some(value) => calls_in(context, &value),
        None => legible(context, text).map(|call| vec![call]),
    }
}

/// Calls written one after the other, with white space, commas or semicolons between them.
pub(super) fn read_all(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let mut rest = text.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let len = span(rest).unwrap_or(rest.len());
        calls.extend(read_calls(context, &rest[..len])?);
        rest = rest[len..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ','));
    }
    Some(calls)
}

/// Whether an object that begins like this may be a call: its first key tells.
pub(super) fn may_be_call(text: &str, is_end: bool) -> Option<bool> {
    let inside = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '['));
    let Some(quote) = inside.chars().next() else { return if is_end { Some(false) } else { None } };
    if !matches!(quote, '"' | '\'') {
        return Some(false);
    }
    let key = &inside[1..];
    let known = || NAME_KEYS.into_iter().chain(ARGUMENT_KEYS).chain(OTHER_KEYS).chain(["tool_call", "reply"]);
    match key.find(quote) {
        Some(end) => Some(known().any(|k| k == &key[..end])),
        None if is_end => Some(false),
        None if known().any(|k| k.starts_with(key)) => None,
        None => Some(false),
    }
}

/// A bare object or array at the start of a line.
pub(super) fn bare(context: &Context<'_>, text: &str, is_end: bool) -> Block {
    match may_be_call(text, is_end) {
        None => return Block::Wait,
        Some(false) => return Block::No,
        Some(true) => {}
    }
    let written = match span(text) {
        Some(len) => &text[..len],
        None if is_end => text,
        None => return Block::Wait,
    };
    Block::calls(context, written, read_calls(context, written))
}

/// A code block: three backticks at the start of a line.
pub(super) fn fenced(context: &Context<'_>, text: &str, is_end: bool) -> Block {
    if text.len() < 3 {
        return if is_end || !"```".starts_with(text) { Block::No } else { Block::Wait };
    }
    if !text.starts_with("```") {
        return Block::No;
    }
    let Some(line) = text.find('\n') else {
        return if is_end { Block::No } else { Block::Wait };
    };
    let plain = Block::OpenFence(line + 1);
    let info = text[3..line].trim();
    if !matches!(info, "" | "json" | "tool_call" | "tool_calls" | "tool_code" | "tool" | "xml" | "function_call" | "python") {
        return plain;
    }
    let body = &text[line + 1..];
    let inner = body.trim_start();
    let is_hopeful = match inner.chars().next() {
        None => return if is_end { plain } else { Block::Wait },
        Some('{' | '[') if !matches!(info, "python" | "tool_code") => match may_be_call(inner, is_end) {
            None => return Block::Wait,
            Some(hopeful) => hopeful || (inner.starts_with('[') && super::python::may_be_call(context, inner) != Some(false)),
        },
        Some('<') => ["<tool_call", "<function", "<invoke"].iter().any(|m| m.starts_with(inner) || inner.starts_with(m)),
        Some(_) if matches!(info, "python" | "tool_code") => super::python::may_be_call(context, inner) != Some(false),
        Some(_) => false,
    };
    if !is_hopeful || !context.bare {
        return plain;
    }
    let (end, len) = match body.find("\n```").map(|at| at + 1).or_else(|| body.starts_with("```").then_some(0)) {
        Some(at) => (at, line + 1 + at + 3),
        None if is_end => (body.len(), text.len()),
        None => return Block::Wait,
    };
    let inner = body[..end].trim();
    let calls = match inner.chars().next() {
        Some('{' | '[') => read_all(context, inner).or_else(|| super::python::read_list(context, inner)),
        Some('<') => super::tagged::read_all(context, inner),
        _ => super::python::read_code(context, inner),
    };
    match Block::calls(context, &text[..len], calls) {
        Block::No => plain,
        block => block,
    }
}
