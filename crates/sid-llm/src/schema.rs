//! JSON Schemas in the dialect that constrained decoding of every engine understands.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use sid_types::ToolSpec;

/// Longest string that a grammar is asked to count: llama.cpp refuses larger repetitions.
const MAX_LENGTH: u64 = 1_000;
/// Longest list, likewise.
const MAX_ITEMS: u64 = 100;
/// Keywords that grammars do not know, or that make them explode.
const DROPPED: [&str; 16] = [
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "title",
    "examples",
    "default",
    "pattern",
    "format",
    "minLength",
    "uniqueItems",
    "contentEncoding",
    "contentMediaType",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Inlines references and drops what engines stumble over. The same schema always gives the same bytes.
pub(crate) fn simplify(schema: &Value) -> Value {
    let mut simple = inline(schema, schema, 0);
    // Some engines want a type even where there are no arguments.
    if let Value::Object(map) = &mut simple {
        if !map.contains_key("type") && !map.contains_key("anyOf") {
            map.insert("type".into(), "object".into());
        }
        if map.get("type").is_some_and(|t| t == "object") {
            map.entry("properties").or_insert_with(|| json!({}));
        }
    }
    simple
}

fn inline(schema: &Value, root: &Value, depth: usize) -> Value {
    // A schema that contains itself ends in "anything".
    if depth > 12 {
        return json!({});
    }
    match schema {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                return target.map_or_else(|| json!({}), |target| inline(target, root, depth + 1));
            }
            if let Some(Value::Array(all)) = map.get("allOf")
                && let [only] = all.as_slice()
                && map.len() <= 2
            {
                return inline(only, root, depth + 1);
            }
            let mut out = Map::new();
            for (key, value) in map {
                match key.as_str() {
                    // Names of properties are no keywords.
                    "properties" | "patternProperties" => {
                        let inner = value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), inline(v, root, depth + 1))).collect();
                        out.insert(key.clone(), Value::Object(inner));
                    }
                    "const" | "enum" | "required" | "description" => {
                        out.insert(key.clone(), value.clone());
                    }
                    "maxLength" if value.as_u64().is_some_and(|n| n > MAX_LENGTH) => {}
                    "maxItems" if value.as_u64().is_some_and(|n| n > MAX_ITEMS) => {}
                    key if DROPPED.contains(&key) => {}
                    "oneOf" => {
                        out.insert("anyOf".into(), inline(value, root, depth + 1));
                    }
                    _ => {
                        out.insert(key.clone(), inline(value, root, depth + 1));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| inline(item, root, depth + 1)).collect(),
        other => other.clone(),
    }
}

static REPLY: LazyLock<Value> = LazyLock::new(
    || json!({"type": "object", "properties": {"reply": {"type": "string"}}, "required": ["reply"], "additionalProperties": false}),
);

/// One schema over all tools and a plain reply: `{"reply": "…"}` or `{"action": {"tool": "f", "arguments": {…}}}`.
pub(crate) fn envelope(tools: &[Arc<ToolSpec>]) -> Value {
    let actions: Vec<Value> = tools
        .iter()
        .map(|tool| {
            let mut arguments = simplify(&tool.parameters);
            bound_strings(&mut arguments);
            close(&mut arguments);
            json!({
                "type": "object",
                "properties": {"tool": {"const": tool.name}, "arguments": arguments},
                "required": ["tool", "arguments"],
                "additionalProperties": false,
            })
        })
        .collect();
    let action = json!({
        "type": "object",
        "properties": {"action": {"anyOf": actions}},
        "required": ["action"],
        "additionalProperties": false,
    });
    json!({"anyOf": [*REPLY, action]})
}

/// A string without an end eats the whole answer of a small model.
fn bound_strings(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_free_string = map.get("type").is_some_and(|t| t == "string") && !map.contains_key("enum") && !map.contains_key("const");
            if is_free_string {
                map.entry("maxLength").or_insert_with(|| json!(600));
            }
            map.values_mut().for_each(bound_strings);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_strings),
        _ => {}
    }
}

/// Objects with known properties take no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let has_properties = map.get("properties").and_then(Value::as_object).is_some();
            map.values_mut().for_each(close);
            if has_properties && map.get("type").is_some_and(|t| t == "object") {
                map.insert("additionalProperties".into(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_inlined_and_hazards_dropped() {
        let schema = json!({
            "$schema": "x", "type": "object", "title": "T",
            "properties": {
                "title": {"type": "string", "pattern": "^a", "maxLength": 100_000},
                "short": {"type": "string", "maxLength": 10},
                "where": {"$ref": "#/$defs/Place"},
                "many": {"type": "array", "maxItems": 5_000, "items": {"$ref": "#/$defs/Place"}},
            },
            "required": ["title"],
            "$defs": {"Place": {"oneOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}},
        });
        let place = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        assert_eq!(
            simplify(&schema),
            json!({
                "type": "object",
                "properties": {"title": {"type": "string"}, "short": {"type": "string", "maxLength": 10}, "where": place, "many": {"type": "array", "items": place}},
                "required": ["title"],
            })
        );
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(simplify(&schema).to_string().len() < 10_000);
    }

    #[test]
    fn the_envelope_names_every_tool_and_bounds_its_strings() {
        let tool = |name: &str| ToolSpec {
            name: name.into(),
            description: String::new(),
            parameters: json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}),
        };
        let envelope = envelope(&[tool("a").into(), tool("b").into()]);
        assert_eq!(envelope.pointer("/anyOf/1/properties/action/anyOf/1/properties/tool/const"), Some(&json!("b")));
        assert_eq!(
            envelope.pointer("/anyOf/1/properties/action/anyOf/0/properties/arguments/properties/text/maxLength"),
            Some(&json!(600))
        );
        assert_eq!(envelope.pointer("/anyOf/0/properties/reply"), Some(&json!({"type": "string"})));
    }
}
