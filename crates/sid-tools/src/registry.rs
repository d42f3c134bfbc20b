//! The registry: names, schemas, coercion and dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use sid_types::ToolSpec;

use crate::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};

/// A tool that cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is not 1 to 64 characters of `[a-zA-Z0-9_-]`.
    #[error("tool name `{0}` must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -")]
    BadName(String),
    /// The name is taken.
    #[error("tool `{0}` is registered already")]
    Taken(String),
    /// The schema is not a JSON Schema of an object.
    #[error("schema of tool `{name}` cannot be used: {problem}")]
    BadSchema {
        /// Which tool.
        name: String,
        /// Why.
        problem: String,
    },
}

struct Entry {
    tool: Arc<dyn Tool>,
    spec: ToolSpec,
    declaration: Declaration,
    validator: jsonschema::Validator,
}

/// The tools of an agent, by name. Order is that of the names, so that prompts stay the same.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<String, Arc<Entry>>,
}

impl Registry {
    /// A registry without tools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    pub fn register(&mut self, tool: Arc<dyn Tool>) -> Result<(), RegistryError> {
        let spec = tool.spec();
        let name_is_fine =
            (1..=64).contains(&spec.name.len()) && spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !name_is_fine {
            return Err(RegistryError::BadName(spec.name));
        }
        if self.entries.contains_key(&spec.name) {
            return Err(RegistryError::Taken(spec.name));
        }
        if spec.parameters.get("type").and_then(Value::as_str) != Some("object") {
            return Err(RegistryError::BadSchema { name: spec.name, problem: "its type must be `object`".into() });
        }
        let validator = jsonschema::validator_for(&spec.parameters)
            .map_err(|e| RegistryError::BadSchema { name: spec.name.clone(), problem: e.to_string() })?;
        let declaration = tool.declaration();
        self.entries.insert(spec.name.clone(), Arc::new(Entry { tool, spec, declaration, validator }));
        Ok(())
    }

    /// These tools and, where no name is taken, those of another registry.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let mut entries = others.entries.clone();
        entries.extend(self.entries.clone());
        Self { entries }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Specifications in the order of their names; only those in `offered`, if given.
    #[must_use]
    pub fn specs(&self, offered: Option<&[String]>) -> Vec<ToolSpec> {
        self.entries.values().filter(|e| offered.is_none_or(|names| names.contains(&e.spec.name))).map(|e| e.spec.clone()).collect()
    }

    /// What the named tool touches; `None` = there is no such tool.
    #[must_use]
    pub fn effect(&self, name: &str) -> Option<EffectClass> {
        self.declaration(name).map(|d| d.effect)
    }

    /// What the named tool declares; `None` = there is no such tool. Its time-out is for whoever calls [`Registry::dispatch`] to enforce.
    #[must_use]
    pub fn declaration(&self, name: &str) -> Option<&Declaration> {
        self.entries.get(name).map(|e| &e.declaration)
    }

    /// Checks, coerces and calls. An unknown name or bad arguments are outcomes that tell the model what to do.
    pub async fn dispatch(&self, name: &str, arguments: Map<String, Value>, context: &ToolContext) -> ToolOutcome {
        let Some(entry) = self.entries.get(name) else {
            let names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            return ToolOutcome::error(format!("There is no tool named `{name}`. Available tools: {}.", names.join(", ")));
        };
        let arguments = coerce(arguments, &entry.spec.parameters);
        let value = Value::Object(arguments);
        let problems: Vec<String> = entry.validator.iter_errors(&value).take(3).map(|e| describe(&e)).collect();
        if !problems.is_empty() {
            return ToolOutcome::error(format!(
                "Bad arguments for `{name}`: {}. Call it again with corrected arguments.",
                problems.join("; ")
            ));
        }
        let Value::Object(arguments) = value else { unreachable!("it was made from an object above") };
        entry.tool.call(context, arguments).await
    }
}

fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path.to_string();
    if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }
}

/// Makes values fit their declared types where nothing can be lost: small models write `"5"` for 5, `"true"` for true, a bare
/// value for a list of one, a JSON text for an object. Unknown arguments are dropped where the schema forbids them.
fn coerce(mut arguments: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return arguments };
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        arguments.retain(|key, _| properties.contains_key(key));
    }
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, declared) in properties {
        if arguments.get(key).is_some_and(Value::is_null) && !required.contains(&key.as_str()) {
            arguments.shift_remove(key);
        }
        if let Some(value) = arguments.get_mut(key) {
            coerce_value(value, declared);
        }
    }
    arguments
}

fn coerce_value(value: &mut Value, declared: &Value) {
    let wanted = declared.get("type").and_then(Value::as_str).unwrap_or_default();
    let replacement = match (wanted, &*value) {
        ("integer" | "number", Value::String(s)) => s.trim().parse::<serde_json::Number>().ok().map(Value::Number),
        ("integer", Value::Number(n)) => n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| Value::from(f as i64)),
        ("boolean", Value::String(s)) => s.trim().to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool),
        ("string", Value::Number(n)) => Some(Value::String(n.to_string())),
        ("string", Value::Bool(b)) => Some(Value::String(b.to_string())),
        ("array", Value::String(s)) => {
            serde_json::from_str::<Value>(s).ok().filter(Value::is_array).or_else(|| Some(Value::Array(vec![value.clone()])))
        }
        ("object", Value::String(s)) => serde_json::from_str::<Value>(s).ok().filter(Value::is_object),
        _ => None,
    };
    if let Some(replacement) = replacement {
        *value = replacement;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(declared: Value, given: Value, expected: Value) {
        let schema = serde_json::json!({"type": "object", "properties": {"x": declared}});
        let arguments = Map::from_iter([("x".to_owned(), given)]);
        assert_eq!(coerce(arguments, &schema).get("x"), Some(&expected));
    }

    #[test]
    fn harmless_mistakes_are_coerced() {
        use serde_json::json;
        check(json!({"type": "integer"}), json!("5"), json!(5));
        check(json!({"type": "integer"}), json!(5.0), json!(5));
        check(json!({"type": "boolean"}), json!("True"), json!(true));
        check(json!({"type": "string"}), json!(7), json!("7"));
        check(json!({"type": "array"}), json!("[1]"), json!([1]));
        check(json!({"type": "array"}), json!("one"), json!(["one"]));
        check(json!({"type": "object"}), json!("{\"a\":1}"), json!({"a": 1}));
    }

    #[test]
    fn lossy_mistakes_are_left_for_the_schema_to_refuse() {
        use serde_json::json;
        check(json!({"type": "integer"}), json!("five"), json!("five"));
        check(json!({"type": "integer"}), json!(5.5), json!(5.5));
        check(json!({"type": "object"}), json!("text"), json!("text"));
    }
}
