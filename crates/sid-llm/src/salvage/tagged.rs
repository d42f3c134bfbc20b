//! Calls between special tokens or tags.

use serde_json::Value;

use super::{Block, Context, RawCall, harmony, json, python, xml};

/// How a text that begins with a known mark goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Calls up to this closer.
    Until(&'static str),
    /// Tags whose closer has the opener's own name.
    Tag,
    /// One JSON value or Python list.
    Value,
    /// Mistral's.
    Mistral,
    Harmony,
    Think(&'static str),
    EndThink,
    /// A control token that nobody should see.
    Control,
}

/// Longer marks first where one is the start of another.
const MARKS: [(&str, Mark); 33] = [
    ("<tool_call>", Mark::Until("</tool_call>")),
    ("<tool_calls>", Mark::Until("</tool_calls>")),
    ("<function_call>", Mark::Until("</function_call>")),
    ("<functioncall>", Mark::Until("</functioncall>")),
    ("<function=", Mark::Until("</function>")),
    ("<function_calls>", Mark::Until("</function_calls>")),
    ("<minimax:tool_call>", Mark::Until("</minimax:tool_call>")),
    ("<invoke name=", Mark::Until("</invoke>")),
    ("<｜DSML｜", Mark::Tag),
    ("<|DSML|", Mark::Tag),
    ("<｜tool▁calls▁begin｜>", Mark::Until("<｜tool▁calls▁end｜>")),
    ("<｜tool▁call▁begin｜>", Mark::Until("<｜tool▁call▁end｜>")),
    ("<|tool_calls_section_begin|>", Mark::Until("<|tool_calls_section_end|>")),
    ("<|tool_call_begin|>", Mark::Until("<|tool_call_end|>")),
    ("<|tool_call|>", Mark::Value),
    ("<|python_tag|>", Mark::Value),
    ("<|python_start|>", Mark::Until("<|python_end|>")),
    ("[TOOL_CALLS]", Mark::Mistral),
    ("[TOOL_REQUEST]", Mark::Until("[END_TOOL_REQUEST]")),
    ("<|channel|>", Mark::Harmony),
    ("<|start|>", Mark::Harmony),
    ("<think>", Mark::Think("</think>")),
    ("<thinking>", Mark::Think("</thinking>")),
    ("[THINK]", Mark::Think("[/THINK]")),
    ("</think>", Mark::EndThink),
    ("<|im_end|>", Mark::Control),
    ("<|eot_id|>", Mark::Control),
    ("<|eom_id|>", Mark::Control),
    ("<|endoftext|>", Mark::Control),
    ("<|end_of_text|>", Mark::Control),
    ("<|end|>", Mark::Control),
    ("<|return|>", Mark::Control),
    ("<｜end▁of▁sentence｜>", Mark::Control),
];

/// A mark at the start of `text`, and its length; `Err(true)` = more text may make it one.
pub(super) fn mark(text: &str) -> Result<(usize, Mark), bool> {
    if let Some((opener, mark)) = MARKS.iter().find(|(opener, _)| text.starts_with(opener)) {
        return Ok((opener.len(), *mark));
    }
    Err(MARKS.iter().any(|(opener, _)| opener.starts_with(text)))
}

/// What stands at a `<` or `[`.
pub(super) fn block(context: &Context<'_>, text: &str, is_end: bool) -> Block {
    let (open, mark) = match mark(text) {
        Ok(found) => found,
        Err(may_become) => return if may_become && !is_end { Block::Wait } else { Block::No },
    };
    match mark {
        Mark::Think(close) => return Block::OpenThinking(open, close),
        Mark::EndThink => return Block::EndThinking(open),
        Mark::Control => return Block::Drop(open),
        Mark::Harmony => return harmony::message(context, text, is_end),
        _ if context.tools.is_empty() => return Block::No,
        _ => {}
    }
    match mark {
        Mark::Until(close) => until(context, text, open, close, is_end),
        Mark::Tag => match text[open..].split_once(['>', ' ']) {
            None if is_end => Block::No,
            None => Block::Wait,
            Some((name, _)) => until(context, text, open, &format!("</{}{name}>", &text[1..open]), is_end),
        },
        Mark::Mistral => mistral(context, text, open, is_end),
        _ => value(context, text, open, is_end),
    }
}

fn until(context: &Context<'_>, text: &str, open: usize, close: &str, is_end: bool) -> Block {
    let body = &text[open..];
    let opener = &text[..open];
    // A second opener of the same kind closes a call whose closer was forgotten; a family of tags nests.
    let is_whole_tag = opener.ends_with(['>', ']']);
    let next = body.find(opener).filter(|_| is_whole_tag).map(|at| (at, 0));
    let closer = body.find(close).map(|at| (at, close.len()));
    let (body_len, close_len) = match (closer, next) {
        (Some(closer), Some(next)) => closer.min(next),
        (Some(closer), None) => closer,
        (None, Some(next)) if is_end => next,
        (None, _) if is_end => (body.len(), 0),
        (None, _) => return Block::Wait,
    };
    let written = &text[..open + body_len + close_len];
    // `<function=f>` and `<invoke name=…>` carry their name in the opener.
    let inner = if is_whole_tag { &body[..body_len] } else { written };
    Block::calls(context, written, read_body(context, inner))
}

/// What stands between an opener and its closer, in any of the dialects that share the tags.
fn read_body(context: &Context<'_>, body: &str) -> Option<Vec<RawCall>> {
    let body = body.trim();
    if body.contains("<｜tool▁sep｜>") {
        return body.split("<｜tool▁call▁begin｜>").filter(|c| c.contains("<｜tool▁sep｜>")).map(|c| deepseek(context, c)).collect();
    }
    if body.contains("<|tool_call_argument_begin|>") {
        return body.split("<|tool_call_begin|>").filter(|c| c.contains("_argument_begin|>")).map(|c| kimi(context, c)).collect();
    }
    if body.contains("<invoke name=") || body.contains("DSML") {
        return xml::invokes(context, body);
    }
    if body.starts_with("<function=") {
        return xml::functions(context, body);
    }
    if body.contains("<arg_key>") {
        return xml::arg_keys(context, body).map(|call| vec![call]);
    }
    match body.chars().next()? {
        '{' => json::read_all(context, body),
        '[' => json::read_all(context, body).or_else(|| python::read_list(context, body)),
        // `f\n{"x": 1}` or `f(x=1)`
        _ => match body.split_once('{') {
            Some((name, arguments)) if !name.contains('(') => {
                context.call(name, Value::from(format!("{{{arguments}"))).map(|call| vec![call])
            }
            _ => python::read_code(context, body),
        },
    }
}

/// All blocks of a text that holds nothing else.
pub(super) fn read_all(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let mut rest = text.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        match block(context, rest, true) {
            Block::Calls(len, found) => {
                calls.extend(found);
                rest = rest[len..].trim_start();
            }
            _ => return None,
        }
    }
    Some(calls)
}

