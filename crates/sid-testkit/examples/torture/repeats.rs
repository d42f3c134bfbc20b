//! Every request that makes something, sent five times at once through a network that loses answers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use sid_testkit::rig::api::messages_path;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Api, Failure, Faults, Proxy};

use crate::{Context, Sheet};

const COPIES: usize = 5;

/// One kind of request.
struct Kind {
    name: &'static str,
    path: String,
    body: Value,
    /// The same key with this body is refused.
    other: Value,
    /// Where what was made is listed, and the text that it has there, once.
    listed: Option<(String, String)>,
}

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let rounds = context.size(3, 15);
    let fleet = context.fleet().replicas(context.size(2, 3)).start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(1, 1).await?;
    let mut proxies = Vec::new();
    for (at, server) in fleet.servers.iter().enumerate() {
        let proxy = Proxy::start(([127, 0, 0, 1], server.plan.port).into(), context.seed + at as u64).await?;
        proxy.set(Faults { lose_answers: 0.3, ..Faults::default() });
        proxies.push(proxy);
    }
    // One connection per request, so that each answer is lost or not on its own.
    let lossy = api.at(proxies.iter().map(Proxy::url).collect()).unpooled();
    let (mut requests, mut differ, mut refused, mut twice, mut wrong) = (0, Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        for kind in kinds(round, &conversations[0]) {
            let key = format!("{} {round}", kind.name);
            let copies = (0..COPIES).map(|_| send(&lossy, &kind, &kind.body, &key));
            let answers = futures::future::join_all(copies).await;
            requests += COPIES;
            let mut bodies = BTreeSet::new();
            for answer in answers {
                match answer {
                    Ok(body) => drop(bodies.insert(body)),
                    Err(failure) => wrong.push(format!("{key}: {failure}")),
                }
            }
            if bodies.len() > 1 {
                differ.push(format!("{key}: {bodies:?}"));
            }
            match send(&lossy, &kind, &kind.other, &key).await {
                Err(Failure::Refused { status: 422, .. }) => {}
                other => refused.push(format!("{key} with another body: {other:?}")),
            }
            if let Some((path, text)) = &kind.listed {
                // Blocks of one owner are few: their list has no pages.
                let items = if path.starts_with("/blocks") { whole(&api, path).await? } else { api.all(path).await? };
                let found = items.iter().filter(|item| item.to_string().contains(text.as_str())).count();
                if found != 1 {
                    twice.push(format!("{key}: {found} of them in {path}"));
                }
            }
        }
    }
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    let found = examine(&api, &conversations, Vec::new(), Depth { runs: 1_000, ..Depth::default() }).await?;
    let lost: u64 = proxies.iter().map(|p| p.counts().1).sum();
    sheet.fact("requests, and answers that were lost", format!("{requests}, {lost}"));
    sheet.nothing("effects other than one", &twice);
    sheet.nothing("answers that differ among the copies", &differ);
    sheet.nothing("other bodies under the same key that were not 422", &refused);
    sheet.nothing("requests that failed", &wrong);
    sheet.invariants(&found);
    Ok(())
}

async fn whole(api: &Api, path: &str) -> Result<Vec<Value>> {
    let list: Value = api.get(path).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

async fn send(api: &Api, kind: &Kind, body: &Value, key: &str) -> Result<String, Failure> {
    api.patiently(Method::POST, &kind.path, Some(body), Some(key), Duration::from_secs(30)).await
}

fn kinds(round: usize, conversation: &str) -> Vec<Kind> {
    let name = |what: &str| format!("{what}-{round}");
    let quoted = |text: &str| format!("\"{text}\"");
    let owner = json!({"type": "agent", "agent": "@agent0"});
    let listed = |path: &str, text: String| Some((path.to_owned(), text));
    vec![
        Kind {
            name: "user",
            path: "/users".into(),
            body: json!({"handle": name("user")}),
            other: json!({"handle": name("another-user")}),
            listed: listed("/users", quoted(&name("user"))),
        },
        Kind {
            name: "team",
            path: "/teams".into(),
            body: json!({"name": name("team")}),
            other: json!({"name": name("another-team")}),
            listed: listed("/teams", quoted(&name("team"))),
        },
        Kind {
            name: "agent",
            path: "/agents".into(),
            body: json!({"name": name("agent")}),
            other: json!({"name": name("another-agent")}),
            listed: listed("/agents", quoted(&name("agent"))),
        },
        Kind {
            name: "conversation",
            path: "/conversations".into(),
            body: json!({"agent": "@agent0", "user": "@user0", "key": name("talk")}),
            other: json!({"agent": "@agent0", "user": "@user0", "key": name("another-talk")}),
            listed: listed("/conversations", quoted(&name("talk"))),
        },
        Kind {
            name: "block",
            path: "/blocks".into(),
            body: json!({"owner": owner, "label": name("block")}),
            other: json!({"owner": owner, "label": name("another-block")}),
            listed: listed("/blocks?owner_type=agent&agent=@agent0", quoted(&name("block"))),
        },
        // With a time of its own: a passage without one is told the moment of whichever copy was stored last.
        Kind {
            name: "passage",
            path: "/passages".into(),
            body: json!({"owner": owner, "text": name("passage"), "at": "2026-01-01T00:00:00Z"}),
            other: json!({"owner": owner, "text": name("another-passage")}),
            listed: listed("/passages?owner_type=agent&agent=@agent0", quoted(&name("passage"))),
        },
        Kind {
            name: "import",
            path: format!("/conversations/{conversation}/import"),
            body: json!({"messages": [{"role": "user", "text": name("import")}]}),
            other: json!({"messages": [{"role": "user", "text": name("another-import")}]}),
            listed: listed(&messages_path(conversation), quoted(&name("import"))),
        },
        Kind {
            name: "message",
            path: messages_path(conversation),
            body: json!({"text": name("message")}),
            other: json!({"text": name("another-message")}),
            listed: listed(&messages_path(conversation), quoted(&name("message"))),
        },
    ]
}
