//! `sid chat`: talking with an agent.

mod input;
pub(crate) mod opening;
mod slash;
mod turn;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

use self::input::{Input, Line};
use self::opening::Place;
use crate::error::CliError;
use crate::output::text::{moment, thousands};
use crate::session::Session;

/// Talk with an agent. A user or agent that is not there yet is made. Piped input is one message a line.
#[derive(Debug, Args)]
pub struct Chat {
    /// The agent, or the ego
    #[arg(long, short, env = "SID_AGENT", default_value = "sid")]
    agent: String,
    /// Which conversation of the two: a key of your own, or an id
    #[arg(long, short, value_name = "KEY or ID", default_value = "cli", conflicts_with = "new")]
    conversation: String,
    /// Begin a new conversation
    #[arg(long)]
    new: bool,
    /// Say this, print the answer and leave
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Show the model's reasoning too
    #[arg(long)]
    reasoning: bool,
}

pub(crate) async fn run(args: Chat, session: &Session) -> Result<(), CliError> {
    let key = if args.new { opening::fresh_key() } else { args.conversation.clone() };
    let place = opening::enter(session, &args.agent, &key).await?;
    let mut chat = Talk { session, place, agent: args.agent, shows_reasoning: args.reasoning };
    let result = if let Some(message) = &args.message {
        chat.say(message).await
    } else {
        let input = if std::io::stdin().is_terminal() && session.out.is_terminal && !session.out.json {
            chat.greet()?;
            Input::edited(chat.history_file())?
        } else {
            Input::piped()
        };
        chat.converse(input).await
    };
    // Otherwise a script of single messages would never be found by meaning.
    if !matches!(result, Err(CliError::Interrupted)) {
        session.settle(Duration::from_secs(3)).await?;
    }
    result
}

/// A chat that is going on.
struct Talk<'a> {
    session: &'a Session,
    place: Place,
    agent: String,
    shows_reasoning: bool,
}

impl Talk<'_> {
    async fn converse(&mut self, mut input: Input) -> Result<(), CliError> {
        let is_edited = input.is_edited();
        // Piped messages go on after a run that failed; the program ends with the last failure.
        let mut failure: Option<CliError> = None;
        let prompt = format!("{}> ", self.place.user_name.as_deref().unwrap_or("you"));
        loop {
            let text = match input.next(&prompt).await? {
                Line::Text(text) => text,
                Line::Again => {
                    self.session.out.note("(Ctrl-C again, Ctrl-D or /quit leaves)")?;
                    continue;
                }
                Line::End => return failure.map_or(Ok(()), Err),
            };
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let done = match slash::parse(text) {
                Some(slash::Command::Quit) => return failure.map_or(Ok(()), Err),
                Some(command) => slash::run(command, self).await,
                None => {
                    self.talk(text.strip_prefix('/').filter(|_| text.starts_with("//")).unwrap_or(text), is_edited.then_some(&mut input))
                        .await
                }
            };
            match done {
                // At a terminal one mistake does not end the talk; the store or server may come back.
                Err(error) if is_edited && !matches!(error, CliError::BrokenPipe | CliError::Interrupted) => self.session.out.error(&error),
                Err(error) if error.code() == turn::RUN_FAILED => {
                    if let Some(earlier) = failure.replace(error) {
                        self.session.out.error(&earlier);
                    }
                }
                other => other?,
            }
        }
    }

    /// One message and its answer; at a terminal, whoever sits there is asked at once for what waits for a yes. A run that fails is an error.
    async fn talk(&self, text: &str, input: Option<&mut Input>) -> Result<(), CliError> {
        let mut outcome = turn::say(self.session, &self.place, text, self.shows_reasoning).await?;
        if let Some(input) = input {
            let mut asked = std::collections::VecDeque::from(std::mem::take(&mut outcome.asked));
            while let Some((id, call)) = asked.pop_front() {
                let decision = match input.next(&format!("make the call {call}? [y/n, Enter: later] ")).await? {
                    Line::Text(said) if matches!(said.trim(), "y" | "yes") => "approve",
                    Line::Text(said) if matches!(said.trim(), "n" | "no") => "deny",
                    _ => continue,
                };
                let client = self.session.client().await?;
                let decided = client.value(crate::commands::approvals::decide(&id, decision, None)).await?;
                let decided: crate::wire::Approval = crate::client::read(decided, "the approval")?;
                if let Some(run) = decided.answered_by {
                    let told = turn::follow(self.session, &self.place, client.events(&run, 0), self.shows_reasoning).await?;
                    asked.extend(told.asked);
                }
            }
        }
        outcome.failure().map_or(Ok(()), Err)
    }

    /// One message and its answer. A run that fails is an error.
    async fn say(&self, text: &str) -> Result<(), CliError> {
        let outcome = turn::say(self.session, &self.place, text, self.shows_reasoning).await?;
        outcome.failure().map_or(Ok(()), Err)
    }

    fn greet(&self) -> Result<(), CliError> {
        let conversation = &self.place.conversation;
        let so_far = match (conversation.last_seq, &conversation.last_at) {
            (0, _) => "a new conversation".to_owned(),
            (n, Some(at)) => format!("{} messages so far, the last of {}", thousands(n), moment(at)),
            (n, None) => format!("{} messages so far", thousands(n)),
        };
        let paint = self.session.out.paint;
        self.session.out.line(&format!("{} · {so_far} · {}", paint.bold(&self.agent), paint.dim("/help shows what else there is")))
    }

    /// What was typed before, in the user's own folder for such things.
    fn history_file(&self) -> Option<std::path::PathBuf> {
        let folder = std::env::var_os("XDG_STATE_HOME")
            .map(std::path::PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".local").join("state")))?;
        Some(folder.join("sid").join("history"))
    }
}
