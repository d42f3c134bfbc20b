//! As much HTTP/1.1 as a test server needs, on the bare socket, so that it can also break it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Larger requests are refused by closing.
const MAX_BODY: usize = 64 << 20;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not used.
    buffer: Vec<u8>,
    is_open: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new(), is_open: true }
    }

    /// The next request; `None` when the client has gone or what it says is no request.
    pub(super) async fn request(&mut self) -> io::Result<Option<Request>> {
        if !self.is_open {
            return Ok(None);
        }
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > 64 << 10 || self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (first.next(), first.next()) else { return Ok(None) };
        let headers: Vec<(String, String)> =
            lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned())).collect();
        let mut request =
            Request { method: method.to_owned(), path: target.split('?').next().unwrap_or_default().to_owned(), headers, body: Vec::new() };
        self.buffer.drain(..head_end + 4);
        let length: usize = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        if length > MAX_BODY || request.header("transfer-encoding").is_some() {
            return Ok(None);
        }
        if request.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        request.body = self.buffer.drain(..length).collect();
        self.is_open = request.header("connection").is_none_or(|c| !c.eq_ignore_ascii_case("close"));
        Ok(Some(request))
    }

    /// A whole answer.
    pub(super) async fn respond(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
        let mut out = head(status, "application/json", headers);
        out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        self.stream.write_all(&out).await
    }

    /// Announces a whole answer of `length` bytes and writes only these.
    pub(super) async fn respond_part(&mut self, length: usize, body: &[u8]) -> io::Result<()> {
        let mut out = head(200, "application/json", &[]);
        out.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        out.extend_from_slice(body);
        self.stream.write_all(&out).await
    }

    /// The head of a stream and its first pieces, in one write.
    pub(super) async fn begin(&mut self, content_type: &str, pieces: &[&[u8]], is_end: bool) -> io::Result<()> {
        let mut out = head(200, content_type, &[]);
        out.extend_from_slice(b"transfer-encoding: chunked\r\ncache-control: no-cache\r\n\r\n");
        for piece in pieces {
            push_chunk(&mut out, piece);
        }
        if is_end {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.stream.write_all(&out).await
    }

    /// One more piece of a stream.
    pub(super) async fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(piece.len() + 16);
        push_chunk(&mut out, piece);
        self.stream.write_all(&out).await?;
        self.stream.flush().await
    }

    /// More bytes of a whole answer.
    pub(super) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The proper end of a stream.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.stream.write_all(b"0\r\n\r\n").await
    }

    /// Closes without more words.
    pub(super) async fn close(&mut self) {
        self.is_open = false;
        let _ = self.stream.shutdown().await;
    }

    /// Breaks the connection with a reset.
    pub(super) fn reset(&mut self) {
        self.is_open = false;
        let _ = self.stream.set_zero_linger();
    }

    /// Waits until the client goes away.
    pub(super) async fn gone(&mut self) {
        let mut waste = [0_u8; 1_024];
        while matches!(self.stream.read(&mut waste).await, Ok(n) if n > 0) {}
        self.is_open = false;
    }
}

fn push_chunk(out: &mut Vec<u8>, piece: &[u8]) {
    if piece.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
}

fn head(status: u16, content_type: &str, headers: &[(String, String)]) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let mut out = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out
}
