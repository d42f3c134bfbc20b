//! Tools over HTTP: where they may go, what they send, and what the model is told.

#[path = "../../../sid-fetch/tests/ssrf/corpus.rs"]
mod corpus;
mod service;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use corpus::{Class, Ground};
use serde_json::{Map, Value, json};
use service::Service;
use sid_fetch::{Fetcher, Policy};
use sid_tools::http::{Connection, HttpTool, OpenApiOptions, OpenApiTools, ReadPage, Secret, Secrets};
use sid_tools::{EffectClass, Registry, Tool, ToolContext, ToolOutcome};
use sid_types::{Timestamp, Tokens};

const SECRET: &str = "s3cret-of-the-vault";

struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn reveal(&self, _: &ToolContext, name: &str) -> Option<Secret> {
        (name == "KEY").then(|| Secret::new(SECRET))
    }
}

fn context() -> ToolContext {
    ToolContext::detached(Timestamp::UNIX_EPOCH)
}

fn arguments(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn hook(url: &str, connection: Connection) -> Result<HttpTool, sid_fetch::FetchError> {
    HttpTool::new("hook", "Tells.", json!({"type": "object"}), url, connection)
}

/// A document with one operation, which asks for a path parameter.
fn document(servers: Value) -> Value {
    json!({"openapi": "3.1.0", "servers": servers, "paths": {"/{id}": {"get": {
        "operationId": "read", "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]
    }}}})
}

/// Gives `url` to every tool that takes one; answers how many calls were made, and how many of them succeeded.
async fn everywhere(ground: &Ground, policy: Policy, url: &str) -> (usize, usize) {
    let fetcher = ground.fetcher(policy);
    let connection = Connection::new(fetcher.clone());
    let mut outcomes: Vec<ToolOutcome> = Vec::new();
    // As a webhook.
    if let Ok(tool) = hook(url, connection.clone()) {
        outcomes.push(tool.call(&context(), arguments(json!({"a": 1}))).await);
    }
    // As the base of a document's operations.
    if let Ok(read) = OpenApiTools::read(&document(json!([])), url, &connection, &OpenApiOptions::default()) {
        for tool in read.tools {
            outcomes.push(tool.call(&context(), arguments(json!({"id": "x"}))).await);
        }
    }
    // As what a document says of its servers, and as an argument: both below a base that is allowed.
    let base = format!("http://outside.test:{}/page", ground.front);
    let read = OpenApiTools::read(&document(json!([{"url": url}])), &base, &connection, &OpenApiOptions::default()).expect("a good base");
    for tool in read.tools {
        let outcome = tool.call(&context(), arguments(json!({"id": url}))).await;
        assert!(!outcome.is_error, "the base is used, whatever the document says: {outcome:?}");
    }
    // As a page to read.
    outcomes.push(ReadPage::new(fetcher).call(&context(), arguments(json!({"url": url}))).await);
    (outcomes.len(), outcomes.iter().filter(|o| !o.is_error).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_gets_inside() {
    let ground = Ground::lay().await;
    for (_, url) in ground.urls() {
        let (_, succeeded) = everywhere(&ground, ground.guarded(), &url).await;
        assert_eq!(succeeded, 0, "{url}");
    }
    assert_eq!(ground.seen(), 0, "connections to the canaries");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_guard_off_the_tools_reach_the_canary() {
    let ground = Ground::lay().await;
    for (_, url) in
        ground.urls().into_iter().filter(|(class, url)| *class == Class::Canary && url.starts_with("http://127.") && !url.contains("/302/"))
    {
        let before = ground.seen();
        let (made, succeeded) = everywhere(&ground, ground.open(), &url).await;
        assert_eq!((made, ground.seen() - before), (3, 3), "{url}");
        assert!(succeeded >= 3, "{url}");
    }
    assert!(ground.seen() >= 9);
}

/// A service on this machine, open to a connection with a secret.
fn connect() -> Connection {
    let open = ["127.0.0.1:*", "localhost:*"].map(|o| o.parse().expect("an address"));
    let fetcher = Fetcher::new(Policy { open: open.into(), ..Policy::default() }).expect("a client");
    Connection::new(fetcher).secrets(Arc::new(Vault)).header("x-plain", "plain").secret_header("authorization", "Bearer ", "KEY")
}

#[tokio::test]
async fn a_webhook_gets_the_arguments_the_token_and_the_secret() {
    let service = Service::start(|_| (200, "application/json", "{\"ok\": true}".into())).await;
    let tool = hook(&service.url("/hook"), connect()).expect("a URL");
    let context = context();
    let outcome = tool.call(&context, arguments(json!({"text": "hi"}))).await;
    assert_eq!((outcome.text.as_str(), outcome.is_error), ("{\"ok\": true}", false));
    let heard = service.last();
    assert!(heard.starts_with("POST /hook HTTP/1.1"), "{heard}");
    for line in ["x-plain: plain", "content-type: application/json", &format!("authorization: Bearer {SECRET}")] {
        assert!(heard.contains(line), "{line}: {heard}");
    }
    assert!(heard.contains(&format!("idempotency-key: {}\r\n", context.token)), "{heard}");
    assert!(heard.ends_with("{\"text\":\"hi\"}"), "{heard}");
    let declared = tool.declaration();
    assert_eq!((declared.hosts, declared.secrets), (vec!["127.0.0.1".to_owned()], vec!["KEY".to_owned()]));
    assert_eq!((declared.effect, declared.timeout), (EffectClass::External { idempotent: false }, Duration::from_secs(10)));
}

#[tokio::test]
async fn a_secret_is_shown_nowhere() {
    let echo = |request: &str| (400, "text/plain", format!("you sent {request}{}", "x".repeat(10_000)));
    let service = Service::start(echo).await;
    let tool = hook(&service.url("/"), connect()).expect("a URL");
    let outcome = tool.call(&context(), Map::new()).await;
    assert!(service.last().contains(SECRET), "it was sent");
    assert!(outcome.text.contains("Bearer [secret KEY]") && !outcome.text.contains(SECRET), "{}", outcome.text);
    // An answer that ends in the middle of a secret.
    let cut = ToolContext { result_budget: Tokens(60), ..context() };
    let outcome = tool.call(&cut, Map::new()).await;
    assert!(!outcome.text.contains(&SECRET[..6]), "{}", outcome.text);
    assert!(!format!("{tool:?} {:?}", tool.spec()).contains(SECRET));
    assert!(!format!("{:?}", Secret::new(SECRET)).contains(SECRET));
    // One that no header can carry.
    struct Broken;
    #[async_trait]
    impl Secrets for Broken {
        async fn reveal(&self, _: &ToolContext, _: &str) -> Option<Secret> {
            Some(Secret::new(format!("{SECRET}\n")))
        }
    }
    let outcome = hook(&service.url("/"), connect().secrets(Arc::new(Broken))).expect("a URL").call(&context(), Map::new()).await;
    assert!(outcome.is_error && !outcome.text.contains(SECRET), "{}", outcome.text);
}

#[tokio::test]
async fn without_its_secret_a_call_is_not_made() {
    let service = Service::start(|_| (200, "text/plain", "ok".into())).await;
    let connection = connect().secret_header("x-other", "", "OTHER");
    let outcome = hook(&service.url("/"), connection).expect("a URL").call(&context(), Map::new()).await;
    assert!(outcome.is_error && outcome.text.contains("secret `OTHER` is not there"), "{}", outcome.text);
    assert_eq!(service.last(), "");
}

#[tokio::test]
async fn a_redirect_to_an_undeclared_host_is_refused() {
    let service = Service::start(|_| (200, "text/plain", "ok".into())).await;
    let to = service.url("/there").replace("127.0.0.1", "localhost");
    let away = Service::start(move |_| (302, "text/plain", to.clone())).await;
    let outcome = hook(&away.url("/"), connect()).expect("a URL").call(&context(), Map::new()).await;
    assert!(outcome.is_error && outcome.text.contains("host `localhost` is refused"), "{}", outcome.text);
    assert_eq!(service.last(), "");
}

#[tokio::test]
async fn errors_tell_the_model_what_to_do() {
    for (status, says) in [
        (400, "Correct the arguments"),
        (401, "does not accept these credentials"),
        (404, "check names and ids"),
        (409, "read the present state first"),
        (429, "wait 7 seconds"),
        (503, "may work later"),
    ] {
        let service = Service::start(move |_| (status, "application/json", "{\"why\": \"because\"}".into())).await;
        let outcome = hook(&service.url("/"), connect()).expect("a URL").call(&context(), Map::new()).await;
        assert!(outcome.is_error && outcome.text.contains(says) && outcome.text.contains("because"), "{}", outcome.text);
        assert!(outcome.text.contains(&status.to_string()), "{}", outcome.text);
    }
}

#[tokio::test]
async fn a_call_without_an_answer_may_have_been_carried_out() {
    let service = Service::start(|_| (0, "", String::new())).await;
    let connection = connect().within(Duration::from_millis(300));
    let tool = hook(&service.url("/"), connection.clone()).expect("a URL");
    let said = tool.call(&context(), Map::new()).await.text;
    assert!(said.contains("within 0.3 s") && said.contains("look before you repeat it"), "{said}");
    let said = tool.with_effect(EffectClass::Read).call(&context(), Map::new()).await.text;
    assert!(!said.contains("repeat") && said.contains("may work later"), "{said}");
}

#[tokio::test]
async fn answers_fit_the_budget() {
    let service = Service::start(|_| (200, "text/plain", "é".repeat(50_000))).await;
    let tool = hook(&service.url("/"), connect()).expect("a URL");
    for budget in [0, 20, 200, 100_000] {
        let context = ToolContext { result_budget: Tokens(budget), ..context() };
        let text = tool.call(&context, Map::new()).await.text;
        // With no room at all the note alone is left.
        assert!(text.len() <= (budget as usize * 3).max(100), "{budget}: {}", text.len());
        assert!(text.len() == 100_000 || text.contains("[cut: 100000 bytes in all"), "{budget}: {text}");
    }
    let binary = Service::start(|_| (200, "image/png", "\u{1}".into())).await;
    let text = hook(&binary.url("/binary"), connect()).expect("a URL").call(&context(), Map::new()).await.text;
    assert!(text.contains("bytes of image/png, which is not text"), "{text}");
}

#[tokio::test]
async fn operations_of_a_document_go_through_the_registry() {
    let service = Service::start(|request| (200, "application/json", json!({"heard": request.lines().next()}).to_string())).await;
    let document = json!({"openapi": "3.0.0", "paths": {
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
            "get": {"operationId": "getPet", "parameters": [{"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}]},
            "delete": {"operationId": "deletePet"},
            "post": {"operationId": "renamePet", "requestBody": {"required": true, "content": {"application/json": {"schema": {
                "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}}}}
        }
    }});
    let read = OpenApiTools::read(&document, &service.url("/api"), &connect(), &OpenApiOptions::default()).expect("a document");
    let mut registry = Registry::new();
    for tool in read.tools {
        assert_eq!(tool.declaration().hosts, ["127.0.0.1"]);
        registry.register(tool).expect("a good schema");
    }
    assert_eq!(registry.effect("getPet"), Some(EffectClass::Read));
    assert_eq!(registry.effect("deletePet"), Some(EffectClass::External { idempotent: true }));
    assert_eq!(registry.effect("renamePet"), Some(EffectClass::External { idempotent: false }));
    let context = context();
    let said = registry.dispatch("getPet", arguments(json!({"id": "7", "fields": "name"})), &context).await;
    assert_eq!(said.text, "{\"heard\":\"GET /api/pets/7?fields=name HTTP/1.1\"}", "coerced, and in its place");
    assert!(!service.last().contains("idempotency-key"), "reading needs none");
    let said = registry.dispatch("renamePet", arguments(json!({"id": 7, "body": {"name": "Rex"}})), &context).await;
    assert!(
        !said.is_error && service.last().contains("idempotency-key") && service.last().ends_with("{\"name\":\"Rex\"}"),
        "{}",
        service.last()
    );
    let said = registry.dispatch("renamePet", arguments(json!({"id": 7, "body": {}})), &context).await;
    assert!(said.is_error && said.text.contains("name"), "{}", said.text);
}

#[tokio::test]
async fn pages_are_read_as_text() {
    let page = "<html><head><title>T</title><style>p {}</style><script>steal()</script></head><body><h1>Pickles</h1><p>Are <a href='https://x.example/'>good</a>.</p></body></html>";
    let service = Service::start(move |request| match request {
        r if r.starts_with("GET /html ") => (200, "text/html; charset=utf-8", page.to_owned()),
        r if r.starts_with("GET /deep ") => (200, "text/html", "<div>".repeat(100_000) + "bottom"),
        r if r.starts_with("GET /image ") => (200, "image/png", "png".into()),
        _ => (404, "text/html", "no".into()),
    })
    .await;
    let open = vec!["127.0.0.1:*".parse().expect("an address")];
    let tool = ReadPage::new(Fetcher::new(Policy { open, ..Policy::default() }).expect("a client"));
    let read = async |path: &str| tool.call(&context(), arguments(json!({"url": service.url(path)}))).await;
    let text = read("/html").await.text;
    assert!(text.contains("Pickles") && text.contains("https://x.example/") && !text.contains("steal") && !text.contains("p {}"), "{text}");
    assert!(read("/deep").await.text.contains("too deeply"), "a page that nests without end ends all the same");
    assert!(read("/image").await.text.contains("is image/png, not text"));
    assert!(read("/gone").await.text.contains("answers 404"));
}
