//! What a toolset is made from, as it is put and kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_tools::EffectClass;
use sid_types::{ToolsetKind, ToolsetSpec};
use utoipa::ToSchema;

use super::images::ImagesSource;
use super::login::McpLogin;

/// Where a toolset's functions run, and all that is needed to call them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Source {
    /// Functions of a Python module; each call has a process of its own that the kernel locks in.
    Python(PythonSource),
    /// One function: its arguments are sent as JSON by POST to a URL, with the call's token as `Idempotency-Key`; what comes back is the result.
    Http(HttpSource),
    /// The operations of an OpenAPI document, version 3.0 or 3.1.
    OpenApi(OpenApiSource),
    /// The tools of an MCP server: one on the network, by streamable HTTP, or one that the operator has on the machine.
    Mcp(McpSource),
    /// One function that sends e-mail from an account, to whom it may.
    Email(EmailSource),
    /// One function that makes images by a service.
    Images(ImagesSource),
}

/// A header with a secret's value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretHeader {
    /// The secret's name.
    pub(crate) secret: String,
    /// What stands before the value, such as `Bearer ` with its space.
    #[serde(default)]
    pub(crate) prefix: String,
}

/// What a call may change outside.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    /// Nothing: it only reads.
    Read,
    /// Something, but a second call with the same `Idempotency-Key` changes nothing more.
    Idempotent,
    /// Something, each time: a call that may have happened is never repeated.
    #[default]
    Once,
}

impl From<Effect> for EffectClass {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Read,
            Effect::Idempotent => Self::External { idempotent: true },
            Effect::Once => Self::External { idempotent: false },
        }
    }
}

/// A function that is an HTTP request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSource {
    /// What the model is told that it does.
    pub(crate) description: String,
    /// JSON Schema of its arguments, an object.
    #[serde(default = "no_parameters")]
    #[schema(value_type = Object)]
    pub(crate) parameters: Value,
    /// Where it is called.
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) effect: Effect,
    /// Sent with each call. Not for keys: these are `secret_headers`.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers whose values are secrets of the context service: of the user for whom the call is made or, where they have none of the name, of
    /// the tenant.
    #[serde(default)]
    pub(crate) secret_headers: BTreeMap<String, SecretHeader>,
    /// Most milliseconds of one call; the server's limit (`tools.timeout_ms`) when left out, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// Whether the tenant vouches for what its results say: then a run that has read them is not asked before it acts outside.
    #[serde(default)]
    pub(crate) trusted: bool,
}

fn no_parameters() -> Value {
    serde_json::json!({"type": "object", "properties": {}})
}

/// Functions that are operations of an API.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenApiSource {
    /// The OpenAPI document.
    #[schema(value_type = Object)]
    pub(crate) document: Value,
    /// Where the API is: what stands before the document's paths. All calls go to its host.
    pub(crate) base_url: String,
    /// Only operations with these ids; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<Vec<String>>,
    /// Stands before each function's name.
    #[serde(default)]
    pub(crate) prefix: String,
    /// Sent with each call. Not for keys: these are `secret_headers`.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers whose values are secrets of the context service: of the user for whom the call is made or, where they have none of the name, of
    /// the tenant.
    #[serde(default)]
    pub(crate) secret_headers: BTreeMap<String, SecretHeader>,
    /// Most milliseconds of one call; the server's limit (`tools.timeout_ms`) when left out, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// Whether the tenant vouches for what its results say: then a run that has read them is not asked before it acts outside.
    #[serde(default)]
    pub(crate) trusted: bool,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmailSecurity {
    /// TLS after the greeting; without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the start.
    Tls,
    /// None; not with a password.
    None,
}

/// A function that sends e-mail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailSource {
    /// The mail server (SMTP).
    pub(crate) host: String,
    /// Its port: 25, 465, 587, 2525, or one that the operator opens.
    #[serde(default = "submission")]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) security: EmailSecurity,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// The name of the secret to log in with: of the user for whom the call is made or, where they have none of the name, of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// Whose mail it is: `Sid <sid@example.com>`.
    pub(crate) from: String,
    /// Who may get mail: addresses, `*@example.com`, or `*` for anybody.
    pub(crate) recipients: Vec<String>,
    /// Most milliseconds of one step of the protocol; the server's limit (`tools.timeout_ms`) when left out, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

const fn submission() -> u16 {
    587
}

