//! What can be done in a chat besides talking.

use serde_json::json;

use super::{Talk, opening};
use crate::client::{Request, read};
use crate::commands::owner::Owner;
use crate::commands::{block, memory, prompt};
use crate::error::CliError;
use crate::wire;

/// A line that begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Recalled,
    /// The next prompt if this were said; without words the last one.
    Prompt(Option<String>),
    Search(String),
    Blocks,
    Undo(String),
    Cancel,
    New,
    Help,
    Quit,
    Unknown(String),
}

const HELP: &str = "\
/recalled         what was recalled for the last turn, and why
/prompt [words]   the last prompt, or the next one if you said these words
/search words     search all that this agent remembers of you
/blocks           core memory: what the agent always sees
/undo label       take back the last change of a block
/cancel           stop what runs in this conversation, also from elsewhere
/new              begin a new conversation
/quit             leave (or Ctrl-D)
Ctrl-C stops the answer. A line that ends with \\ goes on in the next. //words says /words.";

/// `None` = it is a message.
pub(super) fn parse(line: &str) -> Option<Command> {
    let rest = line.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
    let (name, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let words = words.trim().to_owned();
    Some(match name {
        "recalled" => Command::Recalled,
        "prompt" => Command::Prompt((!words.is_empty()).then_some(words)),
        "search" => Command::Search(words),
        "blocks" => Command::Blocks,
        "undo" => Command::Undo(words),
        "cancel" => Command::Cancel,
        "new" => Command::New,
        "help" | "?" | "h" => Command::Help,
        "quit" | "exit" | "q" => Command::Quit,
        other => Command::Unknown(other.to_owned()),
    })
}

pub(super) async fn run(command: Command, talk: &mut Talk<'_>) -> Result<(), CliError> {
    let session = talk.session;
    let conversation = talk.place.conversation.clone();
    match command {
        Command::Recalled => {
            let request = Request::get(&["conversations", &conversation.id, "context"]).query("which", "last");
            let answer = session.client().await?.value(request).await?;
            if session.out.json {
                return session.out.value(&answer["recalled"]);
            }
            let last: wire::Prompt = read(answer, "the prompt")?;
            session.out.text(prompt::recalled(&last.recalled, &session.out).trim_start())
        }
        Command::Prompt(next) => prompt::show(session, &conversation.id, next.as_deref(), false).await,
        Command::Search(words) if words.is_empty() => Err(CliError::Usage("/search what? such as /search pickles in the cellar".into())),
        Command::Search(words) => {
            let mut body = json!({"query": words, "agent": conversation.agent});
            if let Some(user) = &conversation.user {
                body["user"] = json!(user);
            }
            memory::search(session, body).await
        }
        Command::Blocks => block::list(session, &Owner::of_conversation(&conversation.agent, conversation.user.as_deref())).await,
        Command::Undo(label) if label.is_empty() => Err(CliError::Usage("/undo which block? /blocks shows the labels".into())),
        Command::Undo(label) => {
            let owner = Owner::of_conversation(&conversation.agent, conversation.user.as_deref());
            block::undo_by_label(session, &owner, &label).await
        }
        Command::Cancel => cancel(talk).await,
        Command::New => {
            talk.place = opening::enter(session, &talk.agent, &opening::fresh_key()).await?;
            session.out.note("a new conversation; what the agent remembers of you stays")
        }
        Command::Help => session.out.line(HELP),
        Command::Quit => Ok(()),
        Command::Unknown(name) => Err(CliError::Usage(format!("there is no /{name}; /help shows what there is"))),
    }
}

async fn cancel(talk: &Talk<'_>) -> Result<(), CliError> {
    let client = talk.session.client().await?;
    let runs = client.whole(Request::get(&["conversations", &talk.place.conversation.id, "runs"]).query("limit", 100)).await?;
    let mut stopped = 0;
    for run in runs.items {
        let run: wire::Run = read(run, "a run")?;
        if matches!(run.status.as_str(), "queued" | "running") {
            client.value(Request::post(&["runs", &run.id, "cancel"])).await?;
            stopped += 1;
        }
    }
    talk.session.out.note(&match stopped {
        0 => "nothing runs in this conversation".to_owned(),
        n => format!("asked {n} to stop"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_messages_are_told_apart() {
        assert_eq!(parse("/search the pickles "), Some(Command::Search("the pickles".into())));
        assert_eq!(parse("/prompt"), Some(Command::Prompt(None)));
        assert_eq!(parse("/q"), Some(Command::Quit));
        assert_eq!(parse("/dance"), Some(Command::Unknown("dance".into())));
        assert_eq!(parse("//not a command"), None);
        assert_eq!(parse("hello /quit"), None);
    }
}
