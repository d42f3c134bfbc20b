//! Tools, made from operations: by groups, or each by itself.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::groups::{GROUPS, Group, NEVER};
use super::operations::{Operation, Operations, object_schema};

/// Which tools a client is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolSet {
    /// Some fifteen groups.
    Grouped,
    /// Every operation.
    All,
}

/// The tools of a set, always in the same order.
pub(super) fn tools(operations: &Operations, set: ToolSet) -> Vec<Tool> {
    match set {
        ToolSet::Grouped => GROUPS.iter().filter_map(|group| grouped(operations, group)).collect(),
        ToolSet::All => operations.iter().filter(|operation| is_tool(operation)).map(single).collect(),
    }
}

/// An operation and its arguments.
type Found<'o> = (&'o Operation, Map<String, Value>);

/// The operation that a call is for, and its arguments. Errors: what is wrong, for the model.
pub(super) fn operation_of<'o>(
    operations: &'o Operations,
    set: ToolSet,
    name: &str,
    mut arguments: Map<String, Value>,
) -> Result<Option<Found<'o>>, String> {
    let operation = match set {
        ToolSet::All => operations.find(name).filter(|operation| is_tool(operation)),
        ToolSet::Grouped => {
            let Some(group) = GROUPS.iter().find(|group| group.name == name) else { return Ok(None) };
            let id = match (group.actions, arguments.remove("action")) {
                ([(_, id)], _) => *id,
                (actions, Some(Value::String(action))) => match actions.iter().find(|(known, _)| *known == action) {
                    Some((_, id)) => *id,
                    None => return Err(format!("`action` is one of {}, not `{action}`", names(group))),
                },
                _ => return Err(format!("say which `action`: {}", names(group))),
            };
            operations.find(id)
        }
    };
    Ok(operation.map(|operation| (operation, arguments)))
}

fn names(group: &Group) -> String {
    group.actions.iter().map(|(action, _)| *action).collect::<Vec<_>>().join(", ")
}

/// Answers that are no JSON are for people and programs, not for models; OpenAI's door has its own.
fn is_tool(operation: &Operation) -> bool {
    operation.answer.is_some() && operation.tag != "openai" && !NEVER.contains(&operation.id.as_str())
}

fn single(operation: &Operation) -> Tool {
    let (properties, required, definitions) = operation.input();
    let input = object_schema(properties, &required, definitions);
    let hints = annotations(&[operation], None);
    finish(operation.id.clone(), operation.about.clone(), input, operation.answer.clone(), hints)
}

fn grouped(operations: &Operations, group: &Group) -> Option<Tool> {
    let members: Vec<(&str, &Operation)> =
        group.actions.iter().filter_map(|(action, id)| operations.find(id).map(|operation| (*action, operation))).collect();
    let all: Vec<&Operation> = members.iter().map(|(_, operation)| *operation).collect();
    let hints = annotations(&all, Some(group.title));
    if let [(_, operation)] = members[..] {
        let (properties, required, definitions) = operation.input();
        let input = object_schema(properties, &required, definitions);
        return Some(finish(group.name.into(), group.about.into(), input, operation.answer.clone(), hints));
    }
    let mut properties = Map::new();
    let mut definitions = Map::new();
    let actions: Vec<&str> = members.iter().map(|(action, _)| *action).collect();
    properties.insert("action".into(), json!({ "type": "string", "enum": actions, "description": "What to do." }));
    for (_, operation) in &members {
        let (own, _, own_definitions) = operation.input();
        for (name, schema) in own {
            if !properties.contains_key(&name) {
                let schema = with_users(schema, &name, &members);
                properties.insert(name, schema);
            }
        }
        definitions.extend(own_definitions);
    }
    let input = object_schema(properties, &["action".to_owned()], definitions);
    Some(finish(group.name.into(), group.about.into(), input, Some(either(&all)), hints))
}

/// A schema that says which actions take the argument, and which need it.
fn with_users(mut schema: Value, name: &str, members: &[(&str, &Operation)]) -> Value {
    let of = |needed: bool| {
        let taking = members.iter().filter(|(_, o)| o.arguments.iter().any(|a| a.name == name && a.is_required == needed));
        taking.map(|(action, _)| format!("`{action}`")).collect::<Vec<_>>().join(", ")
    };
    let (needed, optional) = (of(true), of(false));
    let said = [("Required for", needed), ("For", optional)].into_iter().filter(|(_, actions)| !actions.is_empty());
    let said = said.map(|(word, actions)| format!("{word} {actions}.")).collect::<Vec<_>>().join(" ");
    if let Some(fields) = schema.as_object_mut() {
        let about = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = if about.is_empty() { said } else { format!("{about} {said}") };
        fields.insert("description".into(), json!(about));
    }
    schema
}

