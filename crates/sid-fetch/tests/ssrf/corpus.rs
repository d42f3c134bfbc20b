//! URLs that lead inside, listeners that count who comes, and a resolver that lies. Included by the tests of every place that takes a URL.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sid_fetch::{Fetcher, Policy, Resolve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where the redirecting server is; the one inside address that the guarded policy opens.
const FRONT: &str = "127.0.0.9";
/// Where nobody may come.
const CANARIES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "::1"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Canary,
    Other,
    Never,
}

/// The listeners, and what they have seen.
pub(crate) struct Ground {
    pub(crate) port: u16,
    pub(crate) front: u16,
    seen: Arc<AtomicUsize>,
    /// Requests at the redirecting server.
    served: Arc<AtomicUsize>,
}

impl Ground {
    pub(crate) async fn lay() -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let served = Arc::new(AtomicUsize::new(0));
        let (canaries, port) = Self::canaries().await;
        for listener in canaries {
            let seen = seen.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    seen.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(answer(stream, Arc::default()));
                }
            });
        }
        let listener = TcpListener::bind((FRONT, 0)).await.expect("a port of 127.0.0.9");
        let front = listener.local_addr().expect("an address").port();
        let count = served.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, count.clone()));
            }
        });
        Self { port, front, seen, served }
    }

    /// One port that is free on all of them.
    async fn canaries() -> (Vec<TcpListener>, u16) {
        for host in CANARIES {
            let listener = TcpListener::bind((host, 0)).await;
            assert!(listener.is_ok(), "no canary can listen on {host}: this test needs the loopback of IPv4 and of IPv6 ({listener:?})");
        }
        for _ in 0..100 {
            let first = TcpListener::bind((CANARIES[0], 0)).await.expect("a port");
            let port = first.local_addr().expect("an address").port();
            let mut all = vec![first];
            for host in &CANARIES[1..] {
                let Ok(listener) = TcpListener::bind((*host, port)).await else { break };
                all.push(listener);
            }
            if all.len() == CANARIES.len() {
                return (all, port);
            }
        }
        panic!("no port is free on {CANARIES:?}");
    }

    /// The corpus, with this ground's ports.
    pub(crate) fn urls(&self) -> Vec<(Class, String)> {
        include_str!("urls.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (class, url) = line.split_once(' ').expect("a class and a URL");
                let class = match class {
                    "canary" => Class::Canary,
                    "other" => Class::Other,
                    "never" => Class::Never,
                    other => panic!("no class: {other}"),
                };
                (class, url.replace("{port}", &self.port.to_string()).replace("{front}", &self.front.to_string()))
            })
            .collect()
    }

    /// As a server would have it: the redirecting server is the outside, all else is closed. Both ports are open, so that none of the
    /// refusals is about ports.
    pub(crate) fn guarded(&self) -> Policy {
        Policy { ports: vec![80, 443, self.port, self.front], open: vec![FRONT.parse().expect("an address")], ..Policy::default() }
    }

    /// The guard planted off, as far as an operator can.
    pub(crate) fn open(&self) -> Policy {
        let open = ["0.0.0.0/0:*", "::/0:*"].map(|o| o.parse().expect("a network"));
        Policy { open: open.into(), ..self.guarded() }
    }

    pub(crate) fn fetcher(&self, policy: Policy) -> Fetcher {
        Fetcher::with_resolver(policy, Arc::new(LyingResolver::default())).expect("a client")
    }

    /// Connections to the canaries until now.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Requests at the redirecting server until now.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// `/302/URL` redirects to URL; everything else is a page.
async fn answer(mut stream: TcpStream, served: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4_096];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            // The first byte of TLS, which nobody speaks here.
            Ok(_) if head.is_empty() && buffer[0] == 0x16 => return,
            Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    served.fetch_add(1, Ordering::SeqCst);
    let text = String::from_utf8_lossy(&head);
    let path = text.split(' ').nth(1).unwrap_or_default();
    let status = path.get(1..4).filter(|s| s.parse::<u16>().is_ok_and(|n| (300..400).contains(&n)));
    let answer = match status.and_then(|status| path.get(5..).map(|to| (status, to))) {
        Some((status, to)) => format!("HTTP/1.1 {status} Over There\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        None => "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A name server of an attacker's.
#[derive(Default)]
pub(crate) struct LyingResolver {
    /// Look-ups of all names.
    pub(crate) asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Resolve for LyingResolver {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        let addresses: &[&str] = match host.trim_end_matches('.') {
            "outside.test" => &[FRONT],
            "inside.test" | "metadata.google.internal" | "metadata" => &["127.0.0.2"],
            "inside6.test" => &["::1"],
            "localhost" => &["127.0.0.1", "::1"],
            "mapped.test" => &["::ffff:127.0.0.2"],
            "nat64.test" => &["64:ff9b::7f00:2"],
            // An unguarded client takes whichever connects; a guarded one must not even try the good one.
            "mixed.test" => &["127.0.0.2", FRONT],
            "mixed-reverse.test" => &["93.184.215.14", "127.0.0.2"],
            "metadata.test" => &["169.254.169.254"],
            "zero.test" => &["0.0.0.0"],
            // Good when it is looked at, bad when it is used.
            "rebinding.test" if before == 0 => &[FRONT],
            "rebinding.test" => &["127.0.0.2"],
            _ => return Err(std::io::Error::other("there is no such name")),
        };
        Ok(addresses.iter().map(|a| a.parse().expect("an address")).collect())
    }
}
