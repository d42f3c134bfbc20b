//! Ids and `@name`s: what paths and bodies call things by.

use sid_store::{Store, StoreError};
use sid_types::{AgentId, Scope, TeamId, UserId};

use crate::error::ApiError;

/// Looks names up as one caller sees them.
pub(crate) struct Names<'a> {
    store: &'a dyn Store,
    scope: &'a Scope,
}

impl<'a> Names<'a> {
    pub(crate) fn new(store: &'a dyn Store, scope: &'a Scope) -> Self {
        Self { store, scope }
    }

    /// As whom names are looked up.
    pub(crate) const fn scope(&self) -> &Scope {
        self.scope
    }

    /// An agent's id from its id or `@name`. The id itself is not looked up: the store checks it at its use.
    pub(crate) async fn agent(&self, text: &str) -> Result<AgentId, ApiError> {
        match text.strip_prefix('@') {
            Some(name) => self.store.agent_by_name(self.scope, name).await.map(|a| a.id).map_err(|e| named(e, "agent", text)),
            None => super::wire::parse_id(text, "agent"),
        }
    }

    /// A user's id from its id or `@handle`.
    pub(crate) async fn user(&self, text: &str) -> Result<UserId, ApiError> {
        match text.strip_prefix('@') {
            Some(handle) => self.store.user_by_handle(self.scope, handle).await.map(|u| u.id).map_err(|e| named(e, "user", text)),
            None => super::wire::parse_id(text, "user"),
        }
    }

    /// A team's id from its id or `@name`.
    pub(crate) async fn team(&self, text: &str) -> Result<TeamId, ApiError> {
        match text.strip_prefix('@') {
            Some(name) => {
                let teams = self.store.teams(self.scope).await?;
                let found = teams.iter().find(|t| t.name == name).map(|t| t.id);
                found.ok_or_else(|| named(StoreError::NotFound { what: "team" }, "team", text))
            }
            None => super::wire::parse_id(text, "team"),
        }
    }
}

/// A look-up by name that failed: says which name, and where the right ones are.
fn named(error: StoreError, what: &'static str, text: &str) -> ApiError {
    let is_missing = matches!(error, StoreError::NotFound { .. });
    let error = ApiError::from(error);
    if !is_missing {
        return error;
    }
    let shown: String = text.chars().take(100).collect();
    error.reworded(format!("this key sees no {what} `{shown}`: GET /api/v1/{what}s lists those that it sees"))
}

/// Checks the key that an application gives a conversation: a name, and none that Sid itself gives.
pub(crate) fn check_key(key: &str) -> Result<(), ApiError> {
    check_name("key", key, 255)?;
    let of_sid = [("ego:", "an ego's: name the ego"), ("from:conv_", "what an agent was asked there"), ("task:task_", "a task's")];
    match of_sid.iter().find(|(begins, _)| key.starts_with(begins)) {
        Some((begins, whose)) => {
            Err(ApiError::bad_request(format!("a conversation whose key begins with `{begins}` is {whose}: choose another key")))
        }
        None => Ok(()),
    }
}

/// Checks a name that people choose: 1 to `max` characters, no control characters, no `@` in front (it would read as a name's mark),
/// no white space at the ends.
pub(crate) fn check_name(what: &str, name: &str, max: usize) -> Result<(), ApiError> {
    let problem = if name.is_empty() {
        "must not be empty".to_owned()
    } else if name.chars().count() > max {
        format!("must have at most {max} characters")
    } else if name.starts_with('@') {
        "must not begin with `@`".to_owned()
    } else if name.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else if name.trim() != name {
        "must not begin or end with white space".to_owned()
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(format!("`{what}` {problem}")))
}

/// Checks a text that a store keeps: no NUL character, at most `max` bytes.
pub(crate) fn check_text(what: &str, text: &str, max: usize) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::bad_request(format!("`{what}` must not contain NUL characters")));
    }
    if text.len() > max {
        return Err(ApiError::bad_request(format!("`{what}` has {} bytes, more than {max}", text.len())));
    }
    Ok(())
}
