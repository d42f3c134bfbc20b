//! A port, and the way down.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::App;
use crate::config::Server;

/// After the drain, connections that still have not ended are cut after this long.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// How long giving back what other replicas wait for may take.
const LAST_CALLS: Duration = Duration::from_secs(1);

impl App {
    /// Serves until `shutdown` is ready, then drains: no new work, running steps end, streams close, the rest is left for the next
    /// start.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let app = self.clone();
        let drained = async move {
            shutdown.await;
            app.shutdown().await;
        };
        let listener = listener.tap_io(|stream| {
            // A small answer must not wait for the next one.
            let _ = stream.set_nodelay(true);
        });
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(self.closing().clone().cancelled_owned()).into_future();
        let cut = async {
            self.closing().cancelled().await;
            tokio::time::sleep(LAST_BYTES).await;
        };
        let ended = async {
            tokio::select! {
                served = serving => served,
                () = cut => {
                    tracing::warn!("connections were cut: they did not end in time");
                    Ok(())
                }
            }
        };
        // The store is closed after the last connection: one that has sent half a request may send the rest.
        let (served, ()) = tokio::join!(self.inner.serving.track_future(ended), drained);
        served
    }

    /// Stops taking work, lets running steps end for at most `server.drain_timeout_ms`, then closes streams. Again does nothing.
    pub async fn shutdown(&self) {
        if self.inner.draining.is_cancelled() {
            return self.inner.settled.cancelled().await;
        }
        self.inner.draining.cancel();
        let server: &Server = &self.config().server;
        tracing::info!(runs = self.engine().active_runs(), "shutting down");
        tokio::time::sleep(Duration::from_millis(server.drain_delay_ms)).await;
        tokio::select! {
            // First: it is this call that refuses new work.
            biased;
            () = self.engine().drain(Duration::from_millis(server.drain_timeout_ms)) => {}
            // Idle background workers end by themselves; nobody has to wait for their next look at the clock.
            () = self.no_runs() => {}
        }
        // A store that does not answer keeps nobody: duties expire.
        let _ = tokio::time::timeout(LAST_CALLS, self.engine().leave_duties()).await;
        self.closing().cancel();
        self.inner.serving.close();
        // They cut what does not end.
        let _ = tokio::time::timeout(LAST_BYTES * 2, self.inner.serving.wait()).await;
        self.no_requests().await;
        // While the store still answers.
        self.flush_audit().await;
        self.backend().settle().await;
        self.inner.settled.cancel();
    }

    /// Whoever waited for something has been told that the server closes: ready when those requests have ended, or soon. A program that
    /// serves the routes itself has no port here to wait for.
    async fn no_requests(&self) {
        let ended = async {
            while self.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_CALLS, ended).await;
    }

    /// What was queued for the audit log is written, if the store takes it in time.
    async fn flush_audit(&self) {
        if tokio::time::timeout(LAST_BYTES, self.audit().flush()).await.is_err() {
            tracing::error!("the store did not take the last entries of the audit log");
        }
    }

    /// Ready when no run has been under way for a moment.
    async fn no_runs(&self) {
        let mut quiet = 0;
        while quiet < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            quiet = if self.engine().active_runs() == 0 { quiet + 1 } else { 0 };
        }
    }
}
