//! Whose memory: the flags that name an owner.

use clap::Args;
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::session::{Session, named};

/// Whose memory it is: --agent with --user is what the agent knows of that user; one of them alone is that one's own; --team is the
/// team's; none of them is the whole tenant's.
#[derive(Debug, Clone, Default, Args)]
pub struct OwnerArgs {
    /// The agent
    #[arg(long, value_name = "AGENT", conflicts_with = "team")]
    pub agent: Option<String>,
    /// The team
    #[arg(long, value_name = "TEAM")]
    pub team: Option<String>,
}

/// An owner as the API wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    kind: &'static str,
    parts: Vec<(&'static str, String)>,
}

impl OwnerArgs {
    pub(crate) fn owner(&self, session: &Session) -> Result<Owner, CliError> {
        self.owner_with(session.user())
    }

    fn owner_with(&self, user: Option<String>) -> Result<Owner, CliError> {
        let agent = self.agent.as_deref().map(|a| named("agent", a));
        let team = self.team.as_deref().map(|t| named("team", t));
        let kind = match (&agent, &user, &team) {
            (_, Some(_), Some(_)) => return Err(CliError::Usage("--team and --user are two owners: name one".into())),
            (_, _, Some(_)) => "team",
            (Some(_), Some(_), None) => "pair",
            (Some(_), None, None) => "agent",
            (None, Some(_), None) => "user",
            (None, None, None) => "tenant",
        };
        let parts = [("agent", agent), ("user", user), ("team", team)];
        Ok(Owner { kind, parts: parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect() })
    }
}

impl Owner {
    /// What an agent knows of a user, or without one the agent's own. Both as the API wants them.
    pub(crate) fn of_conversation(agent: &str, user: Option<&str>) -> Self {
        let kind = if user.is_some() { "pair" } else { "agent" };
        let parts = [Some(("agent", agent.to_owned())), user.map(|u| ("user", u.to_owned()))];
        Self { kind, parts: parts.into_iter().flatten().collect() }
    }

    /// As parameters of a list.
    pub(crate) fn query(&self, request: Request) -> Request {
        let request = request.query("owner_type", self.kind);
        self.parts.iter().fold(request, |request, (name, value)| request.query(name, value))
    }

    /// As a field of a body.
    pub(crate) fn json(&self) -> Value {
        let mut owner = json!({"type": self.kind});
        for (name, value) in &self.parts {
            owner[name] = json!(value);
        }
        owner
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let names: Vec<&str> = self.parts.iter().map(|(_, name)| name.trim_start_matches('@')).collect();
        if names.is_empty() { "the tenant".into() } else { format!("the {} {}", self.kind, names.join(" + ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_tell_the_owner() {
        let check = |agent: Option<&str>, user: Option<&str>, team: Option<&str>, expected: Value| {
            let args = OwnerArgs { agent: agent.map(Into::into), team: team.map(Into::into) };
            assert_eq!(args.owner_with(user.map(|u| named("user", u))).expect("owner").json(), expected);
        };
        check(Some("sid"), Some("ada"), None, json!({"type": "pair", "agent": "@sid", "user": "@ada"}));
        check(Some("sid"), None, None, json!({"type": "agent", "agent": "@sid"}));
        check(None, Some("ada"), None, json!({"type": "user", "user": "@ada"}));
        check(None, None, Some("crew"), json!({"type": "team", "team": "@crew"}));
        check(None, None, None, json!({"type": "tenant"}));
        let both = OwnerArgs { agent: None, team: Some("crew".into()) };
        assert!(both.owner_with(Some("@ada".into())).is_err());
    }
}
