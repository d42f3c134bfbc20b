//! Against services on this machine that speak as the real ones do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sid_fetch::{Fetcher, Policy};
use sid_tools::http::{Secret, Secrets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthe rest";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0the rest";

/// What a service answers: status, further headers, body.
type Reply = (u16, String, Vec<u8>);

fn ok(body: &Value) -> Reply {
    (200, "content-type: application/json\r\n".into(), body.to_string().into_bytes())
}

fn refused(status: u16, body: &Value) -> Reply {
    (status, "content-type: application/json\r\n".into(), body.to_string().into_bytes())
}

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A service that gives these answers, one after the other, and what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    replies: Arc<Mutex<Vec<Reply>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(replies: impl FnOnce(&str) -> Vec<Reply>) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let this = Self::default();
        *this.replies.lock() = replies(&url);
        let service = this.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut part = [0; 4_096];
                while !is_whole(&request) {
                    match stream.read(&mut part).await {
                        Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                        _ => break,
                    }
                }
                service.heard.lock().push(String::from_utf8_lossy(&request).into_owned());
                let (status, headers, body) = {
                    let mut replies = service.replies.lock();
                    if replies.is_empty() { (500, String::new(), Vec::new()) } else { replies.remove(0) }
                };
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
            }
        });
        (this, url)
    }

    fn asked(&self, n: usize) -> (String, Value) {
        let heard = self.heard.lock();
        let (head, body) = heard[n].split_once("\r\n\r\n").expect("a request");
        (head.to_owned(), serde_json::from_str(body).unwrap_or_default())
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    body.len() >= length.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Counts and keeps.
#[derive(Default)]
struct Shelf {
    taken: Mutex<i64>,
    kept: Mutex<Vec<Picture>>,
    is_full: bool,
}

#[async_trait]
impl Gallery for Shelf {
    async fn take(&self, _: &ToolContext, images: u32) -> Result<(), String> {
        if self.is_full {
            return Err("no more today".into());
        }
        *self.taken.lock() += i64::from(images);
        Ok(())
    }

    async fn give_back(&self, _: &ToolContext, images: u32) {
        *self.taken.lock() -= i64::from(images);
    }

    async fn keep(&self, _: &ToolContext, n: u32, _: &str, _: &str, picture: Picture) -> Result<String, String> {
        self.kept.lock().push(picture);
        Ok(format!("/images/{n}"))
    }
}

struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn reveal(&self, _: &ToolContext, name: &str) -> Option<Secret> {
        (name == "painter").then(|| Secret::new("s3cret-key"))
    }
}

fn tool(api: ImageApi, model: &str, url: &str, shelf: &Arc<Shelf>) -> GenerateImage {
    let policy = Policy { open: vec!["127.0.0.1:*".parse().expect("an opening")], max_body_bytes: 1_000_000, ..Policy::default() };
    let connection = Connection::new(Fetcher::new(policy).expect("a client")).secrets(Arc::new(Keys));
    let model = ImageModel {
        api,
        url: format!("{url}/v1/"),
        model: model.into(),
        key: Some("painter".into()),
        sizes: vec!["1024x1024".into(), "1920x1080".into()],
        most_at_once: 3,
        most_bytes: 1_000,
        fields: Map::new(),
    };
    GenerateImage::new("generate_image", model, connection, shelf.clone()).expect("a tool")
}

async fn call(tool: &GenerateImage, arguments: Value) -> ToolOutcome {
    let context = ToolContext::detached(sid_types::Timestamp::UNIX_EPOCH);
    tool.call(&context, arguments.as_object().cloned().expect("an object")).await
}

/// What a service's one answer comes to: the outcome, what stayed counted, and how many images were kept.
async fn check(api: ImageApi, model: &str, replies: impl FnOnce(&str) -> Vec<Reply>) -> (ToolOutcome, i64, usize, Scripted) {
    let (service, url) = Scripted::start(replies).await;
    let shelf = Arc::new(Shelf::default());
    let outcome = call(&tool(api, model, &url, &shelf), json!({"prompt": "a bear", "size": "1920x1080", "n": 2})).await;
    let (taken, kept) = (*shelf.taken.lock(), shelf.kept.lock().len());
    assert!(!outcome.text.contains("s3cret"), "{outcome:?}");
    (outcome, taken, kept, service)
}