/// `function<｜tool▁sep｜>f\n```json\n{…}\n```` or `f<｜tool▁sep｜>{…}`.
fn deepseek(context: &Context<'_>, text: &str) -> Option<RawCall> {
    let text = text.split("<｜tool▁call▁end｜>").next()?;
    let (before, after) = text.split_once("<｜tool▁sep｜>")?;
    let (name, arguments) = match after.trim_start().starts_with('{') {
        true => (before.trim(), after.trim()),
        false => after.trim().split_once('\n').unwrap_or((after.trim(), "")),
    };
    let arguments = arguments.trim().trim_start_matches("```json").trim_matches('`').trim();
    context.call(name, Value::from(arguments))
}

/// `functions.f:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`.
fn kimi(context: &Context<'_>, text: &str) -> Option<RawCall> {
    let (name, arguments) = text.split_once("<|tool_call_argument_begin|>")?;
    let arguments = arguments.split("<|tool_call_end|>").next()?;
    context.call(name.trim(), Value::from(arguments.trim()))
}

/// A value after a token without a closer.
fn value(context: &Context<'_>, text: &str, open: usize, is_end: bool) -> Block {
    let body = &text[open..];
    let lead = body.len() - body.trim_start().len();
    let body = &body[lead..];
    if body.is_empty() {
        return if is_end { Block::No } else { Block::Wait };
    }
    if !body.starts_with(['{', '[']) {
        // Python up to the end of the turn.
        let end = body.find("<|").or(is_end.then_some(body.len()));
        let Some(end) = end else { return Block::Wait };
        return Block::calls(context, &text[..open + lead + end], python::read_code(context, &body[..end]));
    }
    let len = match json::span(body) {
        Some(len) => len,
        None if is_end => body.len(),
        None => return Block::Wait,
    };
    Block::calls(context, &text[..open + lead + len], read_body(context, &body[..len]))
}

/// `[TOOL_CALLS]` and then a list, or `f[ARGS]{…}`, or `f{…}`.
fn mistral(context: &Context<'_>, text: &str, open: usize, is_end: bool) -> Block {
    let body = &text[open..];
    let lead = body.len() - body.trim_start().len();
    let body = &body[lead..];
    if body.starts_with('[') || body.is_empty() {
        return value(context, text, open, is_end);
    }
    let Some(brace) = body.find('{') else {
        return if is_end || body.len() > 300 { Block::No } else { Block::Wait };
    };
    let len = match json::span(&body[brace..]) {
        Some(len) => brace + len,
        None if is_end => body.len(),
        None => return Block::Wait,
    };
    if brace == 0 {
        return Block::calls(context, &text[..open + lead + len], read_body(context, &body[..len]));
    }
    let name = body[..brace].split('[').next().unwrap_or_default();
    let call = context.call(name, Value::from(&body[brace..len]));
    Block::calls(context, &text[..open + lead + len], call.map(|call| vec![call]))
}