/// The answer is that of one of the operations.
fn either(operations: &[&Operation]) -> Value {
    let mut definitions = Map::new();
    let mut forms: Vec<Value> = Vec::new();
    for operation in operations {
        let Some(Value::Object(mut form)) = operation.answer.clone() else { continue };
        if let Some(Value::Object(own)) = form.remove("$defs") {
            definitions.extend(own);
        }
        let form = Value::Object(form);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("anyOf".into(), json!(forms));
    schema.insert("$defs".into(), Value::Object(definitions));
    Value::Object(schema)
}

fn annotations(operations: &[&Operation], title: Option<&str>) -> ToolAnnotations {
    let mut hints = ToolAnnotations::new()
        .read_only(operations.iter().all(|o| o.is_read_only()))
        .destructive(operations.iter().any(|o| o.is_destructive()))
        .idempotent(operations.iter().all(|o| o.is_idempotent()))
        .open_world(false);
    hints.title = title.map(str::to_owned);
    hints
}

fn finish(name: String, about: String, input: Map<String, Value>, answer: Option<Value>, hints: ToolAnnotations) -> Tool {
    let mut tool = Tool::new(name, about, Arc::new(input)).with_annotations(hints);
    tool.title = tool.annotations.as_ref().and_then(|hints| hints.title.clone());
    if let Some(Value::Object(answer)) = answer {
        tool.output_schema = Some(Arc::new(answer));
    }
    tool
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn operations() -> Operations {
        let document = serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        Operations::of_document(&document)
    }

    #[test]
    fn every_action_is_an_operation_and_no_tool_shows_a_secret() {
        let operations = operations();
        for group in GROUPS {
            for (action, id) in group.actions {
                assert!(operations.find(id).is_some_and(is_tool), "{}.{action}: there is no tool {id}", group.name);
            }
        }
        let all = tools(&operations, ToolSet::All);
        assert!(all.iter().all(|tool| !NEVER.contains(&tool.name.as_ref())));
    }

    #[test]
    fn few_tools_by_default_and_every_operation_on_demand() {
        let operations = operations();
        let (few, all) = (tools(&operations, ToolSet::Grouped), tools(&operations, ToolSet::All));
        assert!((12..=18).contains(&few.len()), "{}", few.len());
        assert!(all.len() > 60, "{}", all.len());
        for tool in few.iter().chain(&all) {
            assert!(tool.description.as_ref().is_some_and(|d| !d.is_empty()), "{}", tool.name);
            assert!(tool.output_schema.is_some() && tool.annotations.is_some(), "{}", tool.name);
        }
        let names: HashSet<_> = all.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn schemas_refer_to_nothing_outside_themselves_and_name_no_identity() {
        let operations = operations();
        for tool in tools(&operations, ToolSet::Grouped).into_iter().chain(tools(&operations, ToolSet::All)) {
            for schema in [Some(&tool.input_schema), tool.output_schema.as_ref()].into_iter().flatten() {
                let text = serde_json::to_string(schema).expect("JSON");
                assert!(!text.contains("#/components"), "{}", tool.name);
                refers_to_itself_only(schema, &tool.name);
            }
            let arguments = tool.input_schema["properties"].as_object().expect("properties");
            for word in ["authorization", "api_key", "agent_key", "token", "x_sid_user", "x_sid_tenant", "x_sid_agent"] {
                assert!(!arguments.contains_key(word), "{} takes `{word}`", tool.name);
            }
        }
    }

    fn refers_to_itself_only(schema: &Map<String, Value>, name: &str) {
        for (at, target) in references(&Value::Object(schema.clone())) {
            let known = schema.get("$defs").and_then(|defs| defs.get(&target));
            assert!(known.is_some(), "{name}: {at} refers to {target}");
        }
    }

    fn references(value: &Value) -> Vec<(String, String)> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => vec![(name.clone(), target.trim_start_matches("#/$defs/").to_owned())],
                    _ => references(value),
                })
                .collect(),
            Value::Array(items) => items.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }
}
