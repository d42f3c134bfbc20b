//! From a stateless request to a stimulus: which user, which conversation, which messages are new.

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use sid_core::ClientAnswer;
use sid_store::NewConversation;
use sid_types::{Conversation, ConversationId, Ego, Scope, Source};

use super::models::Called;
use crate::App;
use crate::api::check_key;
use crate::auth::Caller;
use crate::error::ApiError;

/// The conversation of clients that name none, and the user of tenant keys that name none.
const DEFAULT: &str = "default";

/// The scope of the user that a request speaks for.
pub(super) async fn user_scope(app: &App, caller: &Caller, body_user: Option<&str>) -> Result<Scope, ApiError> {
    let body_user = body_user.map(str::trim).filter(|u| !u.is_empty());
    if let Some(user) = caller.user() {
        // The key or X-Sid-User says who it is. Another name in the body is a mistake that must not pass in silence.
        let scope = caller.scope_for(user)?;
        if let Some(named) = body_user {
            let own = app.store().user(&scope, user).await?;
            if named.trim_start_matches('@') != own.handle && named != user.to_string() {
                return Err(ApiError::forbidden("`user` names another user than the key or X-Sid-User"));
            }
        }
        return Ok(scope);
    }
    let scope = caller.tenant_scope()?;
    let handle = body_user.map_or(DEFAULT, |u| u.trim_start_matches('@'));
    let user = match handle.parse::<sid_types::UserId>() {
        Ok(id) => app.store().user(&scope, id).await?,
        Err(_) => app.auth().ensure_user(&scope, handle).await?,
    };
    caller.scope_for(user.id)
}

/// What the client calls its conversation.
fn name_of<'a>(headers: &'a HeaderMap, metadata: Option<&'a Map<String, Value>>) -> Result<Option<&'a str>, ApiError> {
    if let Some(value) = headers.get("x-sid-conversation") {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::bad_request("header X-Sid-Conversation is not UTF-8"))?;
        return Ok(Some(text.trim()).filter(|t| !t.is_empty()));
    }
    let Some(value) = metadata.and_then(|m| m.get("conversation").or_else(|| m.get("conversation_id"))) else { return Ok(None) };
    match value {
        Value::String(text) => Ok(Some(text.trim()).filter(|t| !t.is_empty())),
        _ => Err(ApiError::bad_request("`metadata.conversation` must be a text").openai("invalid_type", Some("metadata"))),
    }
}

/// The conversation that a request belongs to; opened at first use.
pub(super) async fn find(
    app: &App,
    scope: &Scope,
    called: &Called,
    headers: &HeaderMap,
    metadata: Option<&Map<String, Value>>,
) -> Result<Conversation, ApiError> {
    let name = name_of(headers, metadata)?.unwrap_or(DEFAULT);
    if let Ok(id) = name.parse::<ConversationId>() {
        let conversation = app.store().conversation(scope, id).await?;
        // Another agent's conversation is none of this "model".
        let is_theirs = called.ego.as_ref().is_none_or(|ego| Ego::named_in(conversation.key.as_deref()) == Some(ego.name.as_str()))
            && conversation.agent == called.agent.id;
        return if is_theirs { Ok(conversation) } else { Err(ApiError::not_found("conversation")) };
    }
    check_key(name)?;
    if let (Some(ego), Some(user)) = (&called.ego, scope.user()) {
        return Ok(app.engine().open_ego(scope, ego, user, name).await?.0);
    }
    let new = NewConversation { agent: called.agent.id, user: scope.user(), key: Some(name.to_owned()) };
    Ok(app.store().open_conversation(scope, ConversationId::new(), new).await?.0)
}

/// What is new in a chat.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Answers to the calls of the last assistant message.
    pub(super) answers: Vec<ClientAnswer>,
    /// What the user says.
    pub(super) texts: Vec<String>,
}

