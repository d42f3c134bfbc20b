//! `sid key`: API keys.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::Paint;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// API keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// All keys that you may manage (never their secrets)
    List(Paging),
    /// Make a key; it is shown once. --tenant and --user say whose it is
    Create {
        /// A note for humans
        name: String,
        /// As whom it acts [default: `agent` with --agent, `user` with --user, else `tenant`]
        #[arg(long)]
        role: Option<Role>,
        /// The assistant that it acts as, by name or id; with --user
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        /// What it may do there [default: owner for operators and tenants, member for users, agent for agents]
        #[arg(long)]
        access: Option<Access>,
        /// Only this of the role's permissions, such as memory-read; may be repeated
        #[arg(long = "scope", value_name = "PERMISSION")]
        scopes: Vec<String>,
        /// When it ends: a moment such as 2027-01-31T12:00:00Z, or a span from now such as 30d or 12h
        #[arg(long, value_name = "WHEN", value_parser = moment_or_span)]
        expires: Option<jiff::Timestamp>,
    },
    /// Make a new key with the same rights, shown once; the old one goes on for a while
    Rotate {
        /// The old key's id
        id: String,
        /// How long the old one goes on, such as 12h or 7d; at most 30d
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        overlap: jiff::SignedDuration,
        /// When the new one ends [default: it lives for as long as the old one was made for]
        #[arg(long, value_name = "WHEN", value_parser = moment_or_span)]
        expires: Option<jiff::Timestamp>,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its id
        id: String,
    },
}

/// As whom a key acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Manages tenants and keys, and may act inside every tenant
    Operator,
    /// Acts for a whole tenant
    Tenant,
    /// Acts as one user
    User,
    /// Acts as an assistant of one user
    Agent,
}

/// What a key may do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Everything inside its reach
    Owner,
    /// Everything but keys and erasure
    Admin,
    /// A person, or an application that acts for one
    Member,
    /// An assistant that acts for a person
    Agent,
    /// Looks and changes nothing
    ReadOnly,
}

fn span(text: &str) -> Result<jiff::SignedDuration, String> {
    match text.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days)) => Ok(jiff::SignedDuration::from_hours(days.saturating_mul(24))),
        _ => text.parse().map_err(|_| "expected a span such as 30d or 12h".into()),
    }
}

fn moment_or_span(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let span = span(text).map_err(|_| "expected a moment such as 2027-01-31T12:00:00Z, or a span such as 30d or 12h")?;
    jiff::Timestamp::now().checked_add(span).map_err(|e| e.to_string())
}

/// A new key, as it is shown once.
fn shown(k: wire::Key, paint: Paint) -> String {
    let ends = k.expires_at.as_deref().map_or_else(|| "never".into(), moment);
    let scopes = k.scopes.map_or_else(|| "all of its role's".into(), |scopes| scopes.join(" "));
    let facts_of_it = [
        ("key", paint.bold(&k.key.unwrap_or_default())),
        ("id", k.id),
        ("name", k.name),
        ("role", k.role.r#type),
        ("access", k.access),
        ("scopes", scopes),
        ("ends", ends),
    ];
    facts(&facts_of_it, paint)
}

const KEEP_IT: &str = "keep the key now: it is not shown again";

pub(crate) async fn run(command: Key, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    match command {
        Key::List(paging) => {
            let table = Table::new().text("name").name("role").name("access").name("id").name("made").name("ends").name("state");
            let row = |k: wire::Key| {
                let role = [Some(k.role.r#type), k.role.agent.or(k.role.user).or(k.role.tenant)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" ");
                let ends = k.expires_at.as_deref().map_or_else(|| "never".into(), moment);
                let state = if k.revoked_at.is_some() { "revoked" } else { "in force" };
                let access = if k.scopes.is_some() { format!("{}, cut", k.access) } else { k.access };
                vec![k.name, role, access, k.id, moment(&k.created_at), ends, state.into()]
            };
            session.list(Request::get(&["keys"]), &paging, table, row, "no keys yet; make one: sid key create NAME").await
        }
        Key::Create { name, role, agent, access, scopes, expires } => {
            let role = role.unwrap_or(match (&agent, &session.global.user) {
                (Some(_), _) => Role::Agent,
                (None, Some(_)) => Role::User,
                (None, None) => Role::Tenant,
            });
            let user = || session.user().ok_or_else(|| CliError::Usage("a user's or assistant's key needs --user".into()));
            let tenant = session.global.tenant.as_deref().map(|t| Value::String(named("ten", t)));
            let role = match role {
                Role::Operator => json!({"type": "operator"}),
                Role::Tenant => given([("type", Some(json!("tenant"))), ("tenant", tenant)]),
                Role::User => given([("type", Some(json!("user"))), ("tenant", tenant), ("user", Some(json!(user()?)))]),
                Role::Agent => {
                    let agent = agent.ok_or_else(|| CliError::Usage("an assistant's key needs --agent".into()))?;
                    let agent = Some(json!(named("agent", &agent)));
                    given([("type", Some(json!("agent"))), ("tenant", tenant), ("user", Some(json!(user()?))), ("agent", agent)])
                }
            };
            let access = access.and_then(|access| access.to_possible_value()).map(|access| json!(access.get_name()));
            let body = given([
                ("name", Some(json!(name))),
                ("role", Some(role)),
                ("access", access),
                ("scopes", Some(json!(scopes)).filter(|_| !scopes.is_empty())),
                ("expires_at", expires.map(|at| json!(at.to_string()))),
            ]);
            session.ask(Request::post(&["keys"]).json(body), "the key", move |k| shown(k, paint)).await?;
            session.out.note(KEEP_IT)
        }
        Key::Rotate { id, overlap, expires } => {
            let body =
                given([("overlap_s", Some(json!(overlap.as_secs().max(0)))), ("expires_at", expires.map(|at| json!(at.to_string())))]);
            session.ask(Request::post(&["keys", &id, "rotate"]).json(body), "the key", move |k| shown(k, paint)).await?;
            session.out.note(KEEP_IT)
        }
        Key::Revoke { id } => {
            let show = |k: wire::Key| format!("the key {} ({}) is refused from now on\n", k.id, k.name);
            session.ask(Request::delete(&["keys", &id]), "the key", show).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_moments_or_spans() {
        let at = moment_or_span("2027-01-31T12:00:00Z").expect("moment");
        assert_eq!(at.to_string(), "2027-01-31T12:00:00Z");
        let in_30_days = moment_or_span("30d").expect("span").as_second() - jiff::Timestamp::now().as_second();
        assert!((in_30_days - 30 * 86_400).abs() < 5, "{in_30_days}");
        assert!(moment_or_span("12h").is_ok());
        assert!(moment_or_span("soon").is_err());
        assert_eq!(span("7d").map(|s| s.as_secs()), Ok(7 * 86_400));
        assert_eq!(span("90m").map(|s| s.as_secs()), Ok(5_400));
        assert!(span("2027-01-31T12:00:00Z").is_err());
    }
}
