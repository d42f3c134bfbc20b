//! `sid export`: all that is held, as NDJSON.

use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::file::NewFile;
use crate::output::progress;
use crate::output::text::thousands;
use crate::session::Session;

/// Write all that is held about a tenant, or with --user about one user: one `{"kind": …}` a line, the last one of kind `end`.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write; `-` = standard output
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

enum To {
    File(NewFile),
    Output,
}

pub(crate) async fn run(args: Export, session: &Session) -> Result<(), CliError> {
    let mut to = if args.file.as_os_str() == "-" { To::Output } else { To::File(NewFile::create(&args.file, args.force)?) };
    let mut reply = session.client().await?.send(Request::get(&["export"]).query_if("user", session.user())).await?;
    let bar = progress::bytes(&session.out, "exporting", None);
    let mut last = Tail::default();
    let mut lines = 0_u64;
    let mut bytes = 0_u64;
    while let Some(piece) = reply.body.next().await {
        let piece = piece?;
        last.feed(&piece);
        lines += piece.iter().filter(|b| **b == b'\n').count() as u64;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
        match &mut to {
            To::File(file) => file.write(&piece)?,
            To::Output => session.out.text(&String::from_utf8_lossy(&piece))?,
        }
    }
    bar.finish_and_clear();
    check_end(&last.line())?;
    let To::File(file) = to else { return Ok(()) };
    file.finish()?;
    if session.out.json {
        return session.out.value(&json!({"file": args.file, "lines": lines, "bytes": bytes}));
    }
    session.out.line(&format!("{} lines in {}", thousands(lines), args.file.display()))
}

/// The last line of a stream.
#[derive(Default)]
struct Tail {
    line: Vec<u8>,
    is_whole: bool,
}

impl Tail {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.is_whole {
                self.line.clear();
                self.is_whole = false;
            }
            if *byte == b'\n' { self.is_whole = true } else { self.line.push(*byte) }
        }
    }

    fn line(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }
}

fn check_end(line: &str) -> Result<(), CliError> {
    let end: Value = serde_json::from_str(line).unwrap_or_default();
    match end["kind"].as_str() {
        Some("end") => Ok(()),
        Some("error") => {
            let why = end["detail"].as_str().unwrap_or("the server gave no reason");
            Err(CliError::failed("SID-CLI-CUT-OFF", format!("the export broke off: {why}"), "try again; nothing was kept"))
        }
        _ => Err(CliError::failed("SID-CLI-CUT-OFF", "the export broke off before its end", "try again; nothing was kept")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_without_its_last_line_is_refused() {
        let mut tail = Tail::default();
        for piece in [&b"{\"kind\":\"user\"}\n{\"ki"[..], b"nd\":\"end\",\"lines\":2}", b"\n"] {
            tail.feed(piece);
        }
        assert_eq!(tail.line(), r#"{"kind":"end","lines":2}"#);
        assert!(check_end(&tail.line()).is_ok());
        assert!(check_end("{\"kind\":\"user\"}").is_err());
        let error = check_end(r#"{"kind":"error","detail":"the store failed"}"#).expect_err("error");
        assert!(error.message().contains("the store failed"));
    }
}
