//! Calls that a model wrote into its text or its reasoning, in the dialect it was trained on.
//!
//! | dialect | looks like | where |
//! | --- | --- | --- |
//! | hermes, qwen 2.5 | `<tool_call>{"name": …}</tool_call>` | `tagged` |
//! | qwen 3 coder | `<tool_call><function=f><parameter=x>1</parameter></function></tool_call>` | `xml` |
//! | glm 4.5 | `<tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>` | `xml` |
//! | deepseek DSML, minimax | `<｜DSML｜invoke name="f"><｜DSML｜parameter name="x">…` | `xml` |
//! | deepseek v3, kimi k2 | `<｜tool▁calls▁begin｜>…`, `<\|tool_calls_section_begin\|>…` | `tagged` |
//! | mistral | `[TOOL_CALLS][{"name": …}]`, `[TOOL_CALLS]f[ARGS]{…}` | `tagged` |
//! | llama 3, phi, granite | `{"name": …, "parameters": …}`, `<\|python_tag\|>…`, `<\|tool_call\|>[…]` | `tagged`, `json` |
//! | llama 4, gemma | `[f(x=1)]`, ```` ```tool_code ```` | `python` |
//! | gpt-oss (harmony) | `<\|channel\|>commentary to=functions.f<\|message\|>{…}<\|call\|>` | `harmony` |
//! | anything else | a fenced or bare JSON object that is a call and nothing else | `json` |
//!
//! Only calls of offered tools are taken, and none that stands word for word in a message of the user or a tool: a model
//! that quotes what it was told is not asking for it.

mod harmony;
mod json;
mod python;
mod scanner;
mod tagged;
mod xml;

use std::sync::Arc;

use serde_json::Value;
use sid_types::ToolSpec;

use crate::ChatMessage;
use crate::arguments::clean_name;

pub(crate) use json::calls_in as json_calls;
pub(crate) use scanner::{Piece, Scanner};

/// A call as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawCall {
    /// One of the offered names, unless the model was asked to write calls and made one up.
    pub(crate) name: String,
    /// The arguments: a text that is hoped to be JSON, or an object.
    pub(crate) arguments: Value,
}

/// What a salvage looks at beside the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The offered tools; with none, nothing is taken.
    pub(crate) tools: &'a [Arc<ToolSpec>],
    /// The prompt, to recognise quotations.
    pub(crate) prompt: &'a [ChatMessage],
    /// Whether bare and fenced JSON and Python count as calls (in an answer), or only marked ones (in reasoning).
    pub(crate) bare: bool,
    /// Whether the model was asked to write `{"tool": …, "arguments": …}`. Such an object is then a call even when nobody
    /// offered the tool: the model shall hear of its mistake, and the user shall not see it.
    pub(crate) asked: bool,
}

impl Context<'_> {
    fn call(&self, name: &str, arguments: Value) -> Option<RawCall> {
        let name = clean_name(name, self.tools);
        self.tools.iter().any(|t| t.name == name).then_some(RawCall { name, arguments })
    }

    /// A call in the form that was asked for, of whatever tool.
    fn call_as_asked(&self, name: &str, arguments: Value) -> Option<RawCall> {
        self.call(name, arguments.clone()).or_else(|| self.asked.then(|| RawCall { name: clean_name(name, self.tools), arguments }))
    }

    /// Whether this text stands in what the model was told by a user or a tool.
    ///
    /// Of a tool's text the name and the arguments alone are enough, in whatever dress the model puts them: nobody asks
    /// for a call through a tool's result.
    fn is_quoted(&self, written: &str, calls: &[RawCall]) -> bool {
        let written = squash(written);
        let bare: Vec<(String, String)> = calls.iter().map(|call| (squash(&call.name), squash(&plain(&call.arguments)))).collect();
        self.prompt.iter().any(|message| match message {
            ChatMessage::User { text } => squash(text).contains(&written),
            ChatMessage::Tool { text, .. } => {
                let text = squash(text);
                text.contains(&written)
                    || bare.iter().any(|(name, arguments)| text.contains(name) && arguments.len() > 8 && text.contains(arguments))
            }
            ChatMessage::System { .. } | ChatMessage::Assistant { .. } => false,
        })
    }
}

/// Letters and digits only, so that quoting survives white space, escapes and markdown.
fn squash(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn plain(arguments: &Value) -> String {
    match arguments {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What stands at the start of a text.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    /// Not decided before more text comes.
    Wait,
    /// Plain text.
    No,
    /// Calls, in this many bytes.
    Calls(usize, Vec<RawCall>),
    /// Words for the human, in this many bytes.
    Text(usize, String),
    /// Reasoning, in this many bytes.
    Reasoning(usize, String),
    /// Nothing for anyone, in this many bytes.
    Drop(usize),
    /// The opening line of a code block that is no call.
    OpenFence(usize),
    /// An opening tag of reasoning, and the tag that ends it.
    OpenThinking(usize, &'static str),
    /// The end of reasoning that was never opened.
    EndThinking(usize),
}

impl Block {
    /// Calls, or `No` when there are none or they are a quotation.
    fn calls(context: &Context<'_>, written: &str, calls: Option<Vec<RawCall>>) -> Self {
        match calls {
            Some(calls) if !calls.is_empty() && !context.is_quoted(written, &calls) => Self::Calls(written.len(), calls),
            _ => Self::No,
        }
    }
}
