//! One operation, as it is read from the document.

use serde_json::{Map, Value, json};
use sid_fetch::{Method, Url};

use super::schema::{Resolver, follow};
use crate::EffectClass;

/// Longest description of a tool, in characters.
const LONGEST_DESCRIPTION: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Path,
    Query,
    Header,
}

/// How a value is written in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `a,b`, in paths and headers; in queries `form` without `explode`.
    Commas,
    /// `k=a&k=b`: `form` with `explode`.
    Repeated,
    Spaces,
    Pipes,
    /// `k[a]=1&k[b]=2`.
    Deep,
    /// A `content` of JSON.
    Json,
}

#[derive(Debug, Clone)]
pub(super) struct Parameter {
    /// What the service calls it.
    pub(super) name: String,
    /// What the tool calls it: the same, unless two places have one of that name.
    pub(super) argument: String,
    pub(super) place: Where,
    pub(super) style: Style,
    pub(super) required: bool,
    schema: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    Json,
    Form,
    Text,
}

#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) argument: String,
    pub(super) kind: BodyKind,
    pub(super) media_type: String,
    required: bool,
    schema: Value,
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) description: String,
    pub(super) effect: EffectClass,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
}

impl Operation {
    /// Errors: why it cannot be a tool.
    pub(super) fn read(document: &Value, base: &Url, path: &str, item: &Value, method: &str, described: &Value) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("its path does not begin with `/`".into());
        }
        for server in [item, described].into_iter().filter_map(|v| v.get("servers").and_then(Value::as_array)).flatten() {
            let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
            if base.join(url).map(|url| url.origin()) != Ok(base.origin()) {
                return Err("it names a server of its own, which is not the one that was given".into());
            }
        }
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|e| e.to_string())?;
        let effect = match method.as_str() {
            "GET" | "HEAD" => EffectClass::Read,
            "PUT" | "DELETE" => EffectClass::External { idempotent: true },
            _ => EffectClass::External { idempotent: false },
        };
        let mut resolver = Resolver::new(document);
        let parameters = parameters(document, &mut resolver, path, item, described)?;
        let body = body(document, &mut resolver, &parameters, described)?;
        let words = ["summary", "description"].map(|field| described.get(field).and_then(Value::as_str).unwrap_or_default().trim());
        let description = match words {
            [summary, ""] => summary.to_owned(),
            ["", more] => more.to_owned(),
            [summary, more] => format!("{}. {more}", summary.trim_end_matches('.')),
        };
        let description = if description.is_empty() { format!("{method} {path}") } else { description };
        let description = description.chars().take(LONGEST_DESCRIPTION).collect();
        let operation = Self { method, path: path.to_owned(), description, effect, parameters, body };
        match jsonschema::validator_for(&operation.schema()) {
            Ok(_) => Ok(operation),
            Err(error) => Err(format!("its schema cannot be used: {error}")),
        }
    }

    /// The schema of the tool's arguments.
    pub(super) fn schema(&self) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for parameter in &self.parameters {
            properties.insert(parameter.argument.clone(), parameter.schema.clone());
            if parameter.required {
                required.push(parameter.argument.clone());
            }
        }
        if let Some(body) = &self.body {
            properties.insert(body.argument.clone(), body.schema.clone());
            if body.required {
                required.push(body.argument.clone());
            }
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
}

/// Headers that OpenAPI leaves to other parts of a document, or to whoever sends.
const NOT_PARAMETERS: &[&str] =
    &["accept", "content-type", "authorization", "host", "content-length", "idempotency-key", "accept-encoding"];

