//! `sid reindex`: the change to another embedder, watched.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Request, read};
use crate::error::CliError;
use crate::output::progress;
use crate::output::table::Table;
use crate::output::text::thousands;
use crate::session::Session;
use crate::wire::Generation;

const PAUSE: Duration = Duration::from_secs(1);
/// A server that may switch does so within a few looks.
const SWITCH_PATIENCE: u32 = 60;

/// Watch memory being embedded anew, until it is searched with the new vectors (operators only).
///
/// The server does the work, in the background, as soon as its configuration has a `[next_embedder]`; searches use the old vectors until all new
/// ones are there. Leaving this command stops nothing on a server, and it can be called again at any time. Without a server the work is
/// done as long as this command runs, and goes on where it was at the next call.
#[derive(Debug, Args)]
pub struct Reindex {
    /// Say how far it is and leave
    #[arg(long)]
    status: bool,
    /// When it is done, drop the vectors of embedders that are no longer configured
    #[arg(long, conflicts_with = "status")]
    drop_old: bool,
}

pub(crate) async fn run(args: Reindex, session: &Session) -> Result<(), CliError> {
    let client = session.client().await?;
    if !args.status {
        wait(client, session).await?;
    }
    if args.drop_old {
        drop_old(client, session).await?;
    }
    let list = client.whole(list()).await?;
    let table = Table::new().name("generation").name("searched").name("wanted").number("done").number("of").text("");
    session.show_list(list, table, row, "nothing is embedded: embedder.kind is \"none\"")
}

fn list() -> Request {
    Request::get(&["generations"])
}

fn row(g: Generation) -> Vec<String> {
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let note = match (g.is_active, g.is_configured) {
        (true, false) => "this server has no embedder for it: search goes by words and by its own vectors",
        (false, false) => "no longer configured: --drop-old frees its space",
        _ => "",
    };
    let all = thousands(g.indexed + g.pending);
    vec![g.id, yes(g.is_active), yes(g.is_wanted), thousands(g.indexed), all, note.to_owned()]
}

/// Returns when the wanted generation is searched and complete.
async fn wait(client: &Client, session: &Session) -> Result<(), CliError> {
    let mut bar = None;
    let mut complete_for = 0;
    loop {
        let known: Result<Vec<Generation>, CliError> =
            client.whole(list()).await?.items.into_iter().map(|item: Value| read(item, "a generation")).collect();
        let known = known?;
        let Some(wanted) = known.iter().find(|g| g.is_wanted) else { return Ok(()) };
        if wanted.is_active && wanted.pending == 0 {
            break;
        }
        let bar = bar.get_or_insert_with(|| progress::items(&session.out, "embedding", wanted.indexed + wanted.pending));
        bar.set_length(wanted.indexed + wanted.pending);
        bar.set_position(wanted.indexed);
        complete_for = if wanted.pending == 0 { complete_for + 1 } else { 0 };
        if complete_for > SWITCH_PATIENCE {
            let active = known.iter().find(|g| g.is_active).map_or("none", |g| g.id.as_str());
            let message = format!("{} is complete, and memory is searched with {active} all the same", wanted.id);
            return Err(CliError::failed(
                "SID-CLI-NOT-SWITCHED",
                message,
                "another server has another configuration: give all of them the same [embedder] and [next_embedder], then restart this one",
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(())
}

async fn drop_old(client: &Client, session: &Session) -> Result<(), CliError> {
    let mut bar = None;
    loop {
        let answer = client.value(Request::post(&["generations", "drop-old"])).await?;
        let Some(left) = answer["left"].as_u64() else { return Err(CliError::odd_answer("old generations", "it has no `left`")) };
        if left == 0 {
            break;
        }
        let bar = bar.get_or_insert_with(|| progress::items(&session.out, "dropping", left));
        bar.set_position(bar.length().unwrap_or(left).saturating_sub(left));
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(())
}
