//! What the attributes [`tool`](crate::tool) and [`toolbox`](crate::toolbox) expand to. Only [`Toolbox`] is for people.

use std::fmt::Display;
use std::sync::Arc;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Tool, ToolContext, ToolOutcome, fit_result};

pub use {async_trait, schemars, serde, serde_json, sid_types};

/// Several tools over one state: what [`toolbox`](crate::toolbox) makes of an `impl` block.
pub trait Toolbox {
    /// The tools, in the order of their methods.
    fn tools(self: Arc<Self>) -> Vec<Arc<dyn Tool>>;
}

/// The schema of a struct of arguments, as models like it: inlined, without titles, number formats and nulls.
#[must_use]
pub fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(tidy).transform(&mut schema);
    schema.remove("description");
    schema.insert("type".into(), "object".into());
    if !schema.as_object().is_some_and(|s| s.contains_key("properties")) {
        schema.insert("properties".into(), Value::Object(Map::new()));
    }
    schema.insert("additionalProperties".into(), Value::Bool(false));
    schema.to_value()
}

fn tidy(schema: &mut Schema) {
    schema.remove("title");
    // `int64`, `uint32`, `double`: words that no model needs, and some engines refuse.
    if schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| f.starts_with("int") || f.starts_with("uint") || f == "float" || f == "double")
    {
        schema.remove("format");
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// Reads the arguments; the error is for the model.
pub fn arguments<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, ToolOutcome> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|e| ToolOutcome::error(format!("Bad arguments: {e}. Call it again with corrected arguments.")))
}

/// What a function returned, for the model: text as it is, anything else as JSON.
pub fn answer<T: Serialize>(context: &ToolContext, value: T) -> ToolOutcome {
    match serde_json::to_value(value) {
        Ok(Value::Null) => ToolOutcome::text("Done."),
        Ok(Value::String(text)) => ToolOutcome::text(fit_result(&text, context.result_budget)),
        Ok(value) => ToolOutcome::text(fit_result(&value.to_string(), context.result_budget)),
        Err(e) => ToolOutcome::error(format!("It was done, but the result cannot be shown: {e}.")),
    }
}

/// The same of a function that may fail: an error is told to the model in its own words.
pub fn answer_or_error<T: Serialize, E: Display>(context: &ToolContext, result: Result<T, E>) -> ToolOutcome {
    match result {
        Ok(value) => answer(context, value),
        Err(e) => ToolOutcome::error(fit_result(&e.to_string(), context.result_budget)),
    }
}