fn parameters(
    document: &Value,
    resolver: &mut Resolver<'_>,
    path: &str,
    item: &Value,
    described: &Value,
) -> Result<Vec<Parameter>, String> {
    let mut all: Vec<Parameter> = Vec::new();
    let of = |value: &Value| value.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    for written in of(item).into_iter().chain(of(described)) {
        let written = follow(document, &written);
        let name = written.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_required = written.get("required").and_then(Value::as_bool).unwrap_or_default();
        let place = match written.get("in").and_then(Value::as_str) {
            Some("path") => Where::Path,
            Some("query") => Where::Query,
            Some("header") if NOT_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => continue,
            Some("header") => Where::Header,
            Some("cookie") if !is_required => continue,
            other => return Err(format!("its parameter `{name}` stands in `{}`, which is not supported", other.unwrap_or("no place"))),
        };
        if name.is_empty() {
            return Err("one of its parameters has no name".into());
        }
        let content = written.get("content").and_then(Value::as_object).and_then(|c| c.values().next());
        let schema = content.map_or(written.get("schema"), |c| c.get("schema")).unwrap_or(&Value::Bool(true));
        let mut schema = resolver.schema(schema);
        if let (Some(text), Some(schema)) = (written.get("description").and_then(Value::as_str), schema.as_object_mut()) {
            schema.entry("description").or_insert_with(|| text.chars().take(LONGEST_DESCRIPTION).collect());
        }
        let explode = written.get("explode").and_then(Value::as_bool);
        let style = match (content.is_some(), place, written.get("style").and_then(Value::as_str)) {
            (true, ..) => Style::Json,
            (_, Where::Path, Some("label" | "matrix")) => return Err(format!("the style of its parameter `{name}` is not supported")),
            (_, Where::Query, Some("spaceDelimited")) => Style::Spaces,
            (_, Where::Query, Some("pipeDelimited")) => Style::Pipes,
            (_, Where::Query, Some("deepObject")) => Style::Deep,
            (_, Where::Query, _) if explode != Some(false) => Style::Repeated,
            _ => Style::Commas,
        };
        let required = is_required || place == Where::Path;
        // The operation's own word replaces that of the path.
        all.retain(|p| (&p.name, p.place) != (&name, place));
        all.push(Parameter { argument: name.clone(), name, place, style, required, schema });
    }
    for at in 0..all.len() {
        let is_twice = all[..at].iter().any(|p| p.argument == all[at].argument);
        if is_twice {
            all[at].argument = format!("{}_in_{}", all[at].name, format!("{:?}", all[at].place).to_lowercase());
        }
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("its path has a `{` without a `}`")?;
        if !all.iter().any(|p| p.place == Where::Path && p.name == name) {
            return Err(format!("its path asks for `{name}`, which is no parameter"));
        }
        rest = after;
    }
    Ok(all)
}

fn body(document: &Value, resolver: &mut Resolver<'_>, parameters: &[Parameter], described: &Value) -> Result<Option<Body>, String> {
    let Some(written) = described.get("requestBody") else { return Ok(None) };
    let written = follow(document, written);
    let required = written.get("required").and_then(Value::as_bool).unwrap_or_default();
    let empty = Map::new();
    let content = written.get("content").and_then(Value::as_object).unwrap_or(&empty);
    let kind_of = |media: &str| match media.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(BodyKind::Json),
        media if media.ends_with("+json") => Some(BodyKind::Json),
        "*/*" | "application/*" => Some(BodyKind::Json),
        "application/x-www-form-urlencoded" => Some(BodyKind::Form),
        media if media.starts_with("text/") => Some(BodyKind::Text),
        _ => None,
    };
    let best = content.iter().filter_map(|(media, value)| Some((kind_of(media)?, media, value))).min_by_key(|(kind, ..)| *kind as u8);
    let Some((kind, media_type, value)) = best else {
        let offered = content.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return if required { Err(format!("its body must be {offered}, which is not supported")) } else { Ok(None) };
    };
    let schema = match kind {
        BodyKind::Text => json!({"type": "string"}),
        _ => resolver.schema(value.get("schema").unwrap_or(&Value::Bool(true))),
    };
    let argument = if parameters.iter().any(|p| p.argument == "body") { "request_body" } else { "body" };
    let media_type = if media_type.contains('*') { "application/json" } else { media_type }.to_owned();
    Ok(Some(Body { argument: argument.to_owned(), kind, media_type, required, schema }))
}
