//! The document: 3.1, stable operation ids, errors everywhere, and every documented route exists.

use std::collections::BTreeSet;

use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&sid_server::openapi_json()).expect("JSON")
}

#[test]
fn operations_have_unique_ids_tags_summaries_and_errors() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{id} has no summary");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{id}");
            let responses = operation["responses"].as_object().expect("responses");
            for status in ["401", "403", "429", "500", "503"] {
                assert!(responses.contains_key(status), "{id} has no {status}");
            }
            assert!(responses.keys().any(|s| s.starts_with('2')), "{id}");
            let is_openai = path.starts_with("/v1");
            let kind = if is_openai { "application/json" } else { "application/problem+json" };
            assert!(responses["401"]["content"].get(kind).is_some(), "{id}");
        }
    }
    // What clients are generated from: renaming one of these breaks them.
    for id in ["send_message", "create_agent", "open_conversation", "search_memory", "get_run_events", "openai_chat_completions"] {
        assert!(ids.contains(id), "{id} is missing");
    }
}

#[test]
fn every_reference_points_to_something() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.push(target.clone());
                }
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let document = document();
    let mut targets = Vec::new();
    walk(&document, &mut targets);
    assert!(targets.len() > 50);
    for target in targets {
        let pointer = target.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{target} points nowhere");
    }
}

#[tokio::test]
async fn every_documented_route_exists() {
    let house = crate::harness::House::new().await;
    for (path, item) in document()["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            let filled: Vec<&str> = path.split('/').map(|p| if p.starts_with('{') { "x" } else { p }).collect();
            let method: axum::http::Method = method.to_ascii_uppercase().parse().expect("a method");
            let answer = house.operator.raw(method.clone(), &filled.join("/"), "{}").await;
            if !path.starts_with("/v1") && answer.status.is_client_error() {
                let code = answer.problem().1;
                assert!(!["SID-API-NO-ROUTE", "SID-API-METHOD"].contains(&code.as_str()), "{method} {path}");
            }
        }
    }
}
