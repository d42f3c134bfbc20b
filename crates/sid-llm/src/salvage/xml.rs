//! Calls as XML-like tags. Values are raw text, never unescaped; the schema gives them their type later.

use serde_json::{Map, Value};

use super::{Context, RawCall};

/// `<function=f><parameter=x>1</parameter></function>`, one or more.
pub(super) fn functions(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while let Some(body) = rest.strip_prefix("<function=") {
        let (name, body) = body.split_once('>')?;
        let (body, after) = match body.split_once("</function>") {
            Some(parts) => parts,
            // The closer was forgotten: the next function or the end closes.
            None => body.find("<function=").map_or((body, ""), |at| body.split_at(at)),
        };
        calls.push(context.call(name, parameters(body, "<parameter=", "</parameter>")?)?);
        rest = after.trim_start();
    }
    (rest.is_empty() || rest.starts_with("</")).then_some(calls)
}

/// `<invoke name="f"><parameter name="x">1</parameter></invoke>`, one or more, perhaps with DSML marks.
pub(super) fn invokes(context: &Context<'_>, text: &str) -> Option<Vec<RawCall>> {
    let text = text.replace("｜DSML｜", "").replace("|DSML|", "");
    let mut calls = Vec::new();
    let mut rest = &text[text.find("<invoke name=")?..];
    while let Some(body) = rest.strip_prefix("<invoke name=") {
        let (name, body) = body.split_once('>')?;
        let (body, after) = body.split_once("</invoke>").unwrap_or((body, ""));
        let arguments = match body.trim() {
            json if json.starts_with('{') => Value::String(json.to_owned()),
            _ => parameters(body, "<parameter name=", "</parameter>")?,
        };
        calls.push(context.call(attribute(name), arguments)?);
        rest = after.trim_start();
    }
    Some(calls)
}

/// `f<arg_key>x</arg_key><arg_value>1</arg_value>`.
pub(super) fn arg_keys(context: &Context<'_>, text: &str) -> Option<RawCall> {
    let (name, mut rest) = text.trim().split_at(text.trim().find("<arg_key>")?);
    let mut map = Map::new();
    while let Some(body) = rest.trim_start().strip_prefix("<arg_key>") {
        let (key, body) = body.split_once("</arg_key>")?;
        let body = body.trim_start().strip_prefix("<arg_value>")?;
        let (value, after) = body.split_once("</arg_value>").unwrap_or((body, ""));
        map.insert(key.trim().to_owned(), Value::from(value));
        rest = after;
    }
    context.call(name, Value::Object(map))
}

/// `None` when the body is neither parameters nor JSON nor empty.
fn parameters(body: &str, open: &str, close: &str) -> Option<Value> {
    let mut rest = body.trim();
    if rest.starts_with('{') {
        return Some(Value::String(rest.to_owned()));
    }
    let mut map = Map::new();
    while let Some(body) = rest.strip_prefix(open) {
        let (key, body) = body.split_once('>')?;
        let end = match body.find(close) {
            Some(end) => end,
            None => body.find(open).unwrap_or(body.len()),
        };
        let value = &body[..end];
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        map.insert(attribute(key).to_owned(), Value::from(value));
        rest = body[end..].strip_prefix(close).unwrap_or(&body[end..]).trim_start();
    }
    (rest.is_empty() || rest.starts_with("</")).then_some(Value::Object(map))
}

/// `"x" string="true"` -> `x`.
fn attribute(text: &str) -> &str {
    let text = text.trim();
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].split(quote).next().unwrap_or_default(),
        _ => text.split_whitespace().next().unwrap_or_default(),
    }
}
