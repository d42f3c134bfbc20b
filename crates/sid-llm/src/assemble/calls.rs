//! Calls that come in pieces, from engines that disagree about what marks the next one.

use std::sync::Arc;

use serde_json::Value;
use sid_types::ToolSpec;

use crate::arguments::{self, clean_name};
use crate::{MAX_CALLS, ReplyCall};

/// A piece of a call as an engine sent it. Any field may be missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallDelta {
    /// Which call of the answer. Some engines always say 0.
    pub index: Option<u64>,
    /// Its id.
    pub id: Option<String>,
    /// The tool's name, or a piece of it.
    pub name: Option<String>,
    /// A piece of the arguments' text, or all of them as a value.
    pub arguments: Option<Value>,
    /// The call is whole: nothing is appended to it, nor it to another.
    pub is_whole: bool,
}

impl CallDelta {
    pub(super) fn size(&self) -> usize {
        let arguments = match &self.arguments {
            Some(Value::String(text)) => text.len(),
            Some(Value::Null) | None => 0,
            Some(value) => value.to_string().len(),
        };
        arguments + self.id.as_ref().map_or(0, String::len) + self.name.as_ref().map_or(0, String::len)
    }
}

#[derive(Debug, Default)]
struct Slot {
    index: Option<u64>,
    id: String,
    name: String,
    /// The text so far.
    text: String,
    /// Arguments that came as an object.
    value: Option<Value>,
    is_whole: bool,
}

impl Slot {
    fn has_complete_arguments(&self) -> bool {
        self.value.is_some() || serde_json::from_str::<serde_json::Map<String, Value>>(&self.text).is_ok()
    }
}

/// The calls of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn add(&mut self, delta: CallDelta, tools: &[Arc<ToolSpec>]) {
        let id = delta.id.unwrap_or_default();
        let name = delta.name.unwrap_or_default();
        let begins_object = match &delta.arguments {
            Some(Value::String(text)) => text.trim_start().starts_with('{'),
            Some(Value::Object(_)) => true,
            _ => false,
        };
        let known = match (delta.index, id.as_str()) {
            _ if delta.is_whole => None,
            (Some(index), _) => self.0.iter().rposition(|s| s.index == Some(index)),
            (None, "") => self.0.len().checked_sub(1),
            (None, id) => self.0.iter().rposition(|s| s.id == id),
        };
        let same = known.filter(|at| {
            let slot = &self.0[*at];
            if slot.is_whole || (!id.is_empty() && !slot.id.is_empty() && id != slot.id) {
                return false;
            }
            match name.as_str() {
                "" => true,
                _ if slot.name.is_empty() => true,
                // The name repeated with every piece, unless a second object begins.
                again if again == slot.name => {
                    let may_be_next = begins_object || delta.arguments.is_none();
                    !(may_be_next && slot.has_complete_arguments())
                }
                // The name in pieces.
                more => {
                    slot.text.is_empty()
                        && slot.value.is_none()
                        && tools.iter().any(|t| t.name.starts_with(&format!("{}{more}", slot.name)))
                }
            }
        });
        // One more than is kept, so that what comes after it has its place and is dropped with it.
        let same = same.or_else(|| self.0.len().checked_sub(1).filter(|last| *last >= MAX_CALLS));
        let at = same.unwrap_or_else(|| {
            self.0.push(Slot { index: delta.index, ..Slot::default() });
            self.0.len() - 1
        });
        let slot = &mut self.0[at];
        slot.is_whole = delta.is_whole;
        if slot.id.is_empty() {
            slot.id = id;
        }
        if slot.name != name {
            slot.name.push_str(&name);
        }
        match delta.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => slot.text.push_str(&text),
            Some(value) => slot.value = Some(value),
        }
    }

    pub(super) fn into_calls(self, tools: &[Arc<ToolSpec>]) -> Vec<ReplyCall> {
        let mut calls = Vec::new();
        for slot in self.0.into_iter().take(MAX_CALLS) {
            let is_nothing = slot.name.trim().is_empty() && slot.text.trim().is_empty() && slot.value.is_none();
            if is_nothing {
                continue;
            }
            let name = clean_name(&slot.name, tools);
            let schema = tools.iter().find(|t| t.name == name).map(|t| &t.parameters);
            if let Some(value) = slot.value {
                calls.push(ReplyCall { id: slot.id, name, arguments: arguments::from_value(value, schema) });
            } else if let Some(parts) = arguments::split_concatenated(&slot.text) {
                // Parallel calls that an engine ran together.
                for part in parts {
                    calls.push(ReplyCall { id: slot.id.clone(), name: name.clone(), arguments: arguments::parse(part, schema) });
                }
            } else {
                calls.push(ReplyCall { id: slot.id, name, arguments: arguments::parse(&slot.text, schema) });
            }
        }
        calls.truncate(MAX_CALLS);
        calls
    }
}
