//! Arguments in their places: path, query, headers, body.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use sid_fetch::{Request, Url};

use super::operation::{Body, BodyKind, Operation, Parameter, Style, Where};

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Operation {
    /// The request for these arguments, which fit the schema.
    ///
    /// Errors: what the model has to change.
    pub(super) fn request(&self, base: &Url, arguments: &Map<String, Value>) -> Result<Request, String> {
        let mut path = self.path.clone();
        let mut query: Vec<(String, String)> = Vec::new();
        let mut headers: Vec<(&str, String)> = Vec::new();
        for parameter in &self.parameters {
            let value = match arguments.get(&parameter.argument) {
                Some(value) if !value.is_null() => value,
                _ if parameter.required => return Err(format!("`{}` is required.", parameter.argument)),
                _ => continue,
            };
            match parameter.place {
                Where::Path => {
                    let text = parameter.joined(value, ",");
                    // Encoded or not, parsers take these as steps in the path, and an empty one as none.
                    if matches!(text.as_str(), "" | "." | "..") {
                        return Err(format!("`{}` must not be empty, `.` or `..`.", parameter.argument));
                    }
                    path = path.replace(&format!("{{{}}}", parameter.name), &encoded(&text));
                }
                Where::Query => parameter.in_query(value, &mut query),
                Where::Header => headers.push((&parameter.name, parameter.joined(value, ","))),
            }
        }
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        url.set_query((!pairs.is_empty()).then(|| pairs.join("&")).as_deref());
        let mut request = Request::new(self.method.clone(), url.to_string()).header("accept", "application/json, text/*;q=0.9, */*;q=0.1");
        for (name, value) in headers {
            request = request.and_then(|r| r.header(name, &value));
        }
        if let Some(body) = &self.body
            && let Some(value) = arguments.get(&body.argument)
        {
            request = request.and_then(|r| r.json(body.bytes(value)).header("content-type", &body.media_type));
        }
        request.map_err(|e| format!("{e}."))
    }
}

/// A value as one text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Parameter {
    fn joined(&self, value: &Value, with: &str) -> String {
        match value {
            _ if self.style == Style::Json => value.to_string(),
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(with),
            Value::Object(fields) => fields.iter().flat_map(|(k, v)| [k.clone(), text(v)]).collect::<Vec<_>>().join(with),
            other => text(other),
        }
    }

    fn in_query(&self, value: &Value, query: &mut Vec<(String, String)>) {
        let name = || self.name.clone();
        match (self.style, value) {
            (Style::Deep, Value::Object(fields)) => query.extend(fields.iter().map(|(k, v)| (format!("{}[{k}]", self.name), text(v)))),
            (Style::Repeated, Value::Object(fields)) => query.extend(fields.iter().map(|(k, v)| (k.clone(), text(v)))),
            (Style::Repeated | Style::Deep, Value::Array(items)) => query.extend(items.iter().map(|v| (name(), text(v)))),
            (Style::Spaces, _) => query.push((name(), self.joined(value, " "))),
            (Style::Pipes, _) => query.push((name(), self.joined(value, "|"))),
            _ => query.push((name(), self.joined(value, ","))),
        }
    }
}

impl Body {
    fn bytes(&self, value: &Value) -> Vec<u8> {
        match (self.kind, value) {
            (BodyKind::Form, Value::Object(fields)) => {
                let pairs = fields.iter().flat_map(|(name, value)| match value {
                    Value::Array(items) => items.iter().map(|v| (name, text(v))).collect(),
                    other => vec![(name, text(other))],
                });
                pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(&value))).collect::<Vec<_>>().join("&").into_bytes()
            }
            (BodyKind::Text, value) => text(value).into_bytes(),
            (_, value) => value.to_string().into_bytes(),
        }
    }
}
