//! From what a model wrote as arguments to an object that fits the tool.

use std::sync::Arc;

use serde_json::{Map, Value};
use sid_types::ToolSpec;

use crate::BadArguments;
use crate::lenient::{self, Problem};

/// Most characters of the raw text that are kept in [`BadArguments`].
const MAX_RAW_CHARS: usize = 2_000;

/// Reads arguments, repairs them where only one meaning is possible, and bends them to the schema.
///
/// `schema` is the tool's `parameters`, if the tool is known.
pub(crate) fn parse(raw: &str, schema: Option<&Value>) -> Result<Map<String, Value>, BadArguments> {
    let map = read_object(raw, 0).map_err(|problem| bad(raw, problem.words()))?;
    Ok(fit(map, schema))
}

/// Arguments that came as a value.
pub(crate) fn from_value(value: Value, schema: Option<&Value>) -> Result<Map<String, Value>, BadArguments> {
    match value {
        Value::Object(map) if depth_within(&map, lenient::MAX_DEPTH) => Ok(fit(map, schema)),
        Value::Object(map) => Err(bad(&Value::Object(map).to_string(), Problem::TooDeep.words())),
        Value::Null => Ok(Map::new()),
        Value::String(text) => parse(&text, schema),
        other => Err(bad(&other.to_string(), "the arguments must be one JSON object")),
    }
}

/// Several objects written one after the other, as some engines do with parallel calls; `None` when it is not that.
pub(crate) fn split_concatenated(raw: &str) -> Option<Vec<&str>> {
    let mut stream = serde_json::Deserializer::from_str(raw).into_iter::<Map<String, Value>>();
    let mut parts: Vec<&str> = Vec::new();
    let mut from = 0;
    while let Some(next) = stream.next() {
        next.ok()?;
        let part = raw[from..stream.byte_offset()].trim();
        from = stream.byte_offset();
        if !parts.contains(&part) {
            parts.push(part);
        }
        if parts.len() >= crate::MAX_CALLS {
            break;
        }
    }
    (parts.len() > 1).then_some(parts)
}

fn bad(raw: &str, problem: &str) -> BadArguments {
    BadArguments { raw: raw.chars().take(MAX_RAW_CHARS).collect(), problem: problem.to_owned() }
}

fn read_object(raw: &str, nesting: usize) -> Result<Map<String, Value>, Problem> {
    let text = unfence(raw.trim());
    if matches!(text, "" | "null" | "None" | "\"\"") {
        return Ok(Map::new());
    }
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(_) => match text.find('{') {
            // Words before the object, such as `json` or `Arguments:`.
            Some(start) if start > 0 && !text.starts_with(['"', '\'', '[']) => lenient::read_value(&text[start..])?.0,
            _ => lenient::read_value(text)?.0,
        },
    };
    match value {
        Value::Object(map) if depth_within(&map, lenient::MAX_DEPTH) => Ok(map),
        Value::Object(_) => Err(Problem::TooDeep),
        // Encoded twice (or thrice).
        Value::String(inner) if nesting < 3 => read_object(&inner, nesting + 1),
        Value::Array(mut items) if items.len() == 1 => match items.pop() {
            Some(Value::Object(map)) => Ok(map),
            _ => Err(Problem::Unexpected),
        },
        _ => Err(Problem::Unexpected),
    }
}

fn unfence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.strip_prefix("json").unwrap_or(inner);
    inner.strip_suffix("```").unwrap_or(inner).trim()
}

fn depth_within(map: &Map<String, Value>, left: usize) -> bool {
    fn value(v: &Value, left: usize) -> bool {
        match v {
            Value::Object(map) => depth_within(map, left),
            Value::Array(items) => left > 0 && items.iter().all(|v| value(v, left - 1)),
            _ => true,
        }
    }
    left > 0 && map.values().all(|v| value(v, left - 1))
}

