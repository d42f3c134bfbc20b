//! A service that answers each request as a function says, and keeps the last one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Service {
    origin: String,
    last: Arc<Mutex<String>>,
}

impl Service {
    /// `answer`: status, content type and body for a request. A redirect's body is where it leads; status 0 never answers; the path `/binary`
    /// gets a byte in front that is no UTF-8.
    pub(crate) async fn start(answer: impl Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let last = Arc::new(Mutex::new(String::new()));
        let (keep, answer) = (last.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (keep, answer) = (keep.clone(), answer.clone());
                tokio::spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    keep.lock().clone_from(&request);
                    let (status, kind, body) = answer(&request);
                    if status == 0 {
                        return std::future::pending::<()>().await;
                    }
                    let location = if (300..400).contains(&status) { format!("location: {body}\r\n") } else { String::new() };
                    let mark: &[u8] = if request.contains("/binary") { b"\xff" } else { b"" };
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nretry-after: 7\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n",
                        body.len() + mark.len()
                    );
                    let _ = stream.write_all(&[head.as_bytes(), mark, body.as_bytes()].concat()).await;
                });
            }
        });
        Self { origin, last }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The last request, head and body.
    pub(crate) fn last(&self) -> String {
        self.last.lock().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|n| n.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}
