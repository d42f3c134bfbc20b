//! The channels of gpt-oss, left in the text by an engine without a parser for them.
//!
//! `<|channel|>analysis<|message|>…<|end|>`, `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`,
//! `<|channel|>final<|message|>…<|return|>`; the recipient may also stand before the channel.

use serde_json::Value;

use super::{Block, Context};

const ENDS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"];

/// One message of a channel, at `<|channel|>` or `<|start|>assistant`.
pub(super) fn message(context: &Context<'_>, text: &str, is_end: bool) -> Block {
    let Some(at) = text.find("<|message|>") else {
        return if is_end || text.len() > 400 { Block::No } else { Block::Wait };
    };
    let (head, body) = (&text[..at], &text[at + "<|message|>".len()..]);
    let found = ENDS.iter().filter_map(|end| body.find(end).map(|at| (at, *end))).min();
    let (body_len, end_len) = match found {
        Some((at, end @ ("<|end|>" | "<|call|>" | "<|return|>"))) => (at, end.len()),
        Some((at, _)) => (at, 0),
        None if is_end => (body.len(), 0),
        None => return Block::Wait,
    };
    let len = at + "<|message|>".len() + body_len + end_len;
    let body = &body[..body_len];
    if let Some(recipient) = head.split("to=").nth(1) {
        let name: &str = recipient.split(|c: char| c.is_whitespace() || c == '<').next().unwrap_or_default();
        let name = name.strip_prefix("functions.").unwrap_or(name);
        return match Block::calls(context, &text[..len], context.call(name, Value::from(body)).map(|c| vec![c])) {
            Block::No => Block::Drop(len),
            block => block,
        };
    }
    if head.contains("analysis") { Block::Reasoning(len, body.to_owned()) } else { Block::Text(len, body.to_owned()) }
}
