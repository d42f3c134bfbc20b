//! The operations of an OpenAPI document as tools. Source: OpenAPI 3.0.4 and 3.1.1.

mod operation;
mod place;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_fetch::{FetchError, HostPattern, Url};
use sid_types::ToolSpec;

use self::operation::Operation;
use super::Connection;
use super::webhook::declare;
use crate::{Declaration, Tool, ToolContext, ToolOutcome};

/// Most operations of one document; who offers a model more tools than this should choose.
const MOST_OPERATIONS: usize = 500;

/// A document that cannot be used at all. What is wrong with single operations is in [`OpenApiTools::left_out`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenApiError {
    /// Not OpenAPI 3.0 or 3.1, or not in the form of JSON.
    #[error("this is no OpenAPI document of version 3.0 or 3.1: {0}")]
    NotOpenApi(String),
    /// The base URL is not one, or not let through.
    #[error("the base URL: {0}")]
    Base(#[from] FetchError),
}

/// Which operations, and under which names.
#[derive(Debug, Clone, Default)]
pub struct OpenApiOptions {
    /// Only operations with these ids. Default: all. Since 0.1.
    pub only: Option<Vec<String>>,
    /// Stands in front of each tool's name. Default: nothing. Since 0.1.
    pub prefix: String,
}

/// The tools of a document.
#[derive(Default)]
pub struct OpenApiTools {
    /// In the document's order.
    pub tools: Vec<Arc<OpenApiTool>>,
    /// Operations that cannot be tools, and why.
    pub left_out: Vec<(String, String)>,
}

impl std::fmt::Debug for OpenApiTools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenApiTools").field("tools", &self.tools.len()).field("left_out", &self.left_out).finish()
    }
}

impl OpenApiTools {
    /// Reads a document, in the form of JSON. All calls go to `base_url`'s host: what the document says of servers is a stranger's word, so
    /// its `servers` are passed over, and an operation that names its own on another host is left out.
    ///
    /// Shape: names are operation ids (else method and path) in `[a-zA-Z0-9_-]{1,64}`, made distinct by a number. References inside the
    /// document are resolved, those that lead round in a circle are cut, those that leave the document are open to anything.
    /// GET and HEAD read; PUT and DELETE change, and may be repeated; the others change, and may not.
    ///
    /// Errors: [`OpenApiError`].
    pub fn read(document: &Value, base_url: &str, connection: &Connection, options: &OpenApiOptions) -> Result<Self, OpenApiError> {
        let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("3.0") && !version.starts_with("3.1") {
            let said = if version.is_empty() { "it has no `openapi`".to_owned() } else { format!("its version is `{version}`") };
            return Err(OpenApiError::NotOpenApi(said));
        }
        let paths = document.get("paths").and_then(Value::as_object).ok_or_else(|| OpenApiError::NotOpenApi("it has no `paths`".into()))?;
        let (base, hosts) = declare(base_url, connection)?;
        let base = Url::parse(&base).map_err(|e| OpenApiError::Base(FetchError::BadUrl { problem: e.to_string() }))?;
        let mut read = Self::default();
        let mut names = BTreeSet::new();
        for (path, item) in paths {
            let item = schema::follow(document, item);
            for method in ["get", "head", "put", "post", "delete", "patch"] {
                let Some(described) = item.get(method) else { continue };
                let id = described.get("operationId").and_then(Value::as_str).map_or_else(|| format!("{method} {path}"), str::to_owned);
                if options.only.as_ref().is_some_and(|only| !only.contains(&id)) {
                    continue;
                }
                if read.tools.len() >= MOST_OPERATIONS {
                    read.left_out.push((id, format!("there are {MOST_OPERATIONS} tools already")));
                    continue;
                }
                match Operation::read(document, &base, path, &item, method, described) {
                    Ok(operation) => {
                        let name = distinct(&format!("{}{id}", options.prefix), &mut names);
                        let spec = ToolSpec { name, description: operation.description.clone(), parameters: operation.schema() };
                        let (base, hosts, connection) = (base.clone(), hosts.clone(), connection.clone());
                        read.tools.push(Arc::new(OpenApiTool { spec, operation, base, hosts, connection }));
                    }
                    Err(problem) => read.left_out.push((id, problem)),
                }
            }
        }
        Ok(read)
    }
}

/// A name that tools may have, and that none has yet.
fn distinct(id: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    while name.contains("__") {
        name = name.replace("__", "_");
    }
    let name = name.trim_matches('_');
    let name = if name.is_empty() { "call" } else { name };
    let numbered = (1..).map(|n| {
        let end = if n == 1 { String::new() } else { format!("_{n}") };
        format!("{}{end}", &name[..name.len().min(64 - end.len())])
    });
    let free = numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// One operation of a document.
pub struct OpenApiTool {
    spec: ToolSpec,
    operation: Operation,
    base: Url,
    hosts: Vec<HostPattern>,
    connection: Connection,
}

impl std::fmt::Debug for OpenApiTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenApiTool").field("name", &self.spec.name).field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[async_trait]
impl Tool for OpenApiTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn declaration(&self) -> Declaration {
        self.connection.declaration(self.operation.effect, &self.hosts)
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let request = match self.operation.request(&self.base, &arguments) {
            Ok(request) => request.only(self.hosts.clone()),
            Err(problem) => return ToolOutcome::error(format!("The call was not made: {problem}")),
        };
        self.connection.call(context, request, self.operation.effect).await
    }
}
