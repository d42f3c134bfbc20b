//! `sid erase`: forgetting, with a receipt.

use clap::Subcommand;
use serde_json::Value;

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::facts;
use crate::output::text::thousands;
use crate::session::{Session, named};

/// What to forget.
#[derive(Debug, Subcommand)]
pub enum Erase {
    /// A user: conversations, memory, keys, and everything derived from them
    User {
        /// Handle or id
        handle: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// A conversation: messages, vectors, runs, and what was written in it
    Conversation {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(command: Erase, session: &Session) -> Result<(), CliError> {
    match command {
        Erase::User { handle, yes } => user(session, &handle, yes).await,
        Erase::Conversation { id, yes } => conversation(session, &id, yes).await,
    }
}

pub(crate) async fn user(session: &Session, handle: &str, yes: bool) -> Result<(), CliError> {
    let question = format!("Erase the user {handle} with all conversations and all that any agent remembers of them?");
    erase(session, &["users", &named("user", handle)], &question, yes).await
}

pub(crate) async fn conversation(session: &Session, id: &str, yes: bool) -> Result<(), CliError> {
    erase(session, &["conversations", id], &format!("Erase the conversation {id} and all that derives from it?"), yes).await
}

/// Asks, erases and prints the receipt. What does not exist is an error before anybody is asked.
pub(crate) async fn erase(session: &Session, path: &[&str], question: &str, yes: bool) -> Result<(), CliError> {
    session.client().await?.value(Request::get(path)).await?;
    if !session.out.confirm(question, yes)? {
        return session.out.note("nothing was erased");
    }
    let receipt = session.client().await?.value(Request::delete(path)).await?;
    if session.out.json {
        return session.out.value(&receipt);
    }
    let counts = receipt.as_object().into_iter().flatten().filter_map(|(name, n)| Some((name.as_str(), n.as_u64()?)));
    let words: Vec<(String, String)> = counts.map(|(name, n)| (name.replace('_', " "), thousands(n))).collect();
    let lines: Vec<(&str, String)> = words.iter().map(|(name, n)| (name.as_str(), n.clone())).collect();
    session.out.line("erased:")?;
    session.out.text(&facts(&lines, session.out.paint))?;
    if matches!(receipt, Value::Null) { session.out.note("the server gave no receipt") } else { Ok(()) }
}
