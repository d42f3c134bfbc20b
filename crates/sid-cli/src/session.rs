//! What a command works with: the output, the global flags, and the client, opened when it is first needed.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::cli::Global;
use crate::client::{Client, Identity, List, Request, read};
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::{Output, progress};
use crate::wire;

/// One call of the program.
pub struct Session {
    /// Where output goes.
    pub out: Output,
    /// The global flags.
    pub global: Global,
    client: OnceCell<Client>,
    acts_as_user: bool,
    agent: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub struct Paging {
    /// Most items
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Read on from here: the cursor that the page before ended with
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Read to the end
    #[arg(long)]
    pub all: bool,
}

impl Paging {
    /// Most items in one answer.
    #[must_use]
    pub const fn most(&self) -> usize {
        if self.all { usize::MAX } else { self.limit as usize }
    }
}

impl Session {
    /// `acts_as_user`: `--user` narrows every request; otherwise the command itself says what the user is for.
    #[must_use]
    pub fn new(global: Global, acts_as_user: bool) -> Self {
        let out = Output::new(global.json, global.no_color, global.full);
        Self { out, global, client: OnceCell::new(), acts_as_user, agent: None }
    }

    /// Acts as an assistant of the user: `X-Sid-Agent`.
    #[must_use]
    pub fn as_agent(mut self, agent: Option<String>) -> Self {
        self.agent = agent;
        self
    }

    /// The client, opened at the first call.
    pub async fn client(&self) -> Result<&Client, CliError> {
        let open = || async {
            let identity = Identity {
                tenant: self.global.tenant.clone(),
                user: self.global.user.clone().filter(|_| self.acts_as_user),
                agent: self.agent.clone(),
            };
            let client = Client::open(self.global.target()?, identity).await?;
            if let Some(key) = client.first_key() {
                self.out.note(&format!("made {}; a server on it takes this operator key, shown once: {key}", client.describe()))?;
            }
            Ok(client)
        };
        self.client.get_or_try_init(open).await
    }

    /// The user that the command is about, as the API wants it.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.global.user.as_deref().map(|user| named("user", user))
    }

    /// Lets an embedded store make vectors of what was just written: nobody else does while this process is the only one. A server
    /// does it by itself.
    pub async fn settle(&self, limit: Duration) -> Result<(), CliError> {
        let client = self.client().await?;
        if !client.is_embedded() {
            return Ok(());
        }
        let end = tokio::time::Instant::now() + limit;
        let mut bar = None;
        loop {
            let index: wire::Index = read(client.value(Request::get(&["index"]).query("wait_ms", 1_000)).await?, "the index")?;
            if index.pending == 0 || index.generation.is_none() || tokio::time::Instant::now() >= end {
                break;
            }
            let bar = bar.get_or_insert_with(|| progress::items(&self.out, "making vectors", index.pending));
            bar.set_position(bar.length().unwrap_or(0).saturating_sub(index.pending));
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// Lets background work of an embedded store end.
    pub async fn close(self) {
        if let Some(client) = self.client.into_inner() {
            client.close().await;
        }
    }

    /// Sends a request; prints the answer as JSON, or as `show` makes it.
    pub async fn ask<T: DeserializeOwned>(&self, request: Request, what: &str, show: impl FnOnce(T) -> String) -> Result<(), CliError> {
        let value = self.client().await?.value(request).await?;
        if self.out.json {
            return self.out.value(&value);
        }
        self.out.text(&show(read(value, what)?))
    }

    /// Reads a list and prints it as JSON, or as a table with one row per item.
    pub async fn list<T: DeserializeOwned>(
        &self,
        request: Request,
        paging: &Paging,
        table: Table,
        row: impl Fn(T) -> Vec<String>,
        when_empty: &str,
    ) -> Result<(), CliError> {
        let list = self.client().await?.list(request, paging.after.as_deref(), paging.most()).await?;
        self.show_list(list, table, row, when_empty)
    }

    /// Prints a list that has been read.
    pub fn show_list<T: DeserializeOwned>(
        &self,
        list: List,
        mut table: Table,
        row: impl Fn(T) -> Vec<String>,
        when_empty: &str,
    ) -> Result<(), CliError> {
        if self.out.json {
            return self.out.value(&json!({"items": list.items, "next": list.next}));
        }
        for item in list.items {
            table.row(row(read(item, "a list")?));
        }
        self.out.table(&table, when_empty)?;
        match list.next {
            Some(next) => self.out.note(&format!("there is more: --after {next}, --limit N or --all")),
            None => Ok(()),
        }
    }
}

/// What people type for a tenant, user, team or agent, as the API wants it: ids as they are, names with `@` in front.
#[must_use]
pub fn named(prefix: &str, text: &str) -> String {
    if text.starts_with('@') || is_id(prefix, text) { text.to_owned() } else { format!("@{text}") }
}

/// Whether the text has the form of an id of this kind.
#[must_use]
pub fn is_id(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    digits.is_some_and(|d| d.len() == 26 && d.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()))
}

/// A JSON object of the fields that were given.
#[must_use]
pub fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_told_apart() {
        let id = "agent_01jd0000000000000000000000";
        assert_eq!(named("agent", id), id);
        assert_eq!(named("agent", "sid"), "@sid");
        assert_eq!(named("agent", "@sid"), "@sid");
        assert_eq!(named("user", id), format!("@{id}"));
        assert_eq!(named("agent", "agent_smith"), "@agent_smith");
    }
}
