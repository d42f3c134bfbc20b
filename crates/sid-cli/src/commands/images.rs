//! `sid images`: what agents had made.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::file::NewFile;
use crate::output::table::Table;
use crate::output::text::{moment, one_line, thousands};
use crate::session::{Paging, Session};
use crate::wire;

/// Images that agents had made.
#[derive(Debug, Subcommand)]
pub enum Images {
    /// Images, newest first; of one user with --user
    List {
        /// Only of this agent
        #[arg(long)]
        agent: Option<String>,
        /// Only from this conversation
        #[arg(long)]
        conversation: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Write an image to a file
    Save {
        /// Its id (`sid images list` shows it)
        id: String,
        /// The file; its id and kind when left out
        file: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Forget an image
    Remove {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(command: Images, session: &Session) -> Result<(), CliError> {
    match command {
        Images::List { agent, conversation, paging } => {
            let agent = agent.map(|agent| crate::session::named("agent", &agent));
            let request = Request::get(&["images"]).query_if("agent", agent).query_if("conversation", conversation);
            let request = request.query_if("user", session.user());
            let table = Table::new().name("id").name("kind").number("bytes").name("made").text("what");
            let row = |i: wire::Image| vec![i.id, i.content_type, thousands(i.bytes), moment(&i.created_at), one_line(&i.prompt)];
            session.list(request, &paging, table, row, "there are no images").await
        }
        Images::Save { id, file, force } => save(&id, file, force, session).await,
        Images::Remove { id } => {
            session.client().await?.value(Request::delete(&["images", &id])).await?;
            if session.out.json { session.out.value(&json!({"removed": id})) } else { session.out.line(&format!("{id} is gone")) }
        }
    }
}

async fn save(id: &str, file: Option<PathBuf>, force: bool, session: &Session) -> Result<(), CliError> {
    let reply = session.client().await?.send(Request::get(&["images", id])).await?;
    let kind = reply.header("content-type").and_then(|kind| kind.strip_prefix("image/")).unwrap_or("bin");
    // What stands in a file's name is the server's id, never a path.
    let name: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.{kind}")));
    let bytes = reply.bytes().await?;
    let mut to = NewFile::create(&file, force)?;
    to.write(&bytes)?;
    to.finish()?;
    if session.out.json {
        return session.out.value(&json!({"file": file, "bytes": bytes.len()}));
    }
    session.out.line(&format!("{} bytes in {}", thousands(bytes.len() as u64), file.display()))
}
