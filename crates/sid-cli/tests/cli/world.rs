//! A scripted model, a server on a free port, and the binary beside them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sid_server::App;
use sid_server::config::{Config, Sources};
use sid_testkit::model_server::{ModelServer, ServerOptions};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// What a call of the binary left behind.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The output of a call that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// The error of a call that must have failed with this exit code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self.err
    }
}

/// The binary with a clean environment.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sid"));
    let kept = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("SID_"));
    command
        .env_clear()
        .envs(kept)
        .env("USER", "ada")
        .env("TZ", "UTC")
        .env("COLUMNS", "120")
        .env("XDG_STATE_HOME", folder)
        .env_remove("RUST_LOG");
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) async fn end(child: Child) -> Said {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("ends in time").unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) async fn run(folder: &Path, arguments: &[&str], input: Option<&str>) -> Said {
    let mut command = command(folder, arguments);
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).await.unwrap();
    }
    end(child).await
}

/// A server with a scripted model, in this process.
pub(crate) struct World {
    pub(crate) model: ModelServer,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) folder: TempDir,
    /// At work as long as the test lasts.
    _app: App,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    pub(crate) async fn start_with(options: ServerOptions) -> Self {
        let model = ModelServer::start_with(options).await.unwrap();
        let flags = vec![
            ("store.kind".to_owned(), "in-process".to_owned()),
            ("models.default.base_url".to_owned(), format!("{}/v1", model.base_url())),
            ("models.default.model".to_owned(), "scripted".to_owned()),
            ("models.default.max_tries".to_owned(), "1".to_owned()),
            ("secrets.keys".to_owned(), format!("one:{}=", "A".repeat(43))),
        ];
        let app = App::open(Config::load(Sources { flags, ..Sources::default() }).unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = app.clone();
        tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
        let key = app.first_key().unwrap().to_owned();
        Self { model, url, key, folder: TempDir::new().unwrap(), _app: app }
    }

    pub(crate) fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--server", &self.url, "--key", &self.key]].concat()
    }

    pub(crate) fn sid<'a>(&'a self, arguments: &[&'a str]) -> impl Future<Output = Said> + 'a {
        let arguments = self.arguments(arguments);
        async move { run(self.folder.path(), &arguments, None).await }
    }

    /// With something on standard input.
    pub(crate) fn sid_reads<'a>(&'a self, arguments: &[&'a str], input: &'a str) -> impl Future<Output = Said> + 'a {
        let arguments = self.arguments(arguments);
        async move { run(self.folder.path(), &arguments, Some(input)).await }
    }

    /// One message and its answer, as JSON.
    pub(crate) async fn says(&self, text: &str) -> Value {
        self.sid(&["chat", "-m", text, "--json"]).await.json()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
