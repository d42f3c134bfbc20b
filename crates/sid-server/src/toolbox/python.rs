//! Functions in Python: modules are described when they are put, and called in processes of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_python::{Limits, Module, Python, PythonConfig, PythonTool};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::ToolSpec;
use tokio::sync::OnceCell;

use super::VaultSecrets;
use super::source::PythonSource;
use crate::config::{Config, StoreKind};

/// This server's Python, looked for when it is first needed.
pub(super) struct Functions {
    /// `None`: switched off.
    config: Option<PythonConfig>,
    may_use_network: bool,
    opened: OnceCell<Python>,
    secrets: Arc<VaultSecrets>,
}

impl Functions {
    pub(super) fn new(config: &Config, secrets: Arc<VaultSecrets>) -> Self {
        let tools = &config.tools;
        let is_local = config.store.kind != StoreKind::Postgres;
        let folder =
            tools.python_folder.clone().unwrap_or_else(|| if is_local { config.store.path.join("functions") } else { own_folder() });
        let launcher = std::env::current_exe().unwrap_or_default();
        let python = PythonConfig {
            python: tools.python_path.clone(),
            allow_unconfined: tools.python_unconfined,
            pip_environment: std::env::vars().filter(|(name, _)| is_pips(name)).collect(),
            ..PythonConfig::new(launcher, folder)
        };
        let is_on = tools.python.unwrap_or(is_local);
        Self { config: is_on.then_some(python), may_use_network: tools.python_network, opened: OnceCell::new(), secrets }
    }

    async fn python(&self) -> Result<&Python, String> {
        let Some(config) = &self.config else {
            return Err("functions in Python are switched off on this server: an operator can set tools.python = true".into());
        };
        self.opened.get_or_try_init(|| Python::open(config.clone())).await.map_err(|e| e.to_string())
    }

    /// The source with what its functions are, and what is none.
    pub(super) async fn described(&self, name: &str, mut source: PythonSource) -> Result<(PythonSource, Vec<(String, String)>), String> {
        let inspected = self.python().await?.inspect(&self.module(name, &source)?).await.map_err(|e| e.to_string())?;
        source.functions = inspected.functions;
        let left_out = inspected.problems.into_iter().map(|p| (p.function, format!("line {}: {}", p.line, p.problem)));
        Ok((source, left_out.collect()))
    }

    pub(super) async fn tools(&self, name: &str, source: PythonSource) -> Result<Vec<Arc<dyn Tool>>, String> {
        let python = self.python().await?;
        let module = Arc::new(self.module(name, &source)?);
        let tool = |function: sid_python::Function| {
            let secrets = function.secrets.clone();
            let inner = PythonTool::new(python.clone(), module.clone(), function);
            Arc::new(WithSecrets { inner, names: secrets, secrets: self.secrets.clone() }) as Arc<dyn Tool>
        };
        Ok(source.functions.into_iter().map(tool).collect())
    }

    fn module(&self, name: &str, source: &PythonSource) -> Result<Module, String> {
        let limits = Value::Object(source.limits.clone());
        let limits: Limits = serde_json::from_value(limits).map_err(|e| format!("`limits`: {e}"))?;
        if source.network && !self.may_use_network {
            return Err("`network`: this server grants it to no function; an operator can set tools.python_network = true".into());
        }
        let mut module = Module::new(import_name(name), source.module.clone());
        module.requirements = source.requirements.clone();
        module.limits = limits;
        module.grants.network = source.network;
        Ok(module)
    }
}

/// Where environments and working folders go on a server that has no folder for data.
fn own_folder() -> PathBuf {
    std::env::temp_dir().join("sid-functions")
}

/// What pip needs to find its index, as the server's own environment says.
fn is_pips(name: &str) -> bool {
    name.starts_with("PIP_")
        || ["HOME", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"].contains(&name)
}

/// A toolset's name as Python can import it.
fn import_name(name: &str) -> String {
    let name = name.replace('-', "_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("m{name}") } else { name }
}

/// A function with the secrets of whoever it is called for.
struct WithSecrets {
    inner: PythonTool,
    names: Vec<String>,
    secrets: Arc<VaultSecrets>,
}

#[async_trait]
impl Tool for WithSecrets {
    fn spec(&self) -> ToolSpec {
        self.inner.spec()
    }

    fn effect(&self) -> EffectClass {
        self.inner.effect()
    }

    fn declaration(&self) -> Declaration {
        self.inner.declaration()
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        if self.names.is_empty() {
            return self.inner.call(context, arguments).await;
        }
        let mut values = BTreeMap::new();
        for name in &self.names {
            match self.secrets.value(context, name).await {
                Some(value) => values.insert(name.clone(), value.reveal().to_owned()),
                None => {
                    return ToolOutcome::error(format!(
                        "The secret `{name}` that this function needs is not there. Ask the user to store it."
                    ));
                }
            };
        }
        self.inner.clone().with_secrets(values).call(context, arguments).await
    }
}
