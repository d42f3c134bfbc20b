//! `sid backup`: an online copy of the embedded store.

use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::file::NewFile;
use crate::output::progress;
use crate::output::text::thousands;
use crate::session::Session;

/// Copy the whole store to a file while it goes on working (operators only). The file is a database: put it as `sid.db` into an
/// empty data folder to restore it.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: Backup, session: &Session) -> Result<(), CliError> {
    // Before the server does the work.
    let mut file = NewFile::create(&args.file, args.force)?;
    let mut reply = session.client().await?.send(Request::post(&["backup"])).await?;
    let length = reply.header("content-length").and_then(|l| l.parse::<u64>().ok());
    let bar = progress::bytes(&session.out, "copying", length);
    let mut written = 0;
    while let Some(piece) = reply.body.next().await {
        let piece = piece?;
        file.write(&piece)?;
        written += piece.len() as u64;
        bar.set_position(written);
    }
    bar.finish_and_clear();
    if length.is_some_and(|length| length != written) {
        let message = format!("the copy broke off after {} bytes", thousands(written));
        return Err(CliError::failed("SID-CLI-CUT-OFF", message, "try again; nothing was kept"));
    }
    file.finish()?;
    if session.out.json {
        return session.out.value(&json!({"file": args.file, "bytes": written}));
    }
    session.out.line(&format!("{} bytes in {}", thousands(written), args.file.display()))
}
