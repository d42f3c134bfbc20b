//! A tool call as the request that REST would have made.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value};
use tower::ServiceExt as _;

use super::operations::{Operation, Place};
use crate::auth::Caller;

/// Marks requests that the process makes for a caller whom it has authenticated already. No header can make one.
#[derive(Debug, Clone)]
pub(crate) struct Inherited(pub(crate) Caller);

/// Largest answer that a model is given; more is an error that says how to ask for less.
const MOST_BYTES: usize = 1 << 20;

/// Runs an operation as this caller.
pub(super) async fn call(router: Router, caller: Caller, operation: &Operation, arguments: Map<String, Value>) -> CallToolResult {
    let mut request = match request(operation, arguments) {
        Ok(request) => request,
        Err(problem) => return failed(&problem),
    };
    request.extensions_mut().insert(Inherited(caller));
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let Ok(bytes) = axum::body::to_bytes(response.into_body(), MOST_BYTES).await else {
        return failed(&format!("the answer is larger than {MOST_BYTES} bytes: ask for less (`limit`)"));
    };
    let answer = if bytes.is_empty() { Ok(Value::Object(Map::new())) } else { serde_json::from_slice(&bytes) };
    match answer {
        Ok(value) if status.is_success() => CallToolResult::structured(value),
        Ok(problem) => {
            let part = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            failed(&format!("{}: {} ({})", part("title"), part("detail"), part("code")))
        }
        Err(_) => failed("the answer is no JSON"),
    }
}

/// The call went wrong in a way that a model can act on.
pub(super) fn failed(problem: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(problem)])
}

fn request(operation: &Operation, mut arguments: Map<String, Value>) -> Result<Request<Body>, String> {
    let mut path = operation.path.clone();
    let mut query: Vec<String> = Vec::new();
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut body = Map::new();
    let mut has_body = false;
    for argument in &operation.arguments {
        has_body |= argument.place == Place::Body;
        let Some(value) = arguments.remove(&argument.name).filter(|value| !value.is_null()) else {
            if argument.is_required {
                return Err(format!("`{}` is missing", argument.name));
            }
            continue;
        };
        match argument.place {
            Place::Body => {
                body.insert(argument.wire_name.clone(), value);
            }
            Place::Path => path = path.replace(&format!("{{{}}}", argument.wire_name), &encoded(&plain(&argument.name, &value)?)),
            Place::Query => query.push(format!("{}={}", argument.wire_name, encoded(&plain(&argument.name, &value)?))),
            Place::Header => {
                let name = HeaderName::try_from(argument.wire_name.as_str()).map_err(|e| e.to_string())?;
                let value = HeaderValue::try_from(plain(&argument.name, &value)?)
                    .map_err(|_| format!("`{}` must be visible ASCII characters", argument.name))?;
                headers.push((name, value));
            }
        }
    }
    if let Some(name) = arguments.keys().next() {
        let known = operation.arguments.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        // Where a secret is expected, anything may be one.
        let is_confidential = operation.arguments.iter().any(|a| a.schema["format"] == "password");
        return Err(if is_confidential {
            format!("there is an argument that is not known here; there are: {known}")
        } else {
            format!("there is no argument `{name}` here; there are: {known}")
        });
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let mut request = Request::builder().method(operation.method.clone()).uri(&path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let content = if has_body { serde_json::to_vec(&body).map_err(|e| e.to_string())? } else { Vec::new() };
    request
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(content))
        .map_err(|e| format!("the arguments make no request: {e}"))
}

/// A value that stands in a path, a query or a header.
fn plain(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.is_empty() => Err(format!("`{name}` must not be empty")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("`{name}` must be a text, a number or a truth value")),
    }
}

/// Percent-encoded, so that no value can become another path, another parameter or another header: a dot, too, for `..` is a path.
fn encoded(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');
    utf8_percent_encode(text, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::operations::Operations;
    use super::*;

    fn check(id: &str, arguments: Value, expected: Result<&str, &str>) {
        let document = serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        let operations = Operations::of_document(&document);
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let made = request(operations.find(id).expect(id), arguments);
        match (made, expected) {
            (Ok(request), Ok(expected)) => assert_eq!(format!("{} {}", request.method(), request.uri()), expected),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (made, _) => panic!("{made:?}"),
        }
    }

    #[test]
    fn arguments_go_where_the_operation_wants_them() {
        check("get_item", json!({ "id": "item_1" }), Ok("GET /api/v1/context/items/item_1"));
        check(
            "list_items",
            json!({ "kind": "note", "limit": 5, "tops": true }),
            Ok("GET /api/v1/context/items?kind=note&tops=true&limit=5"),
        );
        check("get_item", json!({}), Err("`id` is missing"));
        check("get_item", json!({ "id": "x", "user": "bob" }), Err("no argument `user`"));
        check("get_item", json!({ "id": ["x"] }), Err("must be a text"));
    }

    #[test]
    fn no_argument_leaves_its_place() {
        check("get_item", json!({ "id": "../../tenants" }), Ok("GET /api/v1/context/items/%2E%2E%2F%2E%2E%2Ftenants"));
        check("get_item", json!({ "id": "a?user=b#c" }), Ok("GET /api/v1/context/items/a%3Fuser%3Db%23c"));
        check("list_items", json!({ "tag": "a&owner_type=tenant" }), Ok("GET /api/v1/context/items?tag=a%26owner_type%3Dtenant"));
        check("change_item", json!({ "id": "x", "if_match": "1\r\nX-Sid-User: bob" }), Err("visible ASCII"));
    }
}
