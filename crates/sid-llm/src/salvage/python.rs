//! Calls as Python: `[f(x=1), g(y="a")]`.

use serde_json::Value;

use super::{Block, Context, RawCall};
use crate::lenient;

/// Whether a text that begins like this may be a call of an offered tool; `None` = too short to say.
pub(super) fn may_be_call(context: &Context<'_>, text: &str) -> Option<bool> {
    let inside = text.trim_start_matches(|c: char| c.is_whitespace() || c == '[');
    let inside = inside.strip_prefix("print(").unwrap_or(inside);
    let end = inside.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
    match end {
        Some(end) if inside[end..].starts_with('(') => Some(context.call(&inside[..end], Value::Null).is_some()),
        Some(_) => Some(false),
        None if inside.len() > 80 => Some(false),
        None => None,
    }
}

fn read_call(context: &Context<'_>, text: &str) -> Option<(RawCall, usize)> {
    let open = text.find('(')?;
    let name = text[..open].trim();
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return None;
    }
    let (arguments, len) = lenient::read_python_arguments(&text[open + 1..]).ok()?;
    let name = name.strip_suffix(".call").unwrap_or(name);
    Some((context.call(name, Value::Object(arguments))?, open + 1 + len))
}

/// `[f(x=1), g()]`, brackets and all.
pub(super) fn read_list(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let (calls, len) = read_prefix(context, text.trim())?;
    (len == text.trim().len()).then_some(calls)
}

/// A bracketed list at the start; answers the bytes up to and with the closing bracket.
fn read_prefix(context: &Context<'_>, text: &str) -> Option<(Vec<RawCall>, usize)> {
    let mut at = text.find('[')? + 1;
    let mut calls = Vec::new();
    loop {
        at += text[at..].len() - text[at..].trim_start_matches(|c: char| c.is_whitespace() || c == ',').len();
        if text[at..].starts_with(']') {
            return Some((calls, at + 1));
        }
        let (call, len) = read_call(context, &text[at..])?;
        calls.push(call);
        at += len;
    }
}

/// Statements such as `f(x=1)` or `print(f(x=1))`, one per line.
pub(super) fn read_code(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let mut rest = text.trim();
    if rest.starts_with('[') {
        return read_list(context, rest);
    }
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let inner = rest.strip_prefix("print(");
        let (call, len) = read_call(context, inner.unwrap_or(rest))?;
        calls.push(call);
        rest = &inner.unwrap_or(rest)[len..];
        if inner.is_some() {
            rest = rest.trim_start().strip_prefix(')')?;
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ','));
    }
    Some(calls)
}

/// A bare list at the start of a line.
pub(super) fn bare(context: &Context<'_>, text: &str, is_end: bool) -> Block {
    match may_be_call(context, text) {
        None if is_end => return Block::No,
        None => return Block::Wait,
        Some(false) => return Block::No,
        Some(true) => {}
    }
    match read_prefix(context, text) {
        Some((calls, len)) => Block::calls(context, &text[..len], Some(calls)),
        // Open, or wrong: only the end tells. A blank line ends the hope.
        None if is_end || text.contains("\n\n") => Block::No,
        None => Block::Wait,
    }
}
