//! Who talks with whom, and where: users, agents and conversations that are not there yet are made, after saying so.

use serde_json::{Value, json};

use crate::client::{Client, Request, read};
use crate::error::CliError;
use crate::session::{Session, given, is_id, named};
use crate::wire;

/// Where a chat takes place.
pub(crate) struct Place {
    /// The conversation.
    pub(crate) conversation: wire::Conversation,
    /// The user's handle; `None` when the key is the user's own.
    pub(crate) user_name: Option<String>,
}

/// A key that no conversation has yet.
pub(crate) fn fresh_key() -> String {
    jiff::Zoned::now().strftime("cli-%Y%m%d-%H%M%S").to_string()
}

/// The conversation with this key (or id) of the agent and the user of this session.
pub(crate) async fn enter(session: &Session, agent: &str, key: &str) -> Result<Place, CliError> {
    let client = session.client().await?;
    if is_id("conv", key) {
        let conversation = read(client.value(Request::get(&["conversations", key])).await?, "the conversation")?;
        return Ok(Place { conversation, user_name: None });
    }
    let user = ensure_user(session, client).await?;
    let is_ego = ensure_agent(session, client, agent).await?;
    let body = given([
        ("agent", (!is_ego).then(|| json!(named("agent", agent)))),
        ("ego", is_ego.then(|| json!(agent.trim_start_matches('@')))),
        ("user", user.as_deref().map(|u| json!(named("user", u)))),
        ("key", Some(json!(key))),
    ]);
    let conversation = read(client.value(Request::post(&["conversations"]).json(body)).await?, "the conversation")?;
    Ok(Place { conversation, user_name: user })
}

/// Opens the conversation with this key.
pub(crate) async fn open(session: &Session, agent: &str, key: &str) -> Result<wire::Conversation, CliError> {
    Ok(enter(session, agent, key).await?.conversation)
}

/// The user to speak as. With a user's own key and no --user it is the key's, which needs no name.
async fn ensure_user(session: &Session, client: &Client) -> Result<Option<String>, CliError> {
    let wanted = session.global.user.as_deref();
    let handle = wanted.map_or_else(name_of_this_person, str::to_owned);
    let handle = handle.trim_start_matches('@').to_owned();
    match client.value(Request::get(&["users", &named("user", &handle)])).await {
        Ok(_) => return Ok(Some(handle)),
        Err(error) if error.is_not_found() && !is_id("user", &handle) => {}
        Err(error) => return Err(error),
    }
    match client.value(Request::post(&["users"]).json(json!({"handle": handle}))).await {
        Ok(_) => {
            session.out.note(&format!("there was no user `{handle}` yet: made it"))?;
            Ok(Some(handle))
        }
        // A user's own key makes no users.
        Err(CliError::Api(problem)) if problem.status == 403 && wanted.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers whether it is an ego.
async fn ensure_agent(session: &Session, client: &Client, agent: &str) -> Result<bool, CliError> {
    match client.value(Request::get(&["agents", &named("agent", agent)])).await {
        Err(error) if error.is_not_found() && !is_id("agent", agent) => {}
        other => return other.map(|_| false),
    }
    match client.value(Request::get(&["egos", agent.trim_start_matches('@')])).await {
        Err(error) if error.is_not_found() => {}
        other => return other.map(|_| true),
    }
    let made = client.value(Request::post(&["agents"]).json(json!({"name": agent.trim_start_matches('@')}))).await?;
    let model = made.get("model").and_then(Value::as_str).unwrap_or_default();
    session.out.note(&format!("there was no agent `{agent}` yet: made it, with the model `{model}`"))?;
    Ok(false)
}

/// The login name.
fn name_of_this_person() -> String {
    let set = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    set("USER").or_else(|| set("USERNAME")).unwrap_or_else(|| "me".into())
}
