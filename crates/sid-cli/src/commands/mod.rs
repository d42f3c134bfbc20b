//! The subcommands, one per module: the arguments as a type, and `run`.

pub mod agent;
pub mod approvals;
pub mod backup;
pub mod block;
pub mod chat;
pub mod context;
pub mod conversation;
pub mod doctor;
pub mod documents;
pub mod drive;
pub mod ego;
pub mod erase;
pub mod events;
pub mod export;
pub mod images;
pub mod import;
pub mod key;
mod login;
pub mod mcp;
pub mod memory;
pub mod owner;
pub mod prompt;
pub mod reindex;
pub mod run;
pub mod sources;
pub mod task;
pub mod team;
pub mod tenant;
pub mod timers;
pub mod tools;
pub mod user;
pub mod webhooks;

use crate::cli::Command;
use crate::error::CliError;
use crate::session::Session;

/// Whether `--user` narrows the requests of this command (instead of being one of its arguments).
#[must_use]
pub fn acts_as_user(command: &Command) -> bool {
    !matches!(
        command,
        Command::Chat(_)
            | Command::User(_)
            | Command::Team(_)
            | Command::Key(_)
            | Command::Conversation(_)
            | Command::Task(_)
            | Command::Timers(_)
            | Command::Webhooks(_)
            | Command::Block(_)
            | Command::Memory(_)
            | Command::Prompt(_)
            | Command::Run(_)
            | Command::Export(_)
            | Command::Import(_)
            | Command::Erase(_)
            | Command::Doctor(_)
    )
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Result<(), CliError> {
    match command {
        Command::Chat(args) => Box::pin(chat::run(args, session)).await,
        Command::Agent(args) => agent::run(args, session).await,
        Command::User(args) => user::run(args, session).await,
        Command::Team(args) => team::run(args, session).await,
        Command::Ego(args) => ego::run(args, session).await,
        Command::Task(args) => task::run(args, session).await,
        Command::Drive(args) => Box::pin(drive::run(args, session)).await,
        Command::Documents(args) => Box::pin(documents::run(args, session)).await,
        Command::Timers(args) => timers::run(args, session).await,
        Command::Tools(args) => tools::run(args, session).await,
        Command::Webhooks(args) => webhooks::run(args, session).await,
        Command::Sources(args) => sources::run(args, session).await,
        Command::Approvals(args) => approvals::run(args, session).await,
        Command::Images(args) => images::run(args, session).await,
        Command::Conversation(args) => conversation::run(args, session).await,
        Command::Key(args) => key::run(args, session).await,
        Command::Tenant(args) => tenant::run(args, session).await,
        Command::Block(args) => block::run(args, session).await,
        Command::Memory(args) => memory::run(args, session).await,
        Command::Context(args) => Box::pin(context::run(args, session)).await,
        Command::Prompt(args) => prompt::run(args, session).await,
        Command::Run(args) => run::run(args, session).await,
        Command::Events(args) => events::run(args, session).await,
        Command::Doctor(args) => doctor::run(args, session).await,
        Command::Backup(args) => backup::run(args, session).await,
        Command::Export(args) => export::run(args, session).await,
        Command::Import(args) => import::run(args, session).await,
        Command::Erase(args) => erase::run(args, session).await,
        Command::Mcp(args) => mcp::run(args, session).await,
        Command::Reindex(args) => reindex::run(args, session).await,
    }
}
