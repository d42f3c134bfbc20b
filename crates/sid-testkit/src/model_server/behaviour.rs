//! What the server does with one chat request.

use serde::Deserialize;
use serde_json::Value;

use super::Fault;

/// What the server does with one chat request.
///
/// As JSON, for `POST /_script`: `{"text": "…"}`, `{"calls": [["name", {…}]]}`, `{"fault": "cut-stream"}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Says this.
    Text(String),
    /// Reasons, then says this.
    Reasoned {
        /// The reasoning.
        reasoning: String,
        /// The words.
        text: String,
    },
    /// Calls these tools: names and arguments.
    Calls(Vec<(String, Value)>),
    /// Goes wrong.
    Fault(Fault),
    /// Answers with this status and body.
    Raw {
        /// HTTP status.
        status: u16,
        /// Headers beside `content-type: application/json` and the length.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Writes these pieces as an event stream, one after the other, whatever the request says.
    Chunks(Vec<Vec<u8>>),
}
