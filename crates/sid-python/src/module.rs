//! Modules of functions, and what is known of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sid_tools::{Declaration, EffectClass};

use crate::{Grants, Limits};

/// One file of functions, with all that its calls depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// What it is called in messages, and what it can be imported as: a Python name.
    pub name: String,
    /// The text of the file.
    pub source: String,
    /// The text of its `requirements.txt`; `None` or empty = the standard library alone.
    #[serde(default)]
    pub requirements: Option<String>,
    /// How much a call may use.
    #[serde(default)]
    pub limits: Limits,
    /// What a call may do.
    #[serde(default)]
    pub grants: Grants,
}

impl Module {
    /// A module of the standard library alone, with default limits and no grants.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self { name: name.into(), source: source.into(), requirements: None, limits: Limits::default(), grants: Grants::default() }
    }
}

/// What a module offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// The functions that can be called, in the order of the file.
    #[serde(rename = "tools")]
    pub functions: Vec<Function>,
    /// Those that cannot be described, with what to do.
    pub problems: Vec<Problem>,
}

/// One function of a module, as a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// What the module calls it.
    pub function: String,
    /// Its line in the file, from 1.
    pub line: u32,
    /// What the model calls it.
    pub name: String,
    /// From its docstring.
    pub description: String,
    /// JSON Schema of its arguments, from type hints and docstring.
    pub parameters: Value,
    /// Whether it only reads.
    pub read: bool,
    /// Whether a second call changes nothing more.
    pub idempotent: bool,
    /// Seconds that one call may take; the module's limit without it.
    pub timeout: Option<f64>,
    /// Hosts that it says it talks to.
    pub hosts: Vec<String>,
    /// Names of the secrets that it asks for.
    pub secrets: Vec<String>,
}

impl Function {
    /// As every tool declares it. The time-out is never more than the module's.
    #[must_use]
    pub fn declaration(&self, limits: &Limits) -> Declaration {
        let effect = if self.read { EffectClass::Read } else { EffectClass::External { idempotent: self.idempotent } };
        let most = Duration::from_millis(limits.timeout_ms);
        let own = self.timeout.and_then(|s| Duration::try_from_secs_f64(s).ok());
        Declaration {
            timeout: own.map_or(most, |t| t.min(most)),
            secrets: self.secrets.clone(),
            hosts: self.hosts.clone(),
            ..Declaration::new(effect)
        }
    }
}

/// Why a function cannot be a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which.
    pub function: String,
    /// Its line in the file, from 1.
    pub line: u32,
    /// What is wrong, and what to write instead.
    pub problem: String,
}
