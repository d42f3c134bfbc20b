//! The command line: global flags, and one subcommand per module of `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::Target;
use crate::commands;
use crate::error::CliError;

/// Chat with perpetual agents, look into their memory, and operate a Sid server.
///
/// Without --server (or SID_SERVER) everything runs in this process on a data folder, as that folder's operator.
#[derive(Debug, Parser)]
#[command(name = "sid", version, disable_help_subcommand = false, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What applies to every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The server's URL, such as http://127.0.0.1:8700 [env: SID_SERVER]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data", help_heading = "Global options")]
    pub server: Option<String>,
    /// An API key for the server
    #[arg(long, global = true, value_name = "KEY", env = "SID_API_KEY", hide_env_values = true, help_heading = "Global options")]
    pub key: Option<String>,
    /// The tenant to act in, by id or name (operators; default: the tenant `default`)
    #[arg(long, global = true, value_name = "TENANT", env = "SID_TENANT", help_heading = "Global options")]
    pub tenant: Option<String>,
    /// The user it is about, by id or handle; where a command takes no user, act as that user
    #[arg(long, global = true, value_name = "USER", help_heading = "Global options")]
    pub user: Option<String>,
    /// Work on this data folder, without a server [default: the configuration's, else ./sid-data] [env: SID_DATA]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub data: Option<PathBuf>,
    /// The configuration file of the data folder's models and embedder [default: ./sid.toml if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Set one configuration option, without a server; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Global options")]
    pub set: Vec<(String, String)>,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// No colours (also: the environment variable NO_COLOR)
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
    /// Do not cut long text
    #[arg(long, global = true, help_heading = "Global options")]
    pub full: bool,
    /// Log what happens to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as models.default.base_url=http://127.0.0.1:8080/v1")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl Global {
    /// Where the API is: what a flag says goes before what the environment says, and a server before the default folder.
    pub fn target(&self) -> Result<Target, CliError> {
        self.target_with(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    fn target_with(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Target, CliError> {
        let is_local = self.data.is_some() || self.config.is_some() || !self.set.is_empty();
        if self.server.is_some() && is_local {
            return Err(CliError::Usage("--config and --set are about a data folder; a server has its own configuration".into()));
        }
        let server = self.server.clone().or_else(|| environment("SID_SERVER").filter(|_| !is_local));
        Ok(match server {
            Some(url) => Target::Server { url, key: self.key.clone() },
            None => Target::Embedded {
                data: self.data.clone().or_else(|| environment("SID_DATA").map(PathBuf::from)),
                config: self.config.clone(),
                set: self.set.clone(),
            },
        })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk with an agent
    Chat(commands::chat::Chat),
    /// Agents: list, create, show, update, delete
    #[command(subcommand)]
    Agent(commands::agent::Agent),
    /// Users: list, create, show, update, delete
    #[command(subcommand)]
    User(commands::user::User),
    /// Teams and their members
    #[command(subcommand)]
    Team(commands::team::Team),
    /// Agents that meet people as one: list, show, put, drop
    #[command(subcommand)]
    Ego(commands::ego::Ego),
    /// Work that agents do over many runs: list, add, show, answer, cancel
    #[command(subcommand)]
    Task(commands::task::Task),
    /// Functions that agents were given: list, add, show, remove
    #[command(subcommand)]
    Tools(commands::tools::Tools),
    /// Calls of agents that wait for a yes: list, show, approve, deny
    #[command(subcommand)]
    Approvals(commands::approvals::Approvals),
    /// Text from outside: undo what a source wrote
    #[command(subcommand)]
    Sources(commands::sources::Sources),
    /// What wakes agents by itself: list, set, show, pause, resume, remove
    #[command(subcommand)]
    Timers(commands::timers::Timers),
    /// Texts from outside, to be read and cited: add, list, show, search, download, remove
    #[command(subcommand)]
    Documents(commands::documents::Documents),
    /// A person's Google Drive: status, connect, finish, disconnect, search, import
    #[command(subcommand)]
    Drive(commands::drive::Drive),
    /// Images that agents had made: list, save, remove
    #[command(subcommand)]
    Images(commands::images::Images),
    /// Webhooks: where your application hears of what happens: list, add, rotate, test, deliveries
    #[command(subcommand)]
    Webhooks(commands::webhooks::Webhooks),
    /// Conversations: list, show, delete
    #[command(subcommand)]
    Conversation(commands::conversation::Conversation),
    /// API keys: list, create, rotate, revoke
    #[command(subcommand)]
    Key(commands::key::Key),
    /// Tenants: list, create
    #[command(subcommand)]
    Tenant(commands::tenant::Tenant),
    /// Core memory: what agents always see, with its history
    #[command(subcommand)]
    Block(commands::block::Block),
    /// Recall, archival memory and the diary
    #[command(subcommand)]
    Memory(commands::memory::Memory),
    /// What a user's assistants keep: the overview, items, hand-offs, secrets, proposals
    Context(commands::context::Context),
    /// The exact prompt of the last or the next turn
    Prompt(commands::prompt::Prompt),
    /// Runs: list, show, cancel
    #[command(subcommand)]
    Run(commands::run::Run),
    /// What happened in a run, or is happening
    Events(commands::events::Events),
    /// Check models, embedder and store, and say what to do
    Doctor(commands::doctor::Doctor),
    /// Copy the embedded store to a file while it is in use
    Backup(commands::backup::Backup),
    /// Write all that is held to a file, as NDJSON
    Export(commands::export::Export),
    /// Read a chat log into a conversation
    Import(commands::import::Import),
    /// Watch the change to another embedder
    Reindex(commands::reindex::Reindex),
    /// Serve memory to an assistant over standard input and output (MCP)
    Mcp(commands::mcp::Mcp),
    /// Forget a user or a conversation, with all that derives from it
    #[command(subcommand)]
    Erase(commands::erase::Erase),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_go_before_the_environment() {
        let environment = |name: &str| Some(if name == "SID_SERVER" { "http://env" } else { "env-data" }.to_owned());
        let target = |arguments: &[&str], env: &dyn Fn(&str) -> Option<String>| {
            let cli = Cli::try_parse_from([&["sid", "agent", "list"], arguments].concat()).expect("arguments");
            cli.global.target_with(env)
        };
        let server = |url: &str| Target::Server { url: url.into(), key: None };
        let folder = |data: Option<&str>| Target::Embedded { data: data.map(PathBuf::from), config: None, set: Vec::new() };
        assert_eq!(target(&[], &|_| None).expect("target"), folder(None));
        assert_eq!(target(&[], &environment).expect("target"), server("http://env"));
        assert_eq!(target(&["--server", "http://flag"], &environment).expect("target"), server("http://flag"));
        assert_eq!(target(&["--data", "d"], &environment).expect("target"), folder(Some("d")));
        let only_data = |name: &str| (name == "SID_DATA").then(|| "env-data".to_owned());
        assert_eq!(target(&[], &only_data).expect("target"), folder(Some("env-data")));
        assert!(target(&["--server", "http://flag", "--set", "a=b"], &environment).is_err());
        assert!(Cli::try_parse_from(["sid", "agent", "list", "--server", "x", "--data", "y"]).is_err());
    }

    #[test]
    fn options_are_understood_before_and_after_the_command() {
        for arguments in [["sid", "--json", "user", "list"], ["sid", "user", "list", "--json"], ["sid", "user", "--json", "list"]] {
            assert!(Cli::try_parse_from(arguments).expect("arguments").global.json);
        }
        assert!(Cli::try_parse_from(["sid", "user", "list", "--set", "nonsense"]).is_err());
    }
}
