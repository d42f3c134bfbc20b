//! A webhook as a tool.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_fetch::{FetchError, HostPattern, Request};
use sid_types::ToolSpec;

use super::Connection;
use crate::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};

/// Sends its arguments as JSON to one URL, by POST, with the call's token as `Idempotency-Key`; what comes back is the result.
#[derive(Debug, Clone)]
pub struct HttpTool {
    spec: ToolSpec,
    url: String,
    hosts: Vec<HostPattern>,
    effect: EffectClass,
    connection: Connection,
}

impl HttpTool {
    /// A tool of this name, description and schema, which calls this URL and no other host.
    ///
    /// Errors: [`FetchError::BadUrl`] and [`FetchError::Refused`], for a URL that the connection's policy does not let through.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Value,
        url: &str,
        connection: Connection,
    ) -> Result<Self, FetchError> {
        let (url, hosts) = declare(url, &connection)?;
        let spec = ToolSpec { name: name.into(), description: description.into(), parameters };
        Ok(Self { spec, url, hosts, effect: EffectClass::External { idempotent: false }, connection })
    }

    /// For services that do nothing twice for one `Idempotency-Key`, or that only read.
    #[must_use]
    pub const fn with_effect(mut self, effect: EffectClass) -> Self {
        self.effect = effect;
        self
    }
}

/// A URL that the policy lets through, and its host as the only one.
pub(super) fn declare(url: &str, connection: &Connection) -> Result<(String, Vec<HostPattern>), FetchError> {
    let target = connection.fetcher.policy().target(url)?;
    let host = target.url().host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.parse().map_err(|_| FetchError::BadUrl { problem: "its host cannot be declared".into() })?;
    Ok((target.url().to_string(), vec![host]))
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn declaration(&self) -> Declaration {
        self.connection.declaration(self.effect, &self.hosts)
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let body = Value::Object(arguments).to_string().into_bytes();
        let request = Request::post(&self.url).json(body).only(self.hosts.clone());
        self.connection.call(context, request, self.effect).await
    }
}
