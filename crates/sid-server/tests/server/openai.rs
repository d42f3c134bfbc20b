//! The OpenAI door, in the shapes that its clients expect.

use axum::http::Method;
use serde_json::{Value, json};
use sid_testkit::model_server::{Behaviour, Fault};

use crate::harness::{Answer, House};

const CHAT: &str = "/v1/chat/completions";

fn say(text: &str) -> Value {
    json!({"model": "anna", "messages": [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": text}]})
}

fn error(answer: &Answer) -> (u16, String, Value) {
    assert_eq!(answer.headers["content-type"], "application/json");
    let error = &answer.json()["error"];
    assert!(!error["message"].as_str().expect("a message").is_empty());
    assert!(error.get("param").is_some());
    (answer.status.as_u16(), error["type"].as_str().expect("a type").to_owned(), error["code"].clone())
}

async fn house() -> (House, crate::harness::Client) {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    tenant.post("/api/v1/agents", json!({"name": "anna"})).await.ok();
    (house, tenant)
}

#[tokio::test]
async fn agents_are_models() {
    let (_house, tenant) = house().await;
    let list = tenant.get("/v1/models").await.ok();
    assert_eq!((&list["object"], &list["data"][0]["id"], &list["data"][0]["object"]), (&json!("list"), &json!("anna"), &json!("model")));
    assert!(list["data"][0]["created"].as_i64().expect("seconds") > 1_700_000_000);
    assert_eq!(tenant.get("/v1/models/anna").await.ok(), list["data"][0]);
    assert_eq!(error(&tenant.get("/v1/models/bert").await), (404, "invalid_request_error".into(), json!("model_not_found")));
}

#[tokio::test]
async fn a_completion_has_openais_shape_and_remembers() {
    let (house, tenant) = house().await;
    house.model.script([Behaviour::Text("Ahoy!".into())]);
    let answer = tenant.post(CHAT, say("My name is Uma")).await;
    let completion = answer.ok();
    assert_eq!(completion["object"], "chat.completion");
    assert!(completion["id"].as_str().expect("an id").starts_with("chatcmpl-"));
    assert_eq!(completion["model"], "anna");
    assert_eq!(completion["choices"][0]["message"], json!({"role": "assistant", "content": "Ahoy!", "refusal": null}));
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    let usage = &completion["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().expect("n") + usage["completion_tokens"].as_u64().expect("n"))
    );
    assert!(usage["prompt_tokens"].as_u64() > Some(0));
    // The whole chat is sent again, as clients do: only what is new is added.
    let again = json!({"model": "anna", "messages": [
        {"role": "user", "content": "My name is Uma"},
        {"role": "assistant", "content": "Ahoy!"},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]});
    tenant.post(CHAT, again).await.ok();
    let conversation = answer.header("x-sid-conversation");
    let kept = tenant.get(&format!("/api/v1/conversations/{conversation}/messages")).await.ok();
    let texts: Vec<&str> = kept["items"].as_array().expect("a list").iter().map(|m| m["text"].as_str().expect("text")).collect();
    assert_eq!(texts, ["My name is Uma", "Ahoy!", "What is my name?", "Understood."]);
    let prompt = house.model.chats().last().expect("a request").to_string();
    assert!(prompt.contains("My name is Uma") && !prompt.contains("pirate"), "{prompt}");
}

#[tokio::test]
async fn a_stream_ends_with_usage_and_done() {
    let (house, tenant) = house().await;
    house.model.script([Behaviour::Text("one two three".into())]);
    let mut body = say("Count");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let events = tenant.stream(Method::POST, CHAT, body.clone(), usize::MAX).await;
    assert_eq!(events.last().expect("events").data, "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(crate::harness::Sse::json).collect();
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"] && c["model"] == "anna"));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "one two three");
    let (last, before) = (&chunks[chunks.len() - 1], &chunks[chunks.len() - 2]);
    assert_eq!((&before["choices"][0]["finish_reason"], &before["choices"][0]["delta"]), (&json!("stop"), &json!({})));
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].as_u64() > Some(0));
    assert!(chunks[..chunks.len() - 1].iter().all(|c| c["usage"].is_null() && c.get("usage").is_some()));
    body["stream_options"] = Value::Null;
    let plain = tenant.stream(Method::POST, CHAT, body, usize::MAX).await;
    assert!(plain.iter().all(|e| !e.data.contains("\"usage\"")));
}

#[tokio::test]
async fn refusals_have_openais_shape() {
    let (house, tenant) = house().await;
    let invalid = |code: &str| (400, "invalid_request_error".to_owned(), json!(code));
    let send = async |body: Value| error(&tenant.post(CHAT, body).await);
    assert_eq!(error(&tenant.nobody().post(CHAT, say("x")).await), (401, "authentication_error".into(), json!("invalid_api_key")));
    let mut unknown = say("x");
    unknown["model"] = json!("gpt-5");
    assert_eq!(send(unknown).await, (404, "invalid_request_error".into(), json!("model_not_found")));
    assert_eq!(send(json!({"messages": []})).await, invalid("SID-API-BAD-REQUEST"));
    assert_eq!(send(json!({"model": "anna", "messages": []})).await, invalid("invalid_value"));
    let image = json!([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]);
    assert_eq!(send(json!({"model": "anna", "messages": [{"role": "user", "content": image}]})).await, invalid("invalid_value"));
    let mut twice = say("x");
    twice["n"] = json!(2);
    assert_eq!(send(twice).await, invalid("invalid_value"));
    assert_eq!(error(&tenant.raw(Method::POST, CHAT, "{").await).0, 400);
    assert_eq!(error(&tenant.get(CHAT).await).0, 405);
    assert_eq!(error(&tenant.get("/v1/assistants").await), (404, "invalid_request_error".into(), json!("unknown_url")));
    // None of them has made a user or a conversation.
    assert_eq!(tenant.get("/api/v1/users").await.ok()["items"], json!([]));
    // A failed run: the message is stored, and the clients are told not to send it again.
    house.model.script([Behaviour::Fault(Fault::Unauthorized)]);
    let failed = tenant.post(CHAT, say("x")).await;
    assert_eq!(error(&failed), (502, "server_error".into(), json!("SID-API-RUN-FAILED")));
    assert_eq!(failed.header("x-should-retry"), "false");
    house.model.script([Behaviour::Fault(Fault::Unauthorized)]);
    let mut stream = say("y");
    stream["stream"] = json!(true);
    let events = tenant.stream(Method::POST, CHAT, stream, usize::MAX).await;
    let told = &events[events.len() - 2];
    assert_eq!(told.json()["error"]["type"], "server_error");
    // Parameters of sampling and the like are ignored.
    let mut busy = say("z");
    for (key, value) in [("temperature", json!(0.1)), ("tools", json!([])), ("max_completion_tokens", json!(5)), ("made_up", json!({}))] {
        busy[key] = value;
    }
    tenant.post(CHAT, busy).await.ok();
}

#[tokio::test]
async fn users_of_one_agent_are_kept_apart() {
    let (house, tenant) = house().await;
    let mut secret = say("The safe's code is 4711");
    secret["user"] = json!("uma");
    let first = tenant.post(CHAT, secret).await;
    first.ok();
    let mut question = say("What is the safe's code?");
    question["user"] = json!("ben");
    let second = tenant.post(CHAT, question).await;
    second.ok();
    assert_ne!(first.header("x-sid-conversation"), second.header("x-sid-conversation"));
    assert!(!house.model.chats().last().expect("a request").to_string().contains("4711"));
    // Users were made at first use; a header says the same as the body.
    assert_eq!(tenant.get("/api/v1/users").await.ok()["items"].as_array().map(Vec::len), Some(2));
    let by_header = tenant.with("x-sid-user", "uma").post(CHAT, say("Do you know it?")).await;
    assert_eq!(by_header.header("x-sid-conversation"), first.header("x-sid-conversation"));
    // A user's key is that user; another name is a mistake that is told.
    let uma = tenant.user("uma").await;
    assert_eq!(uma.post(CHAT, say("Me again")).await.header("x-sid-conversation"), first.header("x-sid-conversation"));
    let mut wrong = say("I am Ben");
    wrong["user"] = json!("ben");
    assert_eq!(error(&uma.post(CHAT, wrong).await).0, 403);
    let foreign = uma.with("x-sid-conversation", second.header("x-sid-conversation")).post(CHAT, say("x")).await;
    assert_eq!(error(&foreign).0, 404);
    // Nobody named: the user `default`, never the agent's own memory.
    let unnamed = tenant.post(CHAT, say("Hello")).await;
    let conversation = tenant.get(&format!("/api/v1/conversations/{}", unnamed.header("x-sid-conversation"))).await.ok();
    let default = tenant.get("/api/v1/users/@default").await.ok();
    assert_eq!(conversation["user"], default["id"]);
}

#[tokio::test]
async fn conversations_are_named_by_header_or_metadata() {
    let (_house, tenant) = house().await;
    let of = async |client: &crate::harness::Client, metadata: Value| {
        let mut body = say("Hi");
        body["metadata"] = metadata;
        let answer = client.post(CHAT, body).await;
        answer.ok();
        answer.header("x-sid-conversation").to_owned()
    };
    let default = of(&tenant, Value::Null).await;
    let chat = of(&tenant, json!({"conversation": "chat-1"})).await;
    assert_ne!(default, chat);
    assert_eq!(of(&tenant, json!({"conversation_id": "chat-1"})).await, chat);
    assert_eq!(of(&tenant.with("x-sid-conversation", "chat-1"), Value::Null).await, chat);
    assert_eq!(of(&tenant.with("x-sid-conversation", &chat), json!({"conversation": "other"})).await, chat, "the header wins");
    assert_eq!(of(&tenant, json!({"conversation": default})).await, default);
    let mut body = say("Hi");
    body["metadata"] = json!({"conversation": 7});
    assert_eq!(error(&tenant.post(CHAT, body).await).0, 400);
    // The same name under another agent is another conversation; its id is not this agent's.
    tenant.post("/api/v1/agents", json!({"name": "bert"})).await.ok();
    let mut body = say("Hi");
    body["model"] = json!("bert");
    assert_eq!(error(&tenant.with("x-sid-conversation", &chat).post(CHAT, body).await).0, 404);
}

#[tokio::test]
async fn a_repeated_request_has_one_effect() {
    let (house, tenant) = house().await;
    let client = tenant.with("idempotency-key", "o-1");
    let (first, second) = (client.post(CHAT, say("Once")).await.ok(), client.post(CHAT, say("Once")).await.ok());
    assert_eq!(first, second);
    assert_eq!(house.model.chats().len(), 1);
    assert_eq!(error(&client.post(CHAT, say("Twice")).await).0, 422);
}
