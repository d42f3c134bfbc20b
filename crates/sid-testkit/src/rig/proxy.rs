//! A TCP proxy that makes trouble: between clients and servers, or between servers and their database.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to connections. The default harms none. Chosen when a connection is made; [`Proxy::cut`] ends those that are there.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Each piece is held back for so long, in both directions.
    pub delay: Duration,
    /// Pieces to the client are at most so many bytes, and each is followed by this pause.
    pub trickle: Option<(usize, Duration)>,
    /// After so many bytes to the client, a number out of this range, the connection is reset.
    pub cut_after: Option<Range<u64>>,
    /// The share of connections whose requests arrive and whose answers do not: reset in place of the first byte of the answer.
    pub lose_answers: f64,
    /// The share of connections that are reset at once.
    pub refuse: f64,
    /// Accepts everything and passes on nothing.
    pub black_hole: bool,
    /// When the client goes away, the server is not told.
    pub half_open: bool,
}

/// A running proxy; its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    faults: Mutex<Faults>,
    rng: Mutex<SmallRng>,
    connections: Mutex<HashMap<u64, tokio::task::AbortHandle>>,
    accepted: AtomicU64,
    harmed: AtomicU64,
}

impl Proxy {
    /// Starts one on a free port of the loopback. All its choices follow from `seed` and the order of connections.
    ///
    /// Errors: those of binding.
    pub async fn start(upstream: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            faults: Mutex::default(),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections from now on go there.
    pub fn aim(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock() = upstream;
    }

    /// Connections from now on fare so.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock() = faults;
    }

    /// Resets all connections that are there.
    pub fn cut(&self) {
        for (_, connection) in self.shared.connections.lock().drain() {
            connection.abort();
        }
    }

    /// Connections so far, and how many of them were reset or lost an answer.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.accepted.load(Ordering::Relaxed), self.shared.harmed.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        // Aborted connections are reset, not ended: nobody may take half an answer for a whole one.
        let _ = client.set_zero_linger();
        let inner = Arc::clone(&shared);
        let mut connections = shared.connections.lock();
        let task = tokio::spawn(async move {
            serve(client, &inner).await;
            inner.connections.lock().remove(&number);
        });
        connections.insert(number, task.abort_handle());
    }
}

/// What was drawn for one connection.
struct Fate {
    faults: Faults,
    cut_after: Option<u64>,
    loses_answer: bool,
}

impl Shared {
    /// `None`: refused.
    fn draw(&self) -> Option<Fate> {
        let faults = self.faults.lock().clone();
        let mut rng = self.rng.lock();
        if faults.refuse > 0.0 && rng.random_bool(faults.refuse) {
            return None;
        }
        let cut_after = faults.cut_after.clone().map(|range| rng.random_range(range));
        let loses_answer = faults.lose_answers > 0.0 && rng.random_bool(faults.lose_answers);
        Some(Fate { faults, cut_after, loses_answer })
    }

    fn harm(&self) {
        self.harmed.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve(client: TcpStream, shared: &Shared) {
    let Some(fate) = shared.draw() else { return shared.harm() };
    let _ = client.set_nodelay(true);
    if fate.faults.black_hole {
        shared.harm();
        let _held = client;
        return std::future::pending().await;
    }
    let upstream = *shared.upstream.lock();
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forth = async {
        let mut buffer = vec![0; 16 * 1_024];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    tokio::time::sleep(fate.faults.delay).await;
                    if to_server.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
                _ if fate.faults.half_open => {
                    shared.harm();
                    return std::future::pending().await;
                }
                // A client that has closed hears no answer either: the server learns it by the reset.
                _ => return,
            }
        }
    };
    let back = async {
        let piece = fate.faults.trickle.map_or(16 * 1_024, |(bytes, _)| bytes.max(1));
        let mut buffer = vec![0; piece];
        let mut sent = 0_u64;
        loop {
            let n = match from_server.read(&mut buffer).await {
                Ok(n) if n > 0 => n,
                // The server's own end of the connection is passed on as an end.
                Ok(_) => {
                    let _ = to_client.shutdown().await;
                    return;
                }
                Err(_) => return,
            };
            if fate.loses_answer {
                return shared.harm();
            }
            let left = fate.cut_after.map_or(u64::MAX, |most| most.saturating_sub(sent));
            let part = n.min(usize::try_from(left).unwrap_or(usize::MAX));
            tokio::time::sleep(fate.faults.delay).await;
            if to_client.write_all(&buffer[..part]).await.is_err() {
                return;
            }
            sent += part as u64;
            if part < n || left == part as u64 {
                // What was sent has to leave before the reset takes the rest.
                tokio::time::sleep(Duration::from_millis(1)).await;
                return shared.harm();
            }
            if let Some((_, pause)) = fate.faults.trickle {
                tokio::time::sleep(pause).await;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with 1,000 bytes after its first request.
    async fn upstream() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 64];
                if stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(&[7; 1_000]).await;
                }
            }
        });
        address
    }

    /// How many bytes of the answer arrive.
    async fn received(faults: Faults) -> usize {
        let proxy = Proxy::start(upstream().await, 7).await.expect("a proxy");
        proxy.set(faults);
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        let _ = stream.write_all(b"hello").await;
        let (mut all, mut buffer) = (0, [0; 4_096]);
        while let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await {
            all += n;
            if n == 0 {
                break;
            }
        }
        all
    }

    #[tokio::test]
    async fn each_fault_does_what_it_says() {
        assert_eq!(received(Faults::default()).await, 1_000);
        assert_eq!(received(Faults { cut_after: Some(100..101), ..Faults::default() }).await, 100);
        assert_eq!(received(Faults { lose_answers: 1.0, ..Faults::default() }).await, 0);
        assert_eq!(received(Faults { refuse: 1.0, ..Faults::default() }).await, 0);
        assert_eq!(received(Faults { black_hole: true, ..Faults::default() }).await, 0);
        let slow = Faults { trickle: Some((100, Duration::from_millis(1))), delay: Duration::from_millis(1), ..Faults::default() };
        assert_eq!(received(slow).await, 1_000);
    }
}
