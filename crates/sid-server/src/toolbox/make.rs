//! Functions from a toolset.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sid_assistant::{MailAccount, MailSecurity, SendEmail};
use sid_tools::http::{Connection, HttpTool, OpenApiOptions, OpenApiTools};
use sid_tools::{Registry, Tool};
use sid_types::{Scope, ToolsetSpec};

use super::TenantTools;
use super::source::{EmailSecurity, EmailSource, HttpSource, OpenApiSource, SecretHeader, Source};
use super::trusted::Trusted;

/// What a toolset came to.
pub(crate) struct Made {
    /// Its functions; each can be registered.
    pub(crate) tools: Vec<Arc<dyn Tool>>,
    /// What cannot be a function, and why.
    pub(crate) left_out: Vec<(String, String)>,
    /// Why none of them can be called now, though it is known what they are.
    pub(crate) problem: Option<String>,
}

impl Made {
    /// What models call the functions.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tools.iter().map(|tool| tool.spec().name).collect()
    }
}

pub(super) async fn make(house: &TenantTools, scope: &Scope, name: &str, spec: &ToolsetSpec) -> Result<Made, String> {
    let TenantTools { connection, functions, servers, images, clock, .. } = house;
    let mut problem = None;
    let source = Source::of(spec)?;
    let is_trusted = source.is_trusted();
    let (tools, mut left_out) = match source {
        Source::Python(source) => (functions.tools(name, source).await?, Vec::new()),
        Source::Http(source) => (vec![http(name, source, connection)?], Vec::new()),
        Source::OpenApi(source) => open_api(source, connection)?,
        Source::Email(source) => (vec![email(name, source, connection)?], Vec::new()),
        Source::Images(source) => (vec![images.tool(name, source)?], Vec::new()),
        Source::Mcp(source) => {
            let made = servers.made(scope, name, &source, clock.now())?;
            problem = made.problem;
            (made.tools, made.left_out)
        }
    };
    let mut usable = Vec::with_capacity(tools.len());
    let mut registry = Registry::new();
    for tool in tools {
        let tool = if is_trusted { Arc::new(Trusted(tool)) } else { tool };
        match registry.register(tool.clone()) {
            Ok(()) => usable.push(tool),
            Err(error) => left_out.push((tool.spec().name, error.to_string())),
        }
    }
    Ok(Made { tools: usable, left_out, problem })
}

/// The house's way of calling out, with a toolset's headers and time.
pub(super) fn connection(
    base: &Connection,
    headers: BTreeMap<String, String>,
    secret_headers: BTreeMap<String, SecretHeader>,
    timeout_ms: Option<u64>,
) -> Connection {
    let mut connection = base.clone();
    for (name, value) in headers {
        connection = connection.header(name, value);
    }
    for (header, SecretHeader { secret, prefix }) in secret_headers {
        connection = connection.secret_header(header, prefix, secret);
    }
    match timeout_ms {
        Some(ms) => connection.within(Duration::from_millis(ms)),
        None => connection,
    }
}

fn http(name: &str, source: HttpSource, base: &Connection) -> Result<Arc<dyn Tool>, String> {
    let HttpSource { description, parameters, url, effect, headers, secret_headers, timeout_ms, trusted: _ } = source;
    let connection = connection(base, headers, secret_headers, timeout_ms);
    let tool = HttpTool::new(name, description, parameters, &url, connection).map_err(|e| format!("`url`: {e}"))?;
    Ok(Arc::new(tool.with_effect(effect.into())))
}

fn email(name: &str, source: EmailSource, base: &Connection) -> Result<Arc<dyn Tool>, String> {
    let EmailSource { host, port, security, username, password, from, recipients, timeout_ms } = source;
    let security = match security {
        EmailSecurity::StartTls => MailSecurity::StartTls,
        EmailSecurity::Tls => MailSecurity::Tls,
        EmailSecurity::None => MailSecurity::None,
    };
    let account = MailAccount { host, port, security, username, password, from, recipients };
    let connection = connection(base, BTreeMap::new(), BTreeMap::new(), timeout_ms);
    Ok(Arc::new(SendEmail::new(name, account, connection)?))
}

type Read = (Vec<Arc<dyn Tool>>, Vec<(String, String)>);

fn open_api(source: OpenApiSource, base: &Connection) -> Result<Read, String> {
    let OpenApiSource { document, base_url, only, prefix, headers, secret_headers, timeout_ms, trusted: _ } = source;
    let connection = connection(base, headers, secret_headers, timeout_ms);
    let options = OpenApiOptions { only, prefix };
    let read = OpenApiTools::read(&document, &base_url, &connection, &options).map_err(|e| e.to_string())?;
    Ok((read.tools.into_iter().map(|tool| tool as Arc<dyn Tool>).collect(), read.left_out))
}
