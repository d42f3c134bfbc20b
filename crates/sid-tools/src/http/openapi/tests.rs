use serde_json::{Value, json};
use sid_fetch::{Fetcher, Policy};

use super::operation::Operation;
use super::*;
use crate::EffectClass;

fn read_with(document: &Value, options: &OpenApiOptions) -> OpenApiTools {
    let connection = Connection::new(Fetcher::new(Policy::default()).expect("a client")).secret_header("authorization", "Bearer ", "KEY");
    OpenApiTools::read(document, "https://api.example.com/v1/", &connection, options).expect("a document")
}

fn document(paths: Value) -> Value {
    json!({"openapi": "3.0.3", "paths": paths, "components": {
        "schemas": {
            "Pet": {"type": "object", "required": ["name", "id"], "properties": {
                "id": {"type": "integer", "readOnly": true},
                "name": {"type": "string", "nullable": true, "example": "Rex"},
                "age": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
                "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
                "example": {"type": "string"},
                "kind": {"$ref": "other.yaml#/Kind"}
            }}
        },
        "parameters": {"Page": {"name": "page", "in": "query", "schema": {"type": "integer"}}},
        "requestBodies": {"Pet": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}
    }})
}

fn specs(paths: Value) -> Vec<ToolSpec> {
    read_with(&document(paths), &OpenApiOptions::default()).tools.iter().map(|t| t.spec()).collect()
}

/// Method, URL and body of the call of the one operation.
#[track_caller]
fn check(path: &str, method: &str, operation: Value, arguments: Value, expected: &str) {
    let base = Url::parse("https://api.example.com/v1/").expect("a URL");
    let document = document(json!({}));
    let operation = Operation::read(&document, &base, path, &json!({}), method, &operation).expect("an operation");
    let request = operation.request(&base, arguments.as_object().expect("an object"));
    let said = match request {
        Ok(request) => format!("{request:?}"),
        Err(problem) => problem,
    };
    assert!(said.contains(expected), "{said}\nhas not: {expected}");
}

fn parameter(name: &str, place: &str, more: Value) -> Value {
    let mut parameter = json!({"name": name, "in": place, "schema": {}});
    for (key, value) in more.as_object().expect("an object") {
        parameter[key] = value.clone();
    }
    json!({"parameters": [parameter]})
}

#[test]
fn references_are_resolved_and_circles_cut() {
    let specs = specs(json!({"/pets": {"post": {"operationId": "addPet", "requestBody": {"$ref": "#/components/requestBodies/Pet"}}}}));
    let pet = &specs[0].parameters["properties"]["body"];
    assert_eq!(pet["properties"]["name"], json!({"type": ["string", "null"]}));
    assert_eq!(pet["properties"]["age"], json!({"type": "number", "exclusiveMinimum": 0}));
    assert_eq!(pet["properties"]["parents"], json!({"type": "array", "items": {}}), "a circle is cut");
    assert_eq!(pet["properties"]["kind"], json!({}), "nothing is fetched");
    assert_eq!(pet["properties"]["example"], json!({"type": "string"}), "a property of that name is a property");
    assert_eq!((&pet["required"], pet["properties"].get("id")), (&json!(["name"]), None), "what the service writes is not asked for");
    assert_eq!(specs[0].parameters["required"], json!(["body"]));
}

#[test]
fn a_document_that_explodes_is_cut() {
    let mut schemas = Map::new();
    for i in 0..30 {
        let next = json!({"$ref": format!("#/components/schemas/S{}", i + 1)});
        schemas.insert(format!("S{i}"), json!({"type": "object", "properties": {"a": next, "b": next, "c": next, "d": next}}));
    }
    let document = json!({"openapi": "3.1.0", "components": {"schemas": schemas}, "paths": {"/x": {"post": {
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    }}}});
    let spec = read_with(&document, &OpenApiOptions::default()).tools[0].spec();
    assert!(spec.parameters.to_string().len() < 100_000, "{}", spec.parameters.to_string().len());
}

