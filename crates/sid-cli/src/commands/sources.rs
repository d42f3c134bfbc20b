//! `sid sources`: what came from outside, and taking it back.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::session::{Session, given};
use crate::wire;

/// Sources that are not trusted.
#[derive(Debug, Subcommand)]
pub enum Sources {
    /// Take back what agents wrote after reading from a source: block edits and passages
    Undo {
        /// The source, such as `web:example.org`, `tool:tickets` or `import:*`
        source: String,
        /// Only what was written from this moment on, such as 2026-11-22T10:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
}

pub(crate) async fn run(command: Sources, session: &Session) -> Result<(), CliError> {
    let Sources::Undo { source, since } = command;
    let request = Request::post(&["sources", "undo"]).json(body(&source, since)?);
    let show = |r: wire::Undone| {
        let mut out = format!("{} blocks and {} passages\n", r.blocks, r.passages);
        for left in r.left_out {
            out.push_str(&format!("left out: version {} of {}: {}\n", left.version, left.block, left.why));
        }
        out
    };
    session.ask(request, "what was undone", show).await
}

fn body(source: &str, since: Option<String>) -> Result<Value, CliError> {
    let (channel, name) =
        source.split_once(':').ok_or_else(|| CliError::Usage("name a source as CHANNEL:NAME, such as web:example.org".into()))?;
    Ok(given([("source", Some(json!({"channel": channel, "name": name}))), ("since", since.map(|s| json!(s)))]))
}
