//! Bounds, redirects and headers, against a server that does as it is told.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sid_fetch::{FetchError, Fetcher, Method, Policy, Refusal, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers each path with the bytes given for it, and keeps the requests.
struct Server {
    origin: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<(&'static str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answers, keep) = (Arc::new(answers), heard.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, keep) = (answers.clone(), keep.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4_096];
                    let end = loop {
                        if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                            break end + 4;
                        }
                        match stream.read(&mut buffer).await {
                            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                    };
                    let head = String::from_utf8_lossy(&request[..end]).into_owned();
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|n| n.parse().ok()).unwrap_or(0);
                    while request.len() < end + length {
                        match stream.read(&mut buffer).await {
                            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                    }
                    keep.lock().push(String::from_utf8_lossy(&request).into_owned());
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let answer =
                        answers.iter().find(|(p, _)| *p == path).map(|(_, a)| a.clone()).unwrap_or_else(|| page("text/plain", b"?"));
                    let _ = stream.write_all(&answer).await;
                    if answer.ends_with(b"...") {
                        // It has more to say, and never says it.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { origin, heard }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    fn last(&self) -> String {
        self.heard.lock().last().cloned().unwrap_or_default()
    }
}

fn page(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn packed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(body).expect("memory");
    packer.finish().expect("memory")
}

fn redirect(status: u16, to: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Over There\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}

fn policy() -> Policy {
    Policy { open: vec!["127.0.0.1:*".parse().expect("an address")], max_body_bytes: 10_000, ..Policy::default() }
}

async fn send(request: Request) -> Result<Response, FetchError> {
    Fetcher::new(policy()).expect("a client").send(request).await
}

#[tokio::test]
async fn bodies_are_read_up_to_the_limit_and_no_further() {
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        .iter()
        .copied()
        .chain(b"1000\r\n".iter().copied().chain([b'x'; 0x1000]).chain(*b"\r\n").cycle().take(40_000));
    let server = Server::start(vec![
        ("/fits", page("text/plain; charset=utf-8", &[b'x'; 10_000])),
        ("/declared", page("text/plain", &[b'x'; 10_001])),
        ("/chunked", endless.collect()),
        ("/short", b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\nonly this".to_vec()),
    ])
    .await;
    let fits = send(Request::get(server.url("/fits"))).await.expect("10,000 bytes fit");
    assert_eq!((fits.body.len(), fits.media_type().as_str()), (10_000, "text/plain"));
    for path in ["/declared", "/chunked"] {
        assert!(matches!(send(Request::get(server.url(path))).await, Err(FetchError::TooLarge { limit_bytes: 10_000 })), "{path}");
    }
    assert!(matches!(send(Request::get(server.url("/fits")).at_most(100)).await, Err(FetchError::TooLarge { limit_bytes: 100 })));
    assert!(matches!(send(Request::get(server.url("/short"))).await, Err(FetchError::Interrupted { .. })));
}

#[tokio::test]
async fn what_is_packed_is_counted_unpacked() {
    let bomb = gzip(&vec![0; 50_000_000]);
    let half = gzip(b"a text that is cut in the middle");
    let server = Server::start(vec![
        ("/good", packed("gzip", &gzip(b"hello"))),
        ("/twice", packed("gzip", &[gzip(b"hel"), gzip(b"lo")].concat())),
        ("/bomb", packed("gzip", &bomb[..9_000])),
        ("/half", packed("gzip", &half[..half.len() / 2])),
        ("/lie", packed("gzip", b"this is no gzip at all")),
        ("/odd", packed("br", b"x")),
        ("/layers", packed("gzip, gzip", &gzip(&gzip(b"hello")))),
    ])
    .await;
    for path in ["/good", "/twice"] {
        assert_eq!(send(Request::get(server.url(path))).await.expect(path).text(), "hello");
    }
    assert!(server.last().contains("accept-encoding: gzip\r\n"));
    assert!(matches!(send(Request::get(server.url("/bomb"))).await, Err(FetchError::TooLarge { limit_bytes: 10_000 })));
    for path in ["/half", "/lie", "/odd", "/layers"] {
        assert!(matches!(send(Request::get(server.url(path))).await, Err(FetchError::Interrupted { .. })), "{path}");
    }
}

#[tokio::test]
async fn the_time_is_for_all_of_it() {
    let server = Server::start(vec![("/slow", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nand so on...".to_vec())]).await;
    let limit = Duration::from_millis(300);
    let error = send(Request::get(server.url("/slow")).within(limit)).await.expect_err("it never ends");
    assert!(matches!(error, FetchError::Timeout { limit: l } if l == limit) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = Server::start(vec![("/there", page("text/plain", b"there"))]).await;
    let server = Server::start(vec![
        ("/stay", redirect(302, "/here")),
        ("/leave", redirect(302, &other.url("/there"))),
        ("/here", page("text/plain", b"here")),
    ])
    .await;
    let request = |path: &str| {
        let request = Request::get(server.url(path)).secret("authorization", "Bearer s3cret").expect("a header");
        request.secret("x-api-key", "s3cret").expect("a header").header("accept", "text/plain").expect("a header")
    };
    assert_eq!(send(request("/stay")).await.expect("followed").text(), "here");
    assert!(server.last().contains("authorization: Bearer s3cret") && server.last().contains("x-api-key"), "{}", server.last());
    let response = send(request("/leave")).await.expect("followed");
    assert_eq!((response.text().as_str(), response.url.as_str()), ("there", other.url("/there").as_str()));
    assert!(!other.last().contains("s3cret") && other.last().contains("accept: text/plain"), "{}", other.last());
}

#[tokio::test]
async fn redirects_keep_or_drop_the_body_as_their_status_says() {
    let other = Server::start(vec![]).await;
    let server = Server::start(vec![
        ("/301", redirect(301, "/end")),
        ("/303", redirect(303, "/end")),
        ("/307", redirect(307, "/end")),
        ("/308-away", redirect(308, &other.url("/end"))),
        ("/303-away", redirect(303, &other.url("/end"))),
        ("/loop", redirect(302, "/loop")),
        ("/nowhere", b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
    ])
    .await;
    let post = |path: &str| Request::post(server.url(path)).json(b"{\"private\":1}".to_vec());
    for (path, method, has_body) in [("/301", "GET /end", false), ("/303", "GET /end", false), ("/307", "POST /end", true)] {
        send(post(path)).await.expect(path);
        let last = server.last();
        assert!(last.starts_with(method), "{path}: {last}");
        assert_eq!((last.contains("private"), last.contains("content-type")), (has_body, has_body), "{path}: {last}");
    }
    assert!(matches!(send(post("/308-away")).await, Err(FetchError::Refused(Refusal::Redirect(_)))), "a body goes nowhere else");
    assert!(other.heard.lock().is_empty());
    send(post("/303-away")).await.expect("a GET without the body");
    assert!(other.last().starts_with("GET /end") && !other.last().contains("private"));
    let before = server.heard.lock().len();
    assert!(matches!(send(Request::get(server.url("/loop"))).await, Err(FetchError::Refused(Refusal::Redirect(_)))));
    assert_eq!(server.heard.lock().len() - before, 4, "the first and three more");
    assert_eq!(send(Request::get(server.url("/nowhere"))).await.expect("an answer").status, 302);
}

#[tokio::test]
async fn a_request_goes_to_the_hosts_that_it_declares_and_to_no_others() {
    let server = Server::start(vec![("/away", redirect(302, "http://localhost:1/"))]).await;
    let fetcher =
        Fetcher::new(Policy { open: vec!["127.0.0.1:*".parse().expect("valid"), "localhost:1".parse().expect("valid")], ..policy() })
            .expect("a client");
    let declared = || vec!["127.0.0.1".parse().expect("a host")];
    fetcher.send(Request::get(server.url("/")).only(declared())).await.expect("declared");
    let error = fetcher.send(Request::get(server.url("/away")).only(declared())).await.expect_err("led away");
    assert!(matches!(&error, FetchError::Refused(Refusal::Undeclared(host)) if host == "localhost"), "{error:?}");
    let error = fetcher.send(Request::new(Method::PUT, server.url("/")).only(Vec::new())).await.expect_err("nothing is declared");
    assert!(matches!(error, FetchError::Refused(Refusal::Undeclared(_))), "{error:?}");
}