#[test]
fn names_are_made_valid_and_distinct() {
    let named = |id: &str| json!({"operationId": id});
    let paths = json!({
        "/a": {"get": named("pets.list all"), "post": named("pets list.all"), "put": named("")},
        "/b/{id}": {"delete": {"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]}},
        "/c": {"get": named(&"x".repeat(100)), "patch": named(&"x".repeat(100)), "post": named("日本")}
    });
    let names: Vec<String> = specs(paths).into_iter().map(|s| s.name).collect();
    let x = "x".repeat(64);
    assert_eq!(names, ["pets_list_all", "call", "pets_list_all_2", "delete_b_id", &x, "call_2", &format!("{}_2", &x[..62])]);
}

#[test]
fn effects_follow_the_methods() {
    let base = Url::parse("https://api.example.com/").expect("a URL");
    for (method, effect) in [
        ("get", EffectClass::Read),
        ("head", EffectClass::Read),
        ("put", EffectClass::External { idempotent: true }),
        ("delete", EffectClass::External { idempotent: true }),
        ("post", EffectClass::External { idempotent: false }),
        ("patch", EffectClass::External { idempotent: false }),
    ] {
        let operation = Operation::read(&json!({}), &base, "/", &json!({}), method, &json!({})).expect("an operation");
        assert_eq!(operation.effect, effect, "{method}");
    }
}

#[test]
fn parameters_are_written_as_their_styles_say() {
    let url = |end: &str| format!("url: \"https://api.example.com/v1{end}\"");
    let query = |more: Value| parameter("q", "query", more);
    check("/a", "get", query(json!({})), json!({"q": "a b&c=d/é"}), &url("/a?q=a%20b%26c%3Dd%2F%C3%A9"));
    check("/a", "get", query(json!({})), json!({"q": [1, "b,c", true]}), &url("/a?q=1&q=b%2Cc&q=true"));
    check("/a", "get", query(json!({"explode": false})), json!({"q": [1, 2]}), &url("/a?q=1%2C2"));
    check("/a", "get", query(json!({"style": "pipeDelimited"})), json!({"q": [1, 2]}), &url("/a?q=1%7C2"));
    check("/a", "get", query(json!({"style": "deepObject"})), json!({"q": {"a": 1, "b": "x"}}), &url("/a?q%5Ba%5D=1&q%5Bb%5D=x"));
    check("/a", "get", query(json!({})), json!({"q": {"a": 1, "b": "x"}}), &url("/a?a=1&b=x"));
    check("/a", "get", query(json!({"content": {"application/json": {}}})), json!({"q": {"a": 1}}), &url("/a?q=%7B%22a%22%3A1%7D"));
    check("/a", "get", query(json!({})), json!({"q": null}), &url("/a"));
    check("/a", "get", parameter("X-Q", "header", json!({})), json!({"X-Q": [1, 2]}), "\"x-q\": \"1,2\"");
    check("/a", "get", parameter("X-Q", "header", json!({})), json!({"X-Q": "a\r\nhost: inside"}), "header `X-Q` is refused");
}

#[test]
fn path_parameters_stay_in_their_segment() {
    let id = || parameter("id", "path", json!({}));
    let url = |end: &str| format!("url: \"https://api.example.com/v1{end}\"");
    check("/p/{id}/x", "get", id(), json!({"id": 7}), &url("/p/7/x"));
    check("/p/{id}/x", "get", id(), json!({"id": "../../admin"}), &url("/p/..%2F..%2Fadmin/x"));
    check("/p/{id}/x", "get", id(), json!({"id": "a?b#c@d\\e"}), &url("/p/a%3Fb%23c%40d%5Ce/x"));
    check("/{id}", "get", id(), json!({"id": "/127.0.0.1/"}), &url("/%2F127.0.0.1%2F"));
    check("/p/{id}", "get", id(), json!({"id": "%2e%2e"}), &url("/p/%252e%252e"));
    for step in ["", ".", ".."] {
        check("/p/{id}", "get", id(), json!({"id": step}), "must not be empty, `.` or `..`");
    }
    check("/p/{id}", "get", id(), json!({}), "`id` is required");
    // A path of the document cannot leave the host either.
    check("//127.0.0.1/", "get", json!({}), json!({}), &url("//127.0.0.1/"));
    check("/@127.0.0.1/", "get", json!({}), json!({}), &url("/@127.0.0.1/"));
}

#[test]
fn bodies_are_json_forms_or_text() {
    let body = |media: &str| json!({"requestBody": {"required": true, "content": {media: {}}}});
    let bytes = |text: &str| format!("{:?}", text.as_bytes());
    check("/a", "post", body("application/json"), json!({"body": {"a": [1]}}), &bytes("{\"a\":[1]}"));
    check("/a", "patch", body("application/merge-patch+json"), json!({"body": {}}), "application/merge-patch+json");
    check("/a", "post", body("application/x-www-form-urlencoded"), json!({"body": {"a": "b&c", "d": [1, 2]}}), &bytes("a=b%26c&d=1&d=2"));
    check("/a", "post", body("text/plain"), json!({"body": "hello"}), &bytes("hello"));
}

#[test]
fn what_cannot_be_a_tool_is_left_out_and_says_why() {
    let paths = json!({
        "/upload": {"post": {"operationId": "upload", "requestBody": {"required": true, "content": {"multipart/form-data": {}}}}},
        "/away": {"get": {"operationId": "away", "servers": [{"url": "http://169.254.169.254/"}]}},
        "/away2": {"servers": [{"url": "//127.0.0.1"}], "get": {"operationId": "away2"}},
        "/here": {"get": {"operationId": "here", "servers": [{"url": "/v2"}]}},
        "/cookie": {"get": {"operationId": "cookie", "parameters": [{"name": "c", "in": "cookie", "required": true}]}},
        "/lost/{id}": {"get": {"operationId": "lost"}},
        "no-slash": {"get": {"operationId": "slash"}},
        "/regex": {"get": {"operationId": "regex", "parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "pattern": "("}}]}}
    });
    let read = read_with(&document(paths), &OpenApiOptions::default());
    let left: Vec<&str> = read.left_out.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(left, ["upload", "away", "away2", "cookie", "lost", "slash", "regex"], "{:?}", read.left_out);
    assert_eq!(read.tools.iter().map(|t| t.spec().name).collect::<Vec<_>>(), ["here"]);
}

#[test]
fn a_chosen_few_get_their_prefix() {
    let paths =
        json!({"/a": {"get": {"operationId": "a", "summary": "Reads.", "description": "All of it."}, "post": {"operationId": "b"}}});
    let options = OpenApiOptions { only: Some(vec!["a".into()]), prefix: "shop_".into() };
    let read = read_with(&document(paths), &options);
    let spec = read.tools[0].spec();
    assert_eq!((read.tools.len(), spec.name.as_str(), spec.description.as_str()), (1, "shop_a", "Reads. All of it."));
}

#[test]
fn other_documents_and_bases_are_refused() {
    let connection = Connection::new(Fetcher::new(Policy::default()).expect("a client"));
    let read =
        |document: Value, base: &str| OpenApiTools::read(&document, base, &connection, &OpenApiOptions::default()).map(|r| r.tools.len());
    assert!(matches!(read(json!({"swagger": "2.0", "paths": {}}), "https://x.example"), Err(OpenApiError::NotOpenApi(_))));
    assert!(matches!(read(json!({"openapi": "3.1.0"}), "https://x.example"), Err(OpenApiError::NotOpenApi(_))));
    assert!(matches!(read(json!({"openapi": "3.1.0", "paths": {}}), "http://127.0.0.1/"), Err(OpenApiError::Base(_))));
    assert!(matches!(read(json!({"openapi": "3.1.0", "paths": {}}), "https://x.example"), Ok(0)));
}
