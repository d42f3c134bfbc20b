//! `sid conversation`: one agent with one human, or with none.

use clap::Subcommand;

use crate::client::{Client, Request, read};
use crate::commands::erase;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable, thousands};
use crate::output::{Output, Paint};
use crate::session::{Paging, Session, is_id, named};
use crate::wire;

/// Conversations.
#[derive(Debug, Subcommand)]
pub enum Conversation {
    /// Conversations, newest first; of one user with --user
    List {
        /// Only of this agent
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One conversation and its newest messages
    Show {
        /// Its id (`sid conversation list` shows it)
        id: String,
        /// How many messages
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        messages: u32,
        /// Messages from this place on, instead of the newest
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
    },
    /// Erase a conversation with all that derives from it (the same as `sid erase conversation`)
    Delete {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(command: Conversation, session: &Session) -> Result<(), CliError> {
    match command {
        Conversation::List { agent, paging } => {
            let agent = agent.map(|a| named("agent", &a));
            let request = Request::get(&["conversations"]).query_if("agent", agent).query_if("user", session.user());
            let names = Names::load(session.client().await?).await;
            let table = Table::new().name("id").name("agent").name("user").name("key").number("messages").name("last");
            let row = |c: wire::Conversation| {
                let last = c.last_at.as_deref().map_or_else(|| "-".into(), moment);
                let user = c.user.map_or_else(|| "-".into(), |u| names.user(&u));
                vec![c.id, names.agent(&c.agent), user, c.key.unwrap_or_else(|| "-".into()), thousands(c.last_seq), last]
            };
            session.list(request, &paging, table, row, "no conversations yet; begin one: sid chat").await
        }
        Conversation::Show { id, messages, from } => show(session, &id, messages, from).await,
        Conversation::Delete { id, yes } => erase::conversation(session, &id, yes).await,
    }
}

async fn show(session: &Session, id: &str, count: u32, from: Option<u64>) -> Result<(), CliError> {
    let client = session.client().await?;
    let conversation = client.value(Request::get(&["conversations", id])).await?;
    let request = Request::get(&["conversations", id, "messages"]);
    let request = match from {
        // `from` is not part of the answer itself.
        Some(from) => request.query("order", "asc").query("from", from.saturating_sub(1)),
        None => request.query("order", "desc"),
    };
    let mut list = client.list(request, None, count as usize).await?;
    list.items.truncate(count as usize);
    if from.is_none() {
        list.items.reverse();
    }
    if session.out.json {
        return session.out.value(&serde_json::json!({"conversation": conversation, "messages": list.items}));
    }
    let conversation: wire::Conversation = read(conversation, "the conversation")?;
    let names = Names::load(client).await;
    let paged_out = conversation.queue_start.saturating_sub(1);
    let mut lines = vec![
        ("id", conversation.id),
        ("agent", names.agent(&conversation.agent)),
        ("user", conversation.user.as_deref().map_or_else(|| "none".into(), |u| names.user(u))),
        ("key", conversation.key.unwrap_or_default()),
        ("messages", format!("{}, of which {} have left the prompt's queue", thousands(conversation.last_seq), thousands(paged_out))),
        ("begun", moment(&conversation.created_at)),
        ("summary", printable(&conversation.summary)),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    session.out.text(&facts(&lines, session.out.paint))?;
    for message in list.items {
        session.out.text(&render(&read(message, "a message")?, &session.out))?;
    }
    Ok(())
}

/// A message as a person reads it.
pub(crate) fn render(message: &wire::Message, out: &Output) -> String {
    let paint = out.paint;
    let who = speaker(message, paint);
    let mut text = format!("\n{} {who} {}\n", paint.dim(&format!("#{}", message.seq)), paint.dim(&moment(&message.at)));
    for line in crate::output::text::wrap(&printable(&message.text), out.cut_to().unwrap_or(usize::MAX)) {
        text.push_str(&line);
        text.push('\n');
    }
    for call in &message.tool_calls {
        text.push_str(&paint.dim(&format!("→ {}({})", call.name, call.arguments)));
        text.push('\n');
    }
    text
}

fn speaker(message: &wire::Message, paint: Paint) -> String {
    let name = message.speaker.as_deref().or(message.name.as_deref());
    let who = name.map_or_else(|| message.role.clone(), |name| format!("{} ({name})", message.role));
    match (message.role.as_str(), message.is_error) {
        (_, Some(true)) => paint.red(&who),
        ("user", _) => paint.green(&who),
        ("assistant", _) => paint.cyan(&who),
        _ => paint.dim(&who),
    }
}

/// Names for the ids that tables would show otherwise. What cannot be looked up stays an id.
pub(crate) struct Names {
    agents: std::collections::HashMap<String, String>,
    users: std::collections::HashMap<String, String>,
}

impl Names {
    /// Looks at the first thousand of each; larger tenants see ids.
    pub(crate) async fn load(client: &Client) -> Self {
        let read = async |path: &str, field: &str| {
            let list = client.list(Request::get(&[path]), None, 1_000).await.map(|l| l.items).unwrap_or_default();
            let name = |item: serde_json::Value| Some((item.get("id")?.as_str()?.to_owned(), item.get(field)?.as_str()?.to_owned()));
            list.into_iter().filter_map(name).collect()
        };
        Self { agents: read("agents", "name").await, users: read("users", "handle").await }
    }

    pub(crate) fn agent(&self, id: &str) -> String {
        self.agents.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    pub(crate) fn user(&self, id: &str) -> String {
        self.users.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

/// Finds a conversation: by its id, or the one in which somebody spoke last among those of the agent, the user and the key that are
/// named. Says which one it is when there was a choice.
pub(crate) async fn find(
    session: &Session,
    id: Option<&str>,
    agent: Option<&str>,
    key: Option<&str>,
) -> Result<wire::Conversation, CliError> {
    let client = session.client().await?;
    if let Some(id) = id {
        if !is_id("conv", id) {
            let message = "a conversation's id begins with conv_; to name it otherwise use --agent, --user and --conversation KEY";
            return Err(CliError::Usage(message.into()));
        }
        return read(client.value(Request::get(&["conversations", id])).await?, "the conversation");
    }
    let agent = agent.map(|a| named("agent", a));
    let request = Request::get(&["conversations"]).query_if("agent", agent).query_if("user", session.user());
    let mut found: Vec<wire::Conversation> = Vec::new();
    for item in client.list(request, None, 10_000).await?.items {
        let conversation: wire::Conversation = read(item, "a conversation")?;
        if key.is_none_or(|key| conversation.key.as_deref() == Some(key)) {
            found.push(conversation);
        }
    }
    let is_choice = found.len() > 1;
    // RFC 3339 in UTC sorts as text.
    let latest = found.into_iter().max_by(|a, b| a.last_at.cmp(&b.last_at).then_with(|| a.created_at.cmp(&b.created_at)));
    let Some(latest) = latest else {
        let hint = "`sid conversation list` shows what there is; `sid chat` begins one";
        return Err(CliError::failed("SID-CLI-NO-CONVERSATION", "there is no such conversation", hint));
    };
    if is_choice {
        let names = Names::load(client).await;
        let user = latest.user.as_deref().map_or_else(|| "nobody".into(), |u| names.user(u));
        session.out.note(&format!("the latest conversation: {} of {} with {user}", latest.id, names.agent(&latest.agent)))?;
    }
    Ok(latest)
}
