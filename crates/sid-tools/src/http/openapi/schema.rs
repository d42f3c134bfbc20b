//! Schemas of a document as JSON Schema that stands by itself: references resolved, circles cut, dialects of OpenAPI 3.0 translated.

use serde_json::{Map, Value, json};

/// Deepest nesting that is kept.
const DEEPEST: usize = 12;
/// Most schemas that one operation may have; references to references can stand for very many.
const MOST: usize = 1_500;

/// Keywords whose value is kept as it is.
const PLAIN: &[&str] = &[
    "type",
    "enum",
    "const",
    "default",
    "title",
    "description",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
    "examples",
];
const ONE: &[&str] = &["items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"];
const SEVERAL: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// What a `$ref` inside the document means; anything else is itself. References to references end after a few.
pub(super) fn follow(document: &Value, value: &Value) -> Value {
    let mut found = value;
    for _ in 0..8 {
        match found.get("$ref").and_then(Value::as_str).and_then(|place| lookup(document, place)) {
            Some(next) => found = next,
            None => break,
        }
    }
    found.clone()
}

fn lookup<'a>(document: &'a Value, place: &str) -> Option<&'a Value> {
    let pointer = place.strip_prefix('#')?;
    let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
    document.pointer(&pointer)
}

pub(super) struct Resolver<'a> {
    document: &'a Value,
    /// References that are being resolved: meeting one of them again is a circle.
    open: Vec<String>,
    made: usize,
}

impl<'a> Resolver<'a> {
    pub(super) const fn new(document: &'a Value) -> Self {
        Self { document, open: Vec::new(), made: 0 }
    }

    /// A schema without references; where one is cut, anything goes, and the service has the last word.
    pub(super) fn schema(&mut self, written: &Value) -> Value {
        self.at(written, 0)
    }

    fn at(&mut self, written: &Value, depth: usize) -> Value {
        let Some(schema) = written.as_object() else {
            return if written == &Value::Bool(false) { Value::Bool(false) } else { json!({}) };
        };
        self.made += 1;
        if depth > DEEPEST || self.made > MOST {
            return json!({});
        }
        if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
            let Some(target) = lookup(self.document, place).filter(|_| !self.open.iter().any(|o| o == place)) else { return json!({}) };
            self.open.push(place.to_owned());
            let mut resolved = self.at(target, depth + 1);
            self.open.pop();
            // In 3.1 a reference may have a description of its own.
            if let (Some(text), Some(resolved)) = (schema.get("description"), resolved.as_object_mut()) {
                resolved.insert("description".into(), text.clone());
            }
            return resolved;
        }
        let mut out = Map::new();
        for (key, value) in schema {
            if PLAIN.contains(&key.as_str()) {
                out.insert(key.clone(), value.clone());
            } else if ONE.contains(&key.as_str()) {
                out.insert(key.clone(), self.at(value, depth + 1));
            } else if SEVERAL.contains(&key.as_str()) {
                let all: Vec<Value> = value.as_array().into_iter().flatten().map(|v| self.at(v, depth + 1)).collect();
                if !all.is_empty() {
                    out.insert(key.clone(), all.into());
                }
            }
        }
        self.properties(schema, &mut out, depth);
        limits(schema, &mut out);
        nullable(schema, &mut out);
        Value::Object(out)
    }

    /// Properties, without those that only the service writes.
    fn properties(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            if let Some(required) = schema.get("required").filter(|r| r.is_array()) {
                out.insert("required".into(), required.clone());
            }
            return;
        };
        let mut kept = Map::new();
        for (name, property) in properties {
            if follow(self.document, property).get("readOnly") != Some(&Value::Bool(true)) {
                kept.insert(name.clone(), self.at(property, depth + 1));
            }
        }
        let is_kept = |name: &&Value| name.as_str().is_some_and(|name| kept.contains_key(name) || !properties.contains_key(name));
        let required: Vec<Value> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter(is_kept).cloned().collect();
        out.insert("properties".into(), kept.into());
        if !required.is_empty() {
            out.insert("required".into(), required.into());
        }
    }
}

/// 3.0 writes `minimum: 1, exclusiveMinimum: true`, 3.1 `exclusiveMinimum: 1`.
fn limits(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match schema.get(exclusive) {
            Some(Value::Bool(true)) => {
                if let Some(limit) = out.shift_remove(inclusive) {
                    out.insert(exclusive.into(), limit);
                }
            }
            Some(limit @ Value::Number(_)) => drop(out.insert(exclusive.into(), limit.clone())),
            _ => {}
        }
    }
}

/// 3.0 writes `nullable: true`, 3.1 a list of types.
fn nullable(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    if schema.get("nullable") != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(kind) = out.get("type").filter(|t| t.is_string()).cloned() {
        out.insert("type".into(), json!([kind, "null"]));
    }
    if let Some(values) = out.get_mut("enum").and_then(Value::as_array_mut)
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}
