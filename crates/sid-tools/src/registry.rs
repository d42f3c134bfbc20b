//! The registry: names, schemas, coercion and dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use sid_types::ToolSpec;

use crate::arguments::{coerce, describe};
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
    spec: Arc<ToolSpec>,
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
        self.entries.insert(spec.name.clone(), Arc::new(Entry { tool, spec: Arc::new(spec), declaration, validator }));
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
    pub fn specs(&self, offered: Option<&[String]>) -> Vec<Arc<ToolSpec>> {
        self.entries.values().filter(|e| offered.is_none_or(|names| names.contains(&e.spec.name))).map(|e| e.spec.clone()).collect()
    }

    /// Only those of these names.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let entries = self.entries.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Self { entries: entries.map(|(name, entry)| (name.clone(), entry.clone())).collect() }
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

    /// Arguments as the named tool would be called with: checked, and coerced where that is safe.
    ///
    /// Errors: what the model is to be told; also for a name that no tool has.
    pub fn fitted(&self, name: &str, arguments: Map<String, Value>) -> Result<Map<String, Value>, Box<ToolOutcome>> {
        match self.fit(name, arguments) {
            Some(Ok(arguments)) => Ok(arguments),
            Some(Err(problems)) => {
                let told = format!("Bad arguments for `{name}`: {problems}. Call it again with corrected arguments.");
                Err(Box::new(ToolOutcome::error(told)))
            }
            None => {
                let names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
                Err(Box::new(ToolOutcome::error(format!("There is no tool named `{name}`. Available tools: {}.", names.join(", ")))))
            }
        }
    }

    /// Checks, coerces and calls. An unknown name or bad arguments are outcomes that tell the model what to do.
    pub async fn dispatch(&self, name: &str, arguments: Map<String, Value>, context: &ToolContext) -> ToolOutcome {
        match (self.entries.get(name), self.fitted(name, arguments)) {
            (Some(entry), Ok(arguments)) => entry.tool.call(context, arguments).await,
            (_, Err(outcome)) => *outcome,
            (None, Ok(_)) => unreachable!("only the arguments of a tool fit"),
        }
    }

    /// The arguments as the named tool takes them, coerced, or what is wrong with them, in words that a model can act on. `None` = there is no
    /// such tool.
    pub fn fit(&self, name: &str, arguments: Map<String, Value>) -> Option<Result<Map<String, Value>, String>> {
        self.entries.get(name).map(|entry| entry.fit(arguments))
    }
}

impl Entry {
    fn fit(&self, arguments: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let value = Value::Object(coerce(arguments, &self.spec.parameters));
        let problems: Vec<String> = self.validator.iter_errors(&value).take(3).map(|e| describe(&e, &self.spec.parameters)).collect();
        match value {
            Value::Object(arguments) if problems.is_empty() => Ok(arguments),
            _ => Err(problems.join("; ")),
        }
    }
}