/// How a token is asked for: OAuth's client credentials.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpOAuth {
    /// Where the token is asked for.
    pub(crate) token_url: String,
    /// Who asks.
    pub(crate) client_id: String,
    /// The name of the secret that says so.
    pub(crate) client_secret: String,
    /// What it is asked for; what the server takes for usual when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
}

/// Functions that are tools of an MCP server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpSource {
    /// Where it is, if it is on the network. All calls go to its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The name of a server that the operator has set up (`[tools.mcp.NAME]`), instead of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// Only tools that the server calls so; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<Vec<String>>,
    /// Stands before each function's name; the toolset's name and `_` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    /// What calls of a tool change, by the server's name for it; without an entry, something each time.
    #[serde(default)]
    pub(crate) effects: BTreeMap<String, Effect>,
    /// Whether what the server says of its tools counts (`readOnlyHint`, `idempotentHint`), where `effects` says nothing.
    #[serde(default)]
    pub(crate) believe_hints: bool,
    /// Sent with each request. Not for keys: these are `secret_headers`.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers whose values are secrets of the context service: of the user for whom the call is made or, where they have none of the name, of
    /// the tenant. The server is asked for its tools with the tenant's.
    #[serde(default)]
    pub(crate) secret_headers: BTreeMap<String, SecretHeader>,
    /// For servers that want a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<McpOAuth>,
    /// For servers that want people to log in, in a browser: `POST /tools/{toolset}/login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<McpLogin>,
    /// Whether the server may ask the user something in the middle of a call. The question is what the call comes to, and a function more brings
    /// the answers, which the user approves.
    #[serde(default)]
    pub(crate) questions: bool,
    /// Most milliseconds of one call; the server's limit (`tools.timeout_ms`) when left out, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// Whether the tenant vouches for what its results say: then a run that has read them is not asked before it acts outside.
    #[serde(default)]
    pub(crate) trusted: bool,
    /// What the server told of its tools when it was put.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, read_only)]
    pub(crate) functions: Vec<sid_mcp::RemoteTool>,
}

/// Functions of a Python module.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PythonSource {
    /// The module's text. Its public functions with type hints are the functions, described by their docstrings.
    pub(crate) module: String,
    /// The text of a `requirements.txt`: packages of the index, which the server installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requirements: Option<String>,
    /// Whether its calls may use the network, if the server grants that at all (`tools.python_network`).
    #[serde(default)]
    pub(crate) network: bool,
    /// What one call may use: `timeout_ms`, `memory_bytes`, `cpu_seconds` and others, see docs/functions.md.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) limits: Map<String, Value>,
    /// Whether the tenant vouches for what its results say: then a run that has read them is not asked before it acts outside.
    #[serde(default)]
    pub(crate) trusted: bool,
    /// What the server found in it when it was put.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, read_only)]
    pub(crate) functions: Vec<sid_python::Function>,
}

impl Source {
    /// Whether the tenant vouches for its results.
    pub(super) const fn is_trusted(&self) -> bool {
        match self {
            Self::Python(source) => source.trusted,
            Self::Http(source) => source.trusted,
            Self::OpenApi(source) => source.trusted,
            Self::Mcp(source) => source.trusted,
            Self::Email(_) | Self::Images(_) => false,
        }
    }

    /// As the store keeps it.
    pub(crate) fn into_spec(self, is_default: bool) -> ToolsetSpec {
        let kind = match &self {
            Self::Python(_) => ToolsetKind::Python,
            Self::Http(_) => ToolsetKind::Http,
            Self::OpenApi(_) => ToolsetKind::OpenApi,
            Self::Mcp(_) => ToolsetKind::Mcp,
            Self::Email(_) => ToolsetKind::Email,
            Self::Images(_) => ToolsetKind::Images,
        };
        let source = match serde_json::to_value(self) {
            Ok(Value::Object(mut source)) => {
                source.remove("kind");
                source
            }
            _ => Map::new(),
        };
        ToolsetSpec { kind, source, is_default }
    }

    /// As the store gave it back. Errors: it was put by a server that knows more.
    pub(crate) fn of(spec: &ToolsetSpec) -> Result<Self, String> {
        if spec.kind == ToolsetKind::Unknown {
            return Err("a newer server has put it, and this one knows nothing of its kind: upgrade this server".into());
        }
        let mut source = spec.source.clone();
        source.insert("kind".into(), spec.kind.as_str().into());
        serde_json::from_value(Value::Object(source)).map_err(|e| format!("this server cannot read it: {e}"))
    }
}
