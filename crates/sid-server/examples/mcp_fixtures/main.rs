//! A Sid server whose MCP endpoint has, beside Sid's own tools, what the public MCP conformance suite asks of a server: its fixtures.
//!
//! `cargo run -p sid-server --example mcp_fixtures -- --config sid.toml [--sessions]`
//!
//! All around the fixtures is Sid's: configuration, routes, guard, limits, hosts and origins, settings of the endpoint. Two things are not:
//!
//! - The suite cannot send a key, so a request without one is given the first key here, before the guard looks for it.
//! - `--sessions`: Sid serves every request by itself, so nobody can answer what a server asks (sampling, elicitation), and a stream that
//!   was cut cannot be taken up again. With sessions both can be checked.

mod ask;
mod door;
mod fixtures;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use sid_server::App;
use sid_server::config::{Config, Sources};
use tokio::net::TcpListener;

use door::Door;
use fixtures::Fixtures;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program that says why it ends")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp_fixtures: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program that says where it listens")]
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let (file, with_sessions) = arguments()?;
    let config = Config::load(Sources { file: Some(file), ..Sources::default() })?;
    let listener = TcpListener::bind(config.server.listen.parse::<SocketAddr>()?).await?;
    let app = App::open(config).await?;
    let key = app.first_key().ok_or("the store is not new: it has no first key")?.to_owned();
    println!("first operator key (shown once): {key}");
    let door = Door::new(&key)?;
    let routes = app.router_with_mcp(|sid, settings| {
        if with_sessions {
            let sessions = Arc::new(LocalSessionManager::default());
            let fixtures = Fixtures::new(sid, Some((sessions.clone(), door.clone())));
            let settings = settings.with_legacy_session_mode(true);
            return tower::util::Either::Left(StreamableHttpService::new(move || Ok(fixtures.clone()), sessions, settings));
        }
        let fixtures = Fixtures::new(sid, None);
        tower::util::Either::Right(StreamableHttpService::new(
            move || Ok(fixtures.clone()),
            Arc::new(NeverSessionManager::default()),
            settings,
        ))
    });
    let routes = routes.layer(axum::middleware::from_fn_with_state(door, door::pass));
    println!("a server with fixtures listens on http://{}", listener.local_addr()?);
    axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// The configuration file, and whether there are sessions.
fn arguments() -> Result<(PathBuf, bool), String> {
    let (mut file, mut with_sessions) = (None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--config" => file = arguments.next().map(PathBuf::from),
            "--sessions" => with_sessions = true,
            other => return Err(format!("no option `{other}`")),
        }
    }
    Ok((file.ok_or("--config FILE is missing")?, with_sessions))
}
