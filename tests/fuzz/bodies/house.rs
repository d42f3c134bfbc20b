//! A server in process with two tenants, and a client of one of them.

#![allow(dead_code, reason = "each body takes what it needs")]

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use sid_server::App;
use sid_server::config::{Config, Sources};
use tower::ServiceExt as _;

/// Stands in all that the other tenant has.
pub(crate) const OTHERS_CANARY: &str = "canary-of-the-others";

pub(crate) struct House {
    runtime: tokio::runtime::Runtime,
    router: Router,
    key: String,
    tenant: String,
    conversation: String,
}

impl House {
    /// Opens it, with some of everything that lists show.
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let flags = [("store.kind", "in-process"), ("engine.diary", "false"), ("server.log_requests", "false")];
        let flags = flags.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let config = Config::load(Sources { flags, ..Sources::default() }).expect("a configuration");
        let app = runtime.block_on(App::open(config)).expect("a server");
        let key = app.first_key().expect("a new store has a key").to_owned();
        let mut house = Self { router: app.router(), runtime, key, tenant: String::new(), conversation: String::new() };
        for name in ["others", "ours"] {
            let mark = if name == "ours" { "ours" } else { OTHERS_CANARY };
            house.tenant = house.make("tenants", json!({"name": name}))["id"].as_str().expect("an id").to_owned();
            house.make("users", json!({"handle": "ann", "display_name": mark}));
            house.make("agents", json!({"name": "helper", "instructions": mark}));
            house.conversation = house.make("conversations", json!({"agent": "@helper", "user": "@ann", "key": mark}))["id"]
                .as_str()
                .expect("an id")
                .to_owned();
            let messages: Vec<Value> = (0..5)
                .map(|i| json!({"role": "user", "text": format!("{mark} {i}"), "at": format!("2026-05-0{}T12:00:00Z", i + 1)}))
                .collect();
            house.make(&format!("conversations/{}/import", house.conversation), json!({"messages": messages}));
            for i in 0..3 {
                house.make("passages", json!({"owner": {"type": "user", "user": "@ann"}, "text": format!("{mark} passage {i}")}));
            }
        }
        house
    }
    pub(crate) fn conversation(&self) -> &str {
        &self.conversation
    }

    fn make(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(Method::POST, &format!("/api/v1/{path}"), body.to_string().into_bytes());
        assert!((200..300).contains(&status), "{path}: {status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).expect("JSON")
    }

    /// Status and body of an answer; `CONVERSATION` in the path becomes the id.
    pub(crate) fn send(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let path = path.replace("CONVERSATION", &self.conversation);
        let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.key));
        if !self.tenant.is_empty() {
            request = request.header("x-sid-tenant", &self.tenant);
        }
        let Ok(request) = request.header("content-type", "application/json").body(Body::from(body)) else {
            // No client can send it.
            return (400, b"\"code\":\"SID-".to_vec());
        };
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.expect("the router answers");
            let status = answer.status().as_u16();
            (status, axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body").to_vec())
        })
    }
}
