//! A Python function as a tool.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome, fit_result};
use sid_types::ToolSpec;

use crate::{Call, Function, Module, Python};

/// One function of a module. Its arguments are checked by the registry before a process is started.
#[derive(Clone)]
pub struct PythonTool {
    python: Python,
    module: Arc<Module>,
    function: Function,
    secrets: BTreeMap<String, String>,
}

impl PythonTool {
    /// A function as [`Python::inspect`] described it.
    #[must_use]
    pub fn new(python: Python, module: Arc<Module>, function: Function) -> Self {
        Self { python, module, function, secrets: BTreeMap::new() }
    }

    /// With values for the secrets that it declares. What it does not declare is not passed on.
    #[must_use]
    pub fn with_secrets(mut self, mut values: BTreeMap<String, String>) -> Self {
        values.retain(|name, _| self.function.secrets.contains(name));
        self.secrets = values;
        self
    }
}

#[async_trait]
impl Tool for PythonTool {
    fn spec(&self) -> ToolSpec {
        let Function { name, description, parameters, .. } = &self.function;
        ToolSpec { name: name.clone(), description: description.clone(), parameters: parameters.clone() }
    }

    fn effect(&self) -> EffectClass {
        self.declaration().effect
    }

    fn declaration(&self) -> Declaration {
        // The process is ended at the time-out itself; this leaves it the time to say so.
        let declared = self.function.declaration(&self.module.limits);
        // A function with the network may bring in anything.
        let untrusted = self.module.grants.network;
        Declaration { timeout: declared.timeout + std::time::Duration::from_secs(1), untrusted, ..declared }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let timeout = self.function.declaration(&self.module.limits).timeout;
        let call = Call { function: self.function.function.clone(), arguments, secrets: self.secrets.clone(), timeout: Some(timeout) };
        match self.python.call(&self.module, call).await {
            Ok(Value::Null) => ToolOutcome::text("Done."),
            Ok(Value::String(text)) => ToolOutcome::text(fit_result(&text, context.result_budget)),
            Ok(value) => ToolOutcome::text(fit_result(&value.to_string(), context.result_budget)),
            Err(failure) => ToolOutcome::error(fit_result(&format!("`{}`: {failure}", self.function.name), context.result_budget)),
        }
    }
}