#[tokio::test]
async fn images_come_as_base64_and_behind_urls() {
    let replies = |url: &str| {
        let data = json!([{"b64_json": b64(PNG), "revised_prompt": "x"}, {"url": format!("{url}/files/1")}, {"b64_json": b64(PNG)}]);
        vec![ok(&json!({"created": 1, "data": data})), (200, "content-type: text/html\r\n".into(), JPEG.to_vec())]
    };
    let (outcome, taken, kept, service) = check(ImageApi::OpenAi, "dall-e-3", replies).await;
    assert!(!outcome.is_error && outcome.text.contains("/images/0\n/images/1"), "{outcome:?}");
    assert_eq!((taken, kept, outcome.sources.len()), (2, 2, 0), "one more than was asked for is left");
    let (head, body) = service.asked(0);
    assert!(head.starts_with("POST /v1/images/generations ") && head.contains("authorization: Bearer s3cret-key"), "{head}");
    assert_eq!(body, json!({"model": "dall-e-3", "prompt": "a bear", "n": 2, "size": "1920x1080"}));
    let (head, _) = service.asked(1);
    assert!(head.starts_with("GET /files/1 ") && !head.contains("s3cret"), "the key is not sent to where images are: {head}");
}

#[tokio::test]
async fn gemini_answers_with_parts_and_is_asked_for_each_image() {
    let content = |parts: Value| ok(&json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}));
    let thought = json!({"thought": true, "inlineData": {"mimeType": "image/png", "data": b64(b"\x89PNG\r\n\x1a\na draft")}});
    let replies = |_: &str| {
        vec![
            content(json!([{"text": "Here it is."}, thought, {"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}])),
            content(json!([{"inlineData": {"mimeType": "image/jpeg", "data": b64(JPEG)}}])),
        ]
    };
    let (outcome, taken, kept, service) = check(ImageApi::Gemini, "gemini-2.5-flash-image", replies).await;
    assert!(!outcome.is_error, "{outcome:?}");
    assert_eq!((taken, kept), (2, 2));
    let (head, body) = service.asked(1);
    assert!(head.starts_with("POST /v1/models/gemini-2.5-flash-image:generateContent "), "{head}");
    assert!(head.contains("x-goog-api-key: s3cret-key"), "{head}");
    assert_eq!(body["generationConfig"], json!({"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "16:9"}}));
    assert_eq!(body["contents"][0]["parts"], json!([{"text": "a bear"}]));
    let key = |n| service.asked(n).0.lines().find(|line| line.starts_with("idempotency-key")).map(str::to_owned);
    assert!(key(0).is_some() && key(0) != key(1), "who repeats a request of one key would answer with one image");
}

#[tokio::test]
async fn imagen_is_asked_to_predict() {
    let replies = |_: &str| {
        vec![ok(&json!({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": b64(PNG)}, {"raiFilteredReason": "x"}]}))]
    };
    let (outcome, taken, kept, service) = check(ImageApi::Gemini, "imagen-4.0-generate-001", replies).await;
    assert!(!outcome.is_error && outcome.text.contains("1 of 2 could not"), "{outcome:?}");
    assert_eq!((taken, kept), (1, 1));
    let (head, body) = service.asked(0);
    assert!(head.starts_with("POST /v1/models/imagen-4.0-generate-001:predict "), "{head}");
    assert_eq!(body["instances"], json!([{"prompt": "a bear"}]));
    assert_eq!((&body["parameters"]["sampleCount"], &body["parameters"]["aspectRatio"]), (&json!(2), &json!("16:9")));
}

#[tokio::test]
async fn refusals_are_told_as_such_and_cost_nothing() {
    let policy = |_: &str| {
        vec![refused(
            400,
            &json!({"error": {"code": "content_policy_violation", "message": "Your request was rejected.", "type": "invalid_request_error"}}),
        )]
    };
    let blocked = |_: &str| vec![ok(&json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))];
    let safety = |_: &str| vec![ok(&json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Unable to show it."}]}))];
    let words = |_: &str| vec![ok(&json!({"candidates": [{"content": {"parts": [{"text": "I cannot draw that."}]}}]}))];
    let filtered = |_: &str| vec![ok(&json!({"predictions": [{"raiFilteredReason": "Filtered."}]}))];
    let nothing = |_: &str| vec![ok(&json!({}))];
    for (n, made) in [
        check(ImageApi::OpenAi, "dall-e-3", policy).await,
        check(ImageApi::Gemini, "gemini-2.5-flash-image", blocked).await,
        check(ImageApi::Gemini, "gemini-2.5-flash-image", safety).await,
        check(ImageApi::Gemini, "gemini-2.5-flash-image", words).await,
        check(ImageApi::Gemini, "imagen-4.0", filtered).await,
        check(ImageApi::Gemini, "imagen-4.0", nothing).await,
    ]
    .into_iter()
    .enumerate()
    {
        let (outcome, taken, kept, _) = made;
        assert!(outcome.is_error && outcome.text.contains("refuses"), "{n}: {outcome:?}");
        assert_eq!(outcome.sources.len(), 1, "{n}: what the service says is not trusted");
        assert_eq!((taken, kept), (0, 0), "{n}");
    }
}

#[tokio::test]
async fn what_came_and_is_of_no_use_stays_counted_beside_what_is() {
    let one_is_broken = |_: &str| vec![ok(&json!({"data": [{"b64_json": b64(PNG)}, {"b64_json": "iVBORw0KGgo*"}]}))];
    let content = |data: &str| ok(&json!({"candidates": [{"content": {"parts": [{"inlineData": {"data": data}}]}}]}));
    let second_is_broken = |_: &str| vec![content(&b64(PNG)), content("iVBORw0KGgo*")];
    let second_is_refused = |_: &str| vec![content(&b64(PNG)), ok(&json!({"promptFeedback": {"blockReason": "OTHER"}}))];
    for (says, counted, (outcome, taken, kept, _)) in [
        ("base64", 2, check(ImageApi::OpenAi, "sd", one_is_broken).await),
        ("base64", 2, check(ImageApi::Gemini, "gemini-2.5-flash-image", second_is_broken).await),
        ("refuses this (OTHER)", 1, check(ImageApi::Gemini, "gemini-2.5-flash-image", second_is_refused).await),
    ] {
        assert!(!outcome.is_error && outcome.text.contains("1 of 2 could not") && outcome.text.contains(says), "{outcome:?}");
        assert_eq!((taken, kept, outcome.sources.len()), (counted, 1, 1), "{says}");
    }
}

#[tokio::test]
async fn who_is_asked_to_wait_waits_once_and_not_long() {
    let busy = |seconds: u32| (429, format!("retry-after: {seconds}\r\n"), b"{\"error\": {\"message\": \"slow down\"}}".to_vec());
    let then = ok(&json!({"data": [{"b64_json": b64(PNG)}, {"b64_json": b64(PNG)}]}));
    let (outcome, taken, _, service) = check(ImageApi::OpenAi, "sd", |_| vec![busy(1), then.clone()]).await;
    assert!(!outcome.is_error && taken == 2, "{outcome:?}");
    assert_eq!(service.heard.lock().len(), 2);
    let (outcome, taken, _, service) = check(ImageApi::OpenAi, "sd", |_| vec![busy(0), busy(0), then.clone()]).await;
    assert!(outcome.is_error && outcome.text.contains("no more requests now") && taken == 0, "{outcome:?}");
    assert_eq!(service.heard.lock().len(), 2);
    let (outcome, taken, _, service) = check(ImageApi::OpenAi, "sd", |_| vec![busy(600), then]).await;
    assert!(outcome.is_error && outcome.text.contains("600 s") && taken == 0, "{outcome:?}");
    assert_eq!(service.heard.lock().len(), 1);
}

#[tokio::test]
async fn what_is_no_image_is_not_kept_and_stays_counted() {
    let data = |datum: Value| ok(&json!({"data": [datum, datum]}));
    let broken = |_: &str| vec![data(json!({"b64_json": "iVBORw0KGgo*"}))];
    let html = |_: &str| vec![data(json!({"b64_json": b64(b"<html><script>alert(1)</script>")}))];
    let svg = |url: &str| {
        vec![
            data(json!({"url": format!("{url}/x.svg")})),
            (200, "content-type: image/png\r\n".into(), b"<svg onload='alert(1)'/>".to_vec()),
        ]
    };
    let large = |_: &str| vec![data(json!({"b64_json": b64(&[PNG, &[0; 1_500]].concat())}))];
    let huge = |_: &str| vec![data(json!({"b64_json": "A".repeat(900_000)}))];
    let gone = |url: &str| vec![data(json!({"url": format!("{url}/gone")})), (404, String::new(), Vec::new())];
    let inside = |_: &str| vec![data(json!({"url": "http://169.254.169.254/latest/meta-data"}))];
    let no_json = |_: &str| vec![(200, String::new(), b"<html>".to_vec())];
    for (says, made) in [
        ("base64", check(ImageApi::OpenAi, "sd", broken).await),
        ("no PNG", check(ImageApi::OpenAi, "sd", html).await),
        ("no PNG", check(ImageApi::OpenAi, "sd", svg).await),
        ("are allowed", check(ImageApi::OpenAi, "sd", large).await),
        ("larger than", check(ImageApi::OpenAi, "sd", huge).await),
        ("404", check(ImageApi::OpenAi, "sd", gone).await),
        ("metadata", check(ImageApi::OpenAi, "sd", inside).await),
        ("no JSON", check(ImageApi::OpenAi, "sd", no_json).await),
    ] {
        let (outcome, taken, kept, _) = made;
        assert!(outcome.is_error && outcome.text.contains(says) && outcome.text.contains("paid for"), "{says}: {outcome:?}");
        assert_eq!((taken, kept), (2, 0), "{says}");
    }
}

#[tokio::test]
async fn a_bad_key_and_a_full_day_are_told() {
    let echo = |_: &str| vec![refused(401, &json!({"error": {"message": "Incorrect API key provided: s3cret-key"}}))];
    let (outcome, taken, ..) = check(ImageApi::OpenAi, "sd", echo).await;
    assert!(outcome.is_error && outcome.text.contains("does not take the key") && taken == 0, "{outcome:?}");
    let failing = |_: &str| vec![refused(500, &json!({"error": {"message": "with s3cret-key"}}))];
    let (outcome, ..) = check(ImageApi::OpenAi, "sd", failing).await;
    assert!(outcome.text.contains("[secret painter]"), "{outcome:?}");

    let (service, url) = Scripted::start(|_| Vec::new()).await;
    let shelf = Arc::new(Shelf { is_full: true, ..Shelf::default() });
    let tool = tool(ImageApi::OpenAi, "sd", &url, &shelf);
    let outcome = call(&tool, json!({"prompt": "a bear"})).await;
    assert!(outcome.is_error && outcome.text.contains("no more today"), "{outcome:?}");
    for bad in
        [json!({"prompt": " "}), json!({"prompt": "x", "n": 4}), json!({"prompt": "x", "n": 0}), json!({"prompt": "x", "size": "1x1"})]
    {
        assert!(call(&tool, bad).await.text.starts_with("No image was made"));
    }
    assert!(service.heard.lock().is_empty(), "nobody is asked then");
}

#[test]
fn what_cannot_work_is_refused_when_it_is_set_up() {
    let connection = || Connection::new(Fetcher::new(Policy::default()).expect("a client"));
    let made = |change: fn(&mut ImageModel)| {
        let mut model = ImageModel {
            url: "https://api.example.com/v1".into(),
            model: "m".into(),
            most_at_once: 1,
            most_bytes: 1,
            ..ImageModel::default()
        };
        change(&mut model);
        GenerateImage::new("generate_image", model, connection(), Arc::new(Shelf::default())).err()
    };
    assert_eq!(made(|_| {}), None);
    for (says, problem) in [
        ("`url`", made(|m| m.url = "http://10.0.0.1/v1".into())),
        ("`url`", made(|m| m.url = "nonsense".into())),
        ("`model`", made(|m| m.model = "a b?c".into())),
        ("`most_at_once`", made(|m| m.most_at_once = 99)),
        ("`sizes`", made(|m| m.sizes = vec!["big".into()])),
    ] {
        assert!(problem.as_ref().is_some_and(|p| p.contains(says)), "{says}: {problem:?}");
    }
}