/// The new messages: the user's after the last assistant's, and the answers to the calls that it has. `untrusted`: those of who answers.
pub(super) fn new_messages(messages: &[Value], untrusted: &[Source]) -> Result<Said, ApiError> {
    let invalid = |detail: String| ApiError::bad_request(detail).openai("invalid_value", Some("messages"));
    let role = |message: &Value| message.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    let last_assistant = messages.iter().rposition(|m| role(m) == "assistant");
    let first_new = last_assistant.map_or(0, |i| i + 1);
    let has_calls = |m: &Value| m.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    let is_called = last_assistant.is_some_and(|i| has_calls(&messages[i]));
    let mut said = Said::default();
    for (index, message) in messages.iter().enumerate().skip(first_new) {
        match role(message).as_str() {
            "user" => {
                let text = text_of(message.get("content"), index)?;
                if !text.trim().is_empty() {
                    said.texts.push(text);
                }
            }
            "tool" if is_called => {
                let call_id = message.get("tool_call_id").and_then(Value::as_str);
                let call_id = call_id.ok_or_else(|| invalid(format!("messages[{index}] has no `tool_call_id`")))?.to_owned();
                let text = text_of(message.get("content"), index)?;
                said.answers.push(ClientAnswer { call_id, text, is_error: false, untrusted: untrusted.to_vec() });
            }
            // Ignored: the agent's instructions are its maker's, and its own tools run inside.
            "system" | "developer" | "tool" | "function" => {}
            other => {
                return Err(invalid(format!("messages[{index}].role must be user, assistant, system, developer or tool, not `{other}`")));
            }
        }
    }
    if said.texts.is_empty() && said.answers.is_empty() {
        return Err(invalid("there is no new message: the last message must be a user's, with text in it".into()));
    }
    Ok(said)
}

fn text_of(content: Option<&Value>, index: usize) -> Result<String, ApiError> {
    let invalid = |detail: String| ApiError::bad_request(detail).openai("invalid_value", Some("messages"));
    let text = match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let mut texts = Vec::with_capacity(parts.len());
            for part in parts {
                match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
                    (Some("text" | "input_text"), Some(text)) => texts.push(text),
                    (Some(other), _) if !matches!(other, "text" | "input_text") => {
                        return Err(invalid(format!("messages[{index}] has a part of type `{other}`: agents read text parts only")));
                    }
                    _ => return Err(invalid(format!("messages[{index}] has a part without a `type` and a `text`"))),
                }
            }
            texts.join("\n")
        }
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err(invalid(format!("messages[{index}].content must be a text or a list of parts"))),
    };
    if text.contains('\0') {
        return Err(invalid(format!("messages[{index}].content must not contain NUL characters")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(messages: Value, expected: Result<&[&str], &str>) {
        let list = messages.as_array().expect("a list").clone();
        match (new_messages(&list, &[]), expected) {
            (Ok(found), Ok(expected)) => {
                let answers = found.answers.iter().map(|a| format!("{}={}", a.call_id, a.text));
                assert_eq!(answers.chain(found.texts).collect::<Vec<_>>(), expected);
            }
            (Err(found), Err(expected)) => assert!(found.detail.contains(expected), "{}", found.detail),
            (found, _) => panic!("{found:?} instead of {expected:?} for {messages}"),
        }
    }

    #[test]
    fn only_what_came_after_the_last_answer_is_new() {
        let user = |t: &str| json!({"role": "user", "content": t});
        let assistant = json!({"role": "assistant", "content": "a"});
        check(json!([user("one")]), Ok(&["one"]));
        check(json!([{"role": "system", "content": "s"}, user("one")]), Ok(&["one"]));
        check(json!([user("one"), assistant, user("two"), user("three")]), Ok(&["two", "three"]));
        check(json!([user("one"), assistant, {"role": "tool", "content": "r"}, user("two")]), Ok(&["two"]));
        let calling = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1"}, {"id": "c2"}]});
        let tool = |id: &str, t: &str| json!({"role": "tool", "tool_call_id": id, "content": t});
        check(json!([user("one"), calling, tool("c1", "r1"), tool("c2", "")]), Ok(&["c1=r1", "c2="]));
        check(json!([user("one"), calling, tool("c1", "r1"), user("two")]), Ok(&["c1=r1", "two"]));
        check(json!([user("one"), calling, user("never mind")]), Ok(&["never mind"]));
        check(json!([calling, tool("c1", "r1"), assistant, user("two")]), Ok(&["two"]));
        check(json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]), Ok(&["a\nb"]));
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_name() {
        check(json!([]), Err("no new message"));
        check(json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}]), Err("no new message"));
        check(json!([{"role": "user", "content": "  "}]), Err("no new message"));
        check(json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]), Err("`image_url`"));
        check(json!([{"role": "user", "content": 7}]), Err("messages[0].content"));
        check(json!([{"role": "assistant", "tool_calls": [{"id": "c"}]}, {"role": "tool", "content": "x"}]), Err("`tool_call_id`"));
        check(json!([{"role": "robot", "content": "x"}]), Err("`robot`"));
        check(json!(["x"]), Err("messages[0].role"));
        check(json!([{"role": "user", "content": "a\u{0}b"}]), Err("NUL"));
    }
}
