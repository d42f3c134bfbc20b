//! `sid key`: API keys.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
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
        /// What it may do [default: `user` with --user, else `tenant`]
        #[arg(long)]
        role: Option<Role>,
        /// When it ends: a moment such as 2027-01-31T12:00:00Z, or a span from now such as 30d or 12h
        #[arg(long, value_name = "WHEN", value_parser = moment_or_span)]
        expires: Option<jiff::Timestamp>,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its id
        id: String,
    },
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Manages tenants and keys, and may act inside every tenant
    Operator,
    /// Acts for a whole tenant
    Tenant,
    /// Acts as one user
    User,
}

fn moment_or_span(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let span: jiff::SignedDuration = match text.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days)) => jiff::SignedDuration::from_hours(days.saturating_mul(24)),
        _ => text.parse().map_err(|_| "expected a moment such as 2027-01-31T12:00:00Z, or a span such as 30d or 12h")?,
    };
    jiff::Timestamp::now().checked_add(span).map_err(|e| e.to_string())
}

pub(crate) async fn run(command: Key, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    match command {
        Key::List(paging) => {
            let table = Table::new().text("name").name("role").name("id").name("made").name("ends").name("state");
            let row = |k: wire::Key| {
                let role = [Some(k.role.r#type), k.role.user.or(k.role.tenant)].into_iter().flatten().collect::<Vec<_>>().join(" ");
                let ends = k.expires_at.as_deref().map_or_else(|| "never".into(), moment);
                let state = if k.revoked_at.is_some() { "revoked" } else { "in force" };
                vec![k.name, role, k.id, moment(&k.created_at), ends, state.into()]
            };
            session.list(Request::get(&["keys"]), &paging, table, row, "no keys yet; make one: sid key create NAME").await
        }
        Key::Create { name, role, expires } => {
            let role = role.unwrap_or(if session.global.user.is_some() { Role::User } else { Role::Tenant });
            let tenant = session.global.tenant.as_deref().map(|t| Value::String(named("ten", t)));
            let role = match role {
                Role::Operator => json!({"type": "operator"}),
                Role::Tenant => given([("type", Some(json!("tenant"))), ("tenant", tenant)]),
                Role::User => {
                    let user = session.user().ok_or_else(|| CliError::Usage("a user's key needs --user".into()))?;
                    given([("type", Some(json!("user"))), ("tenant", tenant), ("user", Some(json!(user)))])
                }
            };
            let body = given([("name", Some(json!(name))), ("role", Some(role)), ("expires_at", expires.map(|at| json!(at.to_string())))]);
            let show = move |k: wire::Key| {
                let ends = k.expires_at.as_deref().map_or_else(|| "never".into(), moment);
                facts(
                    &[
                        ("key", paint.bold(&k.key.unwrap_or_default())),
                        ("id", k.id),
                        ("name", k.name),
                        ("role", k.role.r#type),
                        ("ends", ends),
                    ],
                    paint,
                )
            };
            session.ask(Request::post(&["keys"]).json(body), "the key", show).await?;
            session.out.note("keep the key now: it is not shown again")
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
    }
}
