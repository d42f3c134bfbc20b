//! Queries of lists and searches, at a whole server: no 5xx, no more than asked for, cursors that lead on, nothing of another tenant.
//!
//! Shape: the first byte chooses the list (`A` the first), the rest is its query; with a `{` in front of the rest it is the body of a search.

#[path = "house.rs"]
mod house;

use std::sync::OnceLock;

use axum::http::Method;
use house::{House, OTHERS_CANARY};
use serde_json::Value;
use sid_fetch::Url;

/// Lists and searches that take filters. `CONVERSATION`: that of the house.
const LISTS: &[&str] = &[
    "/api/v1/agents",
    "/api/v1/users",
    "/api/v1/teams",
    "/api/v1/conversations",
    "/api/v1/conversations/CONVERSATION/messages",
    "/api/v1/conversations/CONVERSATION/context",
    "/api/v1/passages",
    "/api/v1/blocks",
    "/api/v1/diary",
    "/api/v1/index",
    "/api/v1/audit",
    "/api/v1/keys",
    "/api/v1/conversations/CONVERSATION/runs",
    "/api/v1/context",
    "/api/v1/context/items",
    "/api/v1/context/handoffs",
    "/api/v1/context/secrets",
    "/api/v1/export",
];
const SEARCHES: &[&str] = &["/api/v1/search", "/api/v1/context/search"];

pub(crate) fn check(data: &[u8]) {
    static HOUSE: OnceLock<House> = OnceLock::new();
    let house = HOUSE.get_or_init(House::open);
    let [choice, rest @ ..] = data else { return };
    let choice = usize::from(choice.wrapping_sub(b'A'));
    if rest.first() == Some(&b'{') {
        let (status, body) = house.send(Method::POST, SEARCHES[choice % SEARCHES.len()], rest.to_vec());
        assert_fine(status, &body, rest);
        return;
    }
    // A query has no spaces, controls or bare UTF-8: what a client's library would do to them.
    let query: String =
        rest.iter().map(|b| if b.is_ascii_graphic() && *b != b'#' { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect();
    let path = LISTS[choice % LISTS.len()];
    let (status, body) = house.send(Method::GET, &format!("{path}?{query}"), Vec::new());
    assert_fine(status, &body, rest);
    if status != 200 {
        return;
    }
    if path.ends_with("/export") {
        for line in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<Value>(line).expect("a line of JSON");
        }
        return;
    }
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let Some(items) = answer.get("items").and_then(Value::as_array) else { return };
    let mut url = Url::parse(&format!("http://house{path}?{query}")).expect("a URL");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let limit = pairs.iter().filter(|(name, _)| name == "limit").filter_map(|(_, n)| n.parse::<usize>().ok()).max();
    assert!(items.len() <= limit.unwrap_or(1_000), "{} items", items.len());
    // The cursor of an answer is one that the server takes.
    if let Some(next) = answer.get("next").and_then(Value::as_str)
        && !path.ends_with("/diary")
    {
        let rest = pairs.iter().filter(|(name, _)| name != "after" && name != "from");
        url.query_pairs_mut().clear().extend_pairs(rest).append_pair("after", next);
        let more = format!("{path}?{}", url.query().unwrap_or_default());
        let (status, body) = house.send(Method::GET, &more, Vec::new());
        assert_eq!(status, 200, "{more}: {}", String::from_utf8_lossy(&body));
    }
}

fn assert_fine(status: u16, body: &[u8], given: &[u8]) {
    let text = String::from_utf8_lossy(body);
    assert!(status < 500, "{status}: {text}");
    assert!(status == 200 || text.contains("\"code\":\"SID-"), "{status} without a code: {text}");
    let asked_for_it = given.windows(OTHERS_CANARY.len()).any(|w| w == OTHERS_CANARY.as_bytes());
    assert!(asked_for_it || !text.contains(OTHERS_CANARY), "another tenant's: {text}");
}
