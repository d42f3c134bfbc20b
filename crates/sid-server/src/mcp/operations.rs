//! The registry: every operation of the OpenAPI document, as tools and manifest need it.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Map, Value, json};

/// Where an argument goes in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into the path, in place of `{name}`.
    Path,
    /// Into the query string.
    Query,
    /// Into a header.
    Header,
    /// Into the JSON body.
    Body,
}

/// An argument of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    /// As tools call it.
    pub(crate) name: String,
    /// As the request calls it.
    pub(crate) wire_name: String,
    pub(crate) place: Place,
    pub(crate) is_required: bool,
    pub(crate) schema: Value,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) tag: String,
    pub(crate) about: String,
    pub(crate) arguments: Vec<Argument>,
    /// What its arguments refer to.
    definitions: Map<String, Value>,
    /// The schema of the answer, whole; `None` where the answer is no JSON.
    pub(crate) answer: Option<Value>,
}

/// All operations, in the order of the document.
#[derive(Debug, Default)]
pub(crate) struct Operations(Vec<Operation>);

impl Operations {
    /// Reads them from the OpenAPI document.
    pub(crate) fn of_document(document: &Value) -> Self {
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else { continue };
                if operation["operationId"].is_string() {
                    all.push(Operation::read(method, path, operation, &schemas));
                }
            }
        }
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.0.iter()
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Operation> {
        self.0.iter().find(|operation| operation.id == id)
    }
}

impl Operation {
    fn read(method: Method, path: &str, operation: &Value, schemas: &Map<String, Value>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut arguments = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let place = match parameter["in"].as_str() {
                Some("path") => Place::Path,
                Some("query") => Place::Query,
                _ => Place::Header,
            };
            let wire_name = text(&parameter["name"]);
            let mut schema = parameter["schema"].clone();
            if let (Some(fields), Some(about)) = (schema.as_object_mut(), parameter["description"].as_str()) {
                fields.insert("description".into(), json!(about));
            }
            let name = wire_name.to_ascii_lowercase().replace('-', "_");
            let is_required = parameter["required"] == json!(true);
            arguments.push(Argument { name, wire_name, place, is_required, schema });
        }
        let body = operation.pointer("/requestBody/content/application~1json/schema").map(|schema| resolved(schema, schemas));
        if let Some(body) = body {
            let required: Vec<&str> = body["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut take = |properties: &Value, may_be_required: bool| {
                for (name, schema) in properties.as_object().into_iter().flatten() {
                    if arguments.iter().any(|known| known.place == Place::Body && known.name == *name) {
                        continue;
                    }
                    let is_required = may_be_required && required.contains(&name.as_str());
                    let (name, wire_name, schema) = (name.clone(), name.clone(), schema.clone());
                    arguments.push(Argument { name, wire_name, place: Place::Body, is_required, schema });
                }
            };
            take(&body["properties"], true);
            // A choice between forms, told apart by a field: the arguments of all, none of them required but by the server.
            for form in body["oneOf"].as_array().into_iter().flatten() {
                take(&form["properties"], false);
            }
        }
        let mut definitions = Map::new();
        for argument in &mut arguments {
            let mut wanted = BTreeSet::new();
            argument.schema = localized(&argument.schema, &mut wanted);
            gather(&wanted, schemas, &mut definitions);
        }
        Self {
            id: text(&operation["operationId"]),
            method,
            path: path.to_owned(),
            tag: text(&operation["tags"][0]),
            about: match operation["description"].as_str() {
                Some(more) => format!("{} {more}", text(&operation["summary"])),
                None => text(&operation["summary"]),
            },
            arguments,
            definitions,
            answer: answer_schema(operation, schemas),
        }
    }

    /// Changes nothing, whoever calls it.
    pub(crate) fn is_read_only(&self) -> bool {
        // Searches have bodies, and so are posted.
        self.method == Method::GET || matches!(self.id.as_str(), "search_memory" | "search_items")
    }

    /// May take away what is there.
    pub(crate) fn is_destructive(&self) -> bool {
        matches!(self.method, Method::DELETE | Method::PATCH | Method::PUT)
            || self.id.starts_with("drop_")
            || self.id.starts_with("compact_")
    }

    /// Twice is as once.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.is_read_only() || matches!(self.method, Method::DELETE | Method::PUT)
    }

    /// The arguments as JSON Schema: properties, names of those that are required, definitions.
    pub(crate) fn input(&self) -> (Map<String, Value>, Vec<String>, Map<String, Value>) {
        let properties = self.arguments.iter().map(|a| (a.name.clone(), a.schema.clone())).collect();
        let required = self.arguments.iter().filter(|a| a.is_required).map(|a| a.name.clone()).collect();
        (properties, required, self.definitions.clone())
    }
}

/// A schema of an object with these parts.
pub(crate) fn object_schema(properties: Map<String, Value>, required: &[String], definitions: Map<String, Value>) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("additionalProperties".into(), json!(false));
    if !definitions.is_empty() {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    schema
}

/// The schema of the answers that are no errors: always an object's, as MCP wants it.
fn answer_schema(operation: &Value, schemas: &Map<String, Value>) -> Option<Value> {
    let mut forms: Vec<Value> = Vec::new();
    let mut definitions = Map::new();
    for (status, response) in operation["responses"].as_object()? {
        if !status.starts_with('2') {
            continue;
        }
        let Some(content) = response["content"].as_object().filter(|content| !content.is_empty()) else { continue };
        let schema = content.get("application/json")?.get("schema")?;
        let mut wanted = BTreeSet::new();
        let form = localized(schema, &mut wanted);
        gather(&wanted, schemas, &mut definitions);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    match forms.len() {
        0 => {}
        1 => {
            schema.insert("allOf".into(), json!(forms));
        }
        _ => {
            schema.insert("anyOf".into(), json!(forms));
        }
    }
    if !definitions.is_empty() {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    Some(Value::Object(schema))
}

const IN_DOCUMENT: &str = "#/components/schemas/";

/// The schema itself, where it is a reference.
fn resolved(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix(IN_DOCUMENT));
    name.and_then(|name| schemas.get(name)).unwrap_or(schema).clone()
}

/// The schema with references into `$defs`; notes which ones.
fn localized(schema: &Value, wanted: &mut BTreeSet<String>) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut local = Map::new();
            for (name, value) in fields {
                let target = (name == "$ref").then(|| value.as_str().and_then(|r| r.strip_prefix(IN_DOCUMENT))).flatten();
                let value = match target {
                    Some(target) => {
                        wanted.insert(target.to_owned());
                        json!(format!("#/$defs/{target}"))
                    }
                    None => localized(value, wanted),
                };
                local.insert(name.clone(), value);
            }
            Value::Object(local)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| localized(item, wanted)).collect()),
        plain => plain.clone(),
    }
}

/// Puts schemas, and what they refer to, into `$defs`.
fn gather(wanted: &BTreeSet<String>, schemas: &Map<String, Value>, definitions: &mut Map<String, Value>) {
    for name in wanted {
        if definitions.contains_key(name) {
            continue;
        }
        let Some(schema) = schemas.get(name) else { continue };
        let mut further = BTreeSet::new();
        let local = localized(schema, &mut further);
        definitions.insert(name.clone(), local);
        gather(&further, schemas, definitions);
    }
}
