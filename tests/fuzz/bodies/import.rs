//! Importing a chat log: the reader of `sid import`, and the server's import, with the same bytes.

#[path = "house.rs"]
mod house;

use std::sync::OnceLock;

use axum::http::Method;
use house::House;
use serde_json::{Value, json};
use sid_cli::commands::import::read_log;

const PATH: &str = "/api/v1/conversations/CONVERSATION/import";

pub(crate) fn check(data: &[u8]) {
    static HOUSE: OnceLock<House> = OnceLock::new();
    let house = HOUSE.get_or_init(House::open);
    // As it is.
    let (status, answer) = house.send(Method::POST, PATH, data.to_vec());
    assert!(matches!(status, 200 | 400 | 409 | 413 | 422), "{status}: {}", String::from_utf8_lossy(&answer));
    // As the command reads it.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(log) = read_log(text) else { return };
    assert_eq!(read_log(text).as_ref(), Ok(&log), "the same log, the same messages and ids");
    for message in &log.messages {
        assert!(matches!(message["role"].as_str(), Some("user" | "assistant")), "{message}");
        assert!(!message["text"].as_str().unwrap_or_default().trim().is_empty() && message["id"].is_string(), "{message}");
    }
    for batch in log.messages.chunks(200) {
        let body = json!({"messages": batch}).to_string().into_bytes();
        let (status, first) = house.send(Method::POST, PATH, body.clone());
        let said = String::from_utf8_lossy(&first).into_owned();
        // 400: a text with NUL, a name with controls. 409, 422: the id is another message's already.
        assert!(matches!(status, 200 | 400 | 409 | 422), "{status}: {said}");
        if status == 200 {
            let places: Value = serde_json::from_slice(&first).expect("JSON");
            assert_eq!(places["messages"].as_array().map(Vec::len), Some(batch.len()), "a place for each");
            assert_eq!(house.send(Method::POST, PATH, body), (200, first), "a repetition adds nothing and answers alike");
        }
    }
}
