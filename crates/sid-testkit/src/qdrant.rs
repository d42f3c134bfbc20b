//! A throw-away Qdrant for tests: the real engine behind its own protocol (`crates/sid-testkit/src/qdrant_engine.py`).
//!
//! Its parts are those of `cargo xtask setup qdrant`, or of the folder `SID_QDRANT_PARTS`. [`shared`] is one for all tests that run at the same time;
//! [`Engine`] is one of a test's own, to be killed, started again and wiped. With `SID_QDRANT_URL` set, the shared one is that cluster: each test
//! keeps to collections of its own prefix, so any cluster will do.
//!
//! ```no_run
//! use sid_testkit::qdrant;
//! let url = qdrant::shared().expect("a Qdrant is there");
//! println!("connect to {url}, keep to collections that begin with {}", qdrant::prefix());
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::throwaway;

const ENGINE: &str = include_str!("qdrant_engine.py");

/// The address of a Qdrant that tests share.
///
/// Errors: its parts are not there, or it does not start; the text says what to do.
pub fn shared() -> Result<&'static str, &'static str> {
    static SHARED: OnceLock<Result<String, String>> = OnceLock::new();
    let found = SHARED.get_or_init(|| match std::env::var("SID_QDRANT_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => Ok(url),
        None => start_shared(),
    });
    found.as_deref().map_err(String::as_str)
}

/// What the names of one test's collections begin with: never the same twice.
#[must_use]
pub fn prefix() -> String {
    format!("test_{}", uuid::Uuid::now_v7().simple())
}

fn start_shared() -> Result<String, String> {
    let parts = parts()?;
    let start = || {
        let me = throwaway::own_uid()?;
        let home = std::env::temp_dir().join(format!("sid-qdrant-{me}-{:08x}", throwaway::hash(&parts)));
        let _lock = throwaway::lock(&home)?;
        throwaway::join(&home)?;
        let address = home.join("address");
        if let Ok(url) = fs::read_to_string(&address)
            && is_listening(&url)
        {
            return Ok(url);
        }
        let (child, url) = launch(&parts, &home, 0)?;
        fs::write(home.join("pid"), child.id().to_string())?;
        fs::write(&address, &url)?;
        throwaway::watch(&home, "pid", "KILL")?;
        Ok::<String, io::Error>(url)
    };
    start().map_err(|e| format!("the throw-away Qdrant engine does not start: {e}"))
}

fn is_listening(url: &str) -> bool {
    std::net::TcpStream::connect(url.trim_start_matches("http://")).is_ok()
}

/// Starts the server over `home/data`; it is ready when this returns.
fn launch(parts: &Path, home: &Path, port: u16) -> io::Result<(Child, String)> {
    let (script, log) = (home.join("engine.py"), home.join("log"));
    fs::write(&script, ENGINE)?;
    let mut server = Command::new("python3");
    server.arg(&script).arg("--data").arg(home.join("data")).arg("--parts").arg(parts).args(["--port", &port.to_string()]);
    server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
    // A group of its own: what ends a test does not end the engine of the others.
    let mut child = server.process_group(0).spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.trim().strip_prefix("listening on ") {
        Some(address) => Ok((child, format!("http://{address}"))),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(io::Error::other(fs::read_to_string(&log).unwrap_or_default()))
        }
    }
}

/// The folder with the engine and the stubs in it.
fn parts() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("SID_QDRANT_PARTS").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let manifest = throwaway::cache().map(|cache| cache.join("setup.json"));
    let text = manifest.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let known: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    known["qdrant"]
        .as_str()
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
        .ok_or_else(|| "no Qdrant engine was found: run `cargo xtask setup qdrant`, or set SID_QDRANT_URL".into())
}

/// A Qdrant of a test's own. Its address stays the same over kills; its folder goes with it.
#[derive(Debug)]
pub struct Engine {
    home: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Engine {
    /// Starts one, empty.
    ///
    /// Errors: as [`shared`].
    pub fn start() -> Result<Self, String> {
        let home = std::env::temp_dir().join(format!("sid-qdrant-own-{}", uuid::Uuid::now_v7().simple()));
        let made = fs::create_dir_all(&home).and_then(|()| TcpListener::bind("127.0.0.1:0")).and_then(|l| l.local_addr());
        let port = made.map_err(|e| format!("no room for a Qdrant engine: {e}"))?.port();
        let mut engine = Self { home, port, child: None };
        engine.restart()?;
        Ok(engine)
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, with what it had.
    ///
    /// Errors: it does not start.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        let (child, _) = launch(&parts()?, &self.home, self.port).map_err(|e| format!("the Qdrant engine does not start: {e}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends it, and everything that it had.
    pub fn wipe(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(self.home.join("data"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.home);
    }
}
