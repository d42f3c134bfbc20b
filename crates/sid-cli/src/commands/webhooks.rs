//! `sid webhooks`: where an application hears of what happens.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable};
use crate::session::{Paging, Session, given};
use crate::wire;

/// Webhooks.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// Webhooks, oldest first
    List,
    /// Make a webhook; its secret is shown once
    Add(Add),
    /// One webhook
    Show {
        /// Its id (`sid webhooks list` shows it)
        id: String,
    },
    /// Let it hear nothing; what was on its way waits
    Disable {
        /// Its id
        id: String,
    },
    /// Let it hear again, and send what waits
    Enable {
        /// Its id
        id: String,
    },
    /// Give it a fresh secret, which is shown once
    Rotate {
        /// Its id
        id: String,
        /// For so long the secrets before it stay in force, such as 24h
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
        overlap: u64,
    },
    /// Send it `webhook.test`
    Test {
        /// Its id
        id: String,
    },
    /// Forget it, with its deliveries
    Remove {
        /// Its id
        id: String,
    },
    /// What it was told, newest first
    Deliveries {
        /// Its id
        id: String,
        /// Only those that are pending, delivered or failed
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One delivery, with its attempts and what was sent
    Delivery {
        /// The webhook's id
        id: String,
        /// The delivery's
        delivery: String,
    },
    /// Try a delivery again, now
    Redeliver {
        /// The webhook's id
        id: String,
        /// The delivery's
        delivery: String,
    },
}

/// A webhook to be made.
#[derive(Debug, Args)]
pub struct Add {
    /// Where your application listens
    url: String,
    /// What it is told, such as run.completed; again for more [default: everything]
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// Tell it the words as well, and not ids and states alone
    #[arg(long)]
    content: bool,
}

/// Seconds of a time such as `24h`.
fn seconds(text: &str) -> Result<u64, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|e| format!("{e}"))?;
    u64::try_from(span.as_secs()).map_err(|_| "must not be negative".into())
}

fn told(events: &[String]) -> String {
    if events.is_empty() { "everything".into() } else { events.join(" ") }
}

pub(crate) async fn run(command: Webhooks, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |w: wire::Webhook| {
        let mut lines = vec![
            ("id", w.id.clone()),
            ("url", printable(&w.url)),
            ("description", printable(&w.description)),
            ("told", told(&w.events)),
            ("includes", w.include.clone().unwrap_or_default()),
            ("state", w.state.clone()),
            ("because", w.disabled_because.as_deref().map(printable).unwrap_or_default()),
            ("failing since", w.failing_since.as_deref().map(moment).unwrap_or_default()),
            ("secrets", w.secrets.to_string()),
            ("secret", w.secret.clone().unwrap_or_default()),
        ];
        lines.retain(|(_, value)| !value.is_empty());
        let mut text = facts(&lines, paint);
        if w.secret.is_some() {
            text.push_str("the secret is not shown again: give it to whoever verifies deliveries\n");
        }
        text
    };
    let show_delivery = move |d: wire::Delivery| {
        let mut lines = vec![
            ("id", d.id.clone()),
            ("event", d.event.clone()),
            ("subject", d.subject.clone()),
            ("at", moment(&d.at)),
            ("state", d.state.clone()),
            ("next", d.next_attempt.as_deref().map(moment).unwrap_or_default()),
            ("sent", d.body.as_deref().map(printable).unwrap_or_default()),
        ];
        lines.retain(|(_, value)| !value.is_empty());
        let mut text = facts(&lines, paint);
        for a in &d.history {
            let came = a.error.clone().or_else(|| a.status.map(|s| s.to_string())).unwrap_or_default();
            text.push_str(&format!("  attempt {} at {}: {} ({} ms)\n", a.number, moment(&a.at), printable(&came), a.took_ms));
        }
        text
    };
    let switch = |id: &str, enabled: bool| Request::patch(&["webhooks", id]).json(json!({"enabled": enabled}));
    match command {
        Webhooks::List => {
            let list = session.client().await?.whole(Request::get(&["webhooks"])).await?;
            let table = Table::new().name("id").name("state").text("url").text("told");
            let row = |w: wire::Webhook| vec![w.id, w.state, printable(&w.url), told(&w.events)];
            session.show_list(list, table, row, "no webhooks yet; make one: sid webhooks add URL")
        }
        Webhooks::Add(Add { url, events, description, content }) => {
            let mut body = given([("include", content.then(|| Value::from("content")))]);
            body["url"] = url.into();
            body["events"] = events.into();
            body["description"] = description.into();
            session.ask(Request::post(&["webhooks"]).json(body), "the webhook", show).await
        }
        Webhooks::Show { id } => session.ask(Request::get(&["webhooks", &id]), "the webhook", show).await,
        Webhooks::Disable { id } => session.ask(switch(&id, false), "the webhook", show).await,
        Webhooks::Enable { id } => session.ask(switch(&id, true), "the webhook", show).await,
        Webhooks::Rotate { id, overlap } => {
            let request = Request::post(&["webhooks", &id, "rotate"]).json(json!({"overlap_s": overlap}));
            session.ask(request, "the webhook", show).await
        }
        Webhooks::Test { id } => {
            session.ask(Request::post(&["webhooks", &id, "test"]).json(json!({})), "the delivery", show_delivery).await
        }
        Webhooks::Remove { id } => {
            session.client().await?.send(Request::delete(&["webhooks", &id])).await?;
            if session.out.json {
                return session.out.value(&json!({"id": id, "removed": true}));
            }
            session.out.line(&format!("{id} is gone"))
        }
        Webhooks::Deliveries { id, state, paging } => {
            let request = Request::get(&["webhooks", &id, "deliveries"]).query_if("state", state);
            let table = Table::new().name("id").name("at").name("event").name("state").number("attempts").number("status");
            let row = |d: wire::Delivery| {
                let status = d.status.map(|s| s.to_string()).unwrap_or_default();
                vec![d.id, moment(&d.at), d.event, d.state, d.attempts.to_string(), status]
            };
            session.list(request, &paging, table, row, "nothing was told yet; try: sid webhooks test ID").await
        }
        Webhooks::Delivery { id, delivery } => {
            session.ask(Request::get(&["webhooks", &id, "deliveries", &delivery]), "the delivery", show_delivery).await
        }
        Webhooks::Redeliver { id, delivery } => {
            let request = Request::post(&["webhooks", &id, "deliveries", &delivery, "redeliver"]).json(json!({}));
            session.ask(request, "the delivery", show_delivery).await
        }
    }
}