fn fit(mut map: Map<String, Value>, schema: Option<&Value>) -> Map<String, Value> {
    let Some(properties) = schema.and_then(|s| s.get("properties")).and_then(Value::as_object) else { return map };
    // The whole call, or the word `arguments`, repeated inside the arguments.
    for wrapper in ["arguments", "parameters", "args", "input"] {
        let is_wrapped = !properties.contains_key(wrapper)
            && map.keys().all(|k| {
                k == wrapper || (!properties.contains_key(k) && matches!(k.as_str(), "name" | "type" | "id" | "tool" | "function"))
            });
        if !is_wrapped {
            continue;
        }
        let inner = match map.get(wrapper) {
            Some(Value::Object(inner)) => inner.clone(),
            Some(Value::String(text)) => match read_object(text, 1) {
                Ok(inner) => inner,
                Err(_) => continue,
            },
            _ => continue,
        };
        map = inner;
        break;
    }
    for (key, property) in properties {
        if let Some(value) = map.get_mut(key) {
            coerce(value, property, 0);
        }
    }
    map
}

/// Bends a value to its schema where the value says the same in another type.
fn coerce(value: &mut Value, schema: &Value, depth: usize) {
    if depth > 8 {
        return;
    }
    let allows = |name: &str| match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(many)) => many.iter().any(|t| t == name),
        _ => schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Value::as_array)
            .is_some_and(|any| any.iter().any(|s| s.get("type").is_some_and(|t| t == name))),
    };
    match value {
        Value::String(text) if !allows("string") => {
            let read = text.trim();
            let better = match read {
                "true" | "True" | "yes" if allows("boolean") => Some(Value::Bool(true)),
                "false" | "False" | "no" if allows("boolean") => Some(Value::Bool(false)),
                "" | "null" | "None" if allows("null") => Some(Value::Null),
                _ if allows("integer") && read.parse::<i64>().is_ok() => read.parse::<i64>().ok().map(Value::from),
                _ if allows("integer") => {
                    read.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| Value::from(f as i64))
                }
                _ if allows("number") => read.parse::<f64>().ok().map(Value::from),
                _ if allows("array") && read.starts_with('[') => lenient::read_value(read).ok().map(|v| v.0),
                _ if allows("object") && read.starts_with('{') => lenient::read_value(read).ok().map(|v| v.0),
                _ if allows("array") && schema.pointer("/items/type").is_some_and(|t| t == "string") => {
                    Some(Value::Array(vec![Value::from(read)]))
                }
                _ => None,
            };
            if let Some(better) = better {
                *value = better;
            }
        }
        Value::Number(number) if !allows("number") => {
            if allows("integer") {
                if let Some(whole) = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() < 9e15) {
                    *value = Value::from(whole as i64);
                }
            } else if allows("string") {
                *value = Value::String(number.to_string());
            }
        }
        Value::Bool(flag) if allows("string") && !allows("boolean") => *value = Value::String(flag.to_string()),
        _ => {}
    }
    match value {
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| coerce(item, schema, depth + 1));
            }
        }
        Value::Object(map) => {
            for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if let Some(value) = map.get_mut(key) {
                    coerce(value, schema, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// The offered tool that a model means by `written`, or `written` made harmless.
///
/// Control tokens and prefixes such as `functions.` are stripped. The answer has 1 to 64 characters of `[a-zA-Z0-9_-]`.
pub(crate) fn clean_name(written: &str, tools: &[Arc<ToolSpec>]) -> String {
    let cut = written.find("<|").or_else(|| written.find("<｜")).filter(|at| *at > 0).unwrap_or(written.len());
    let name = written[..cut].trim().trim_matches(['"', '\'', '`', '*', '<', '>', '|', ':', '(', ')']).trim();
    if let Some(tool) = find_tool(name, tools) {
        return tool.name.clone();
    }
    let bare = name.rsplit('.').next().unwrap_or(name);
    let bare = match bare.split_once(':') {
        Some((before, after)) if after.chars().all(|c| c.is_ascii_digit()) => before,
        _ => bare,
    };
    if let Some(tool) = find_tool(bare, tools) {
        return tool.name.clone();
    }
    let harmless: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).take(64).collect();
    if harmless.is_empty() { "unnamed_tool".to_owned() } else { harmless }
}

fn find_tool<'a>(name: &str, tools: &'a [Arc<ToolSpec>]) -> Option<&'a Arc<ToolSpec>> {
    let exact = tools.iter().find(|t| t.name == name);
    exact.or_else(|| {
        let fold = |s: &str| s.to_ascii_lowercase().replace(['-', ' '], "_");
        let mut alike = tools.iter().filter(|t| fold(&t.name) == fold(name));
        let first = alike.next();
        if alike.next().is_some() { None } else { first }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "query": {"type": "string"}, "k": {"type": "integer"}, "exact": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}}, "at": {"type": ["string", "null"]}, "score": {"type": "number"},
        }})
    }

    #[test]
    fn repair_and_coercion() {
        for (written, meant) in [
            ("", json!({})),
            ("null", json!({})),
            (
                r#"{"query": "pickles", "k": "5", "exact": "true", "tags": "[\"a\", \"b\"]"}"#,
                json!({"query": "pickles", "k": 5, "exact": true, "tags": ["a", "b"]}),
            ),
            (r#""{\"query\": \"x\"}""#, json!({"query": "x"})),
            (r#""\"{\\\"query\\\": \\\"x\\\"}\"""#, json!({"query": "x"})),
            (r#"{"arguments": {"query": "x"}}"#, json!({"query": "x"})),
            (r#"{"name": "search", "parameters": "{\"query\": \"x\"}"}"#, json!({"query": "x"})),
            ("```json\n{\"query\": \"x\",}\n```", json!({"query": "x"})),
            (r#"[{"query": "x"}]"#, json!({"query": "x"})),
            (r#"{"query": 7, "k": 2.0, "score": "0.5", "tags": "one"}"#, json!({"query": "7", "k": 2, "score": 0.5, "tags": ["one"]})),
            (r#"{"query": "x"}}"#, json!({"query": "x"})),
            (r#"{"query": "x", "at": null}"#, json!({"query": "x", "at": null})),
        ] {
            assert_eq!(parse(written, Some(&schema())).map(Value::Object), Ok(meant), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_words_for_the_model() {
        for written in [r#"{"query": "half a str"#, "pickles", "[1, 2]", "3", &format!("{{\"a\": {}{}}}", "[".repeat(100), "]".repeat(100))]
        {
            let problem = parse(written, Some(&schema())).expect_err(written);
            assert!(!problem.problem.is_empty() && problem.raw.chars().count() <= 2_000);
        }
    }

    #[test]
    fn concatenated_objects_come_apart() {
        assert_eq!(split_concatenated(r#"{"a":1}{"a":2}"#), Some(vec![r#"{"a":1}"#, r#"{"a":2}"#]));
        assert_eq!(split_concatenated(r#"{"a":1}{"a":1}"#), None);
        assert_eq!(split_concatenated(r#"{"a":1}"#), None);
        assert_eq!(split_concatenated(r#"{"a":1}{"a":"#), None);
    }

    #[test]
    fn names_are_cleaned() {
        let tools = ["conversation_search", "diary_read"]
            .map(|name| Arc::new(ToolSpec { name: name.into(), description: String::new(), parameters: json!({}) }));
        for (written, meant) in [
            ("conversation_search<|channel|>commentary", "conversation_search"),
            ("functions.diary_read:0", "diary_read"),
            ("Conversation-Search", "conversation_search"),
            (" \"diary_read\" ", "diary_read"),
            ("launch rockets!", "launch_rockets_"),
            ("<|channel|>", "channel"),
            ("", "unnamed_tool"),
        ] {
            assert_eq!(clean_name(written, &tools), meant, "{written}");
        }
        assert_eq!(clean_name(&"x".repeat(1_000), &tools).len(), 64);
    }
}
