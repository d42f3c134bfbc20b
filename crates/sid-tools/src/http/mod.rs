//! Tools that call over HTTP: a webhook, the operations of an OpenAPI document, pages of the web. Feature `http`.
//!
//! All of them go through [`sid_fetch::Fetcher`], to the hosts that they declare and to no others. Headers with secrets are given as
//! references; the values are looked up in the moment of a call ([`Secrets`]), and are in no spec, error, log or `Debug`. What a service
//! echoes of them is taken out of its answer.
//!
//! ```
//! use std::sync::Arc;
//! use sid_fetch::{Fetcher, Policy};
//! use sid_tools::http::{Connection, HttpTool, OpenApiOptions, OpenApiTools};
//! use sid_tools::{Registry, Tool};
//! use serde_json::json;
//!
//! let connection = Connection::new(Fetcher::new(Policy::default())?).secret_header("authorization", "Bearer ", "TICKETS_KEY");
//! let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
//! let hook = HttpTool::new("notify", "Tells the team.", schema, "https://hooks.example.com/sid", connection.clone())?;
//!
//! let document = json!({"openapi": "3.1.0", "paths": {"/tickets/{id}": {"get": {
//!     "operationId": "getTicket", "summary": "Reads a ticket.",
//!     "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}]
//! }}}});
//! let tickets = OpenApiTools::read(&document, "https://tickets.example.com/api", &connection, &OpenApiOptions::default())?;
//!
//! let mut registry = Registry::new();
//! registry.register(Arc::new(hook))?;
//! for tool in tickets.tools {
//!     assert_eq!(tool.spec().name, "getTicket");
//!     registry.register(tool)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod openapi;
mod outcome;
mod page;
mod webhook;

pub use connection::{Connection, Headers, NoSecrets, Secret, Secrets};
pub use openapi::{OpenApiError, OpenApiOptions, OpenApiTool, OpenApiTools};
pub use page::ReadPage;
pub use webhook::HttpTool;
