//! Loading all that a run needs: one round trip, and only from the queue's start on.

use serde::Deserialize;
use sid_store::{Lease, Loaded};
use sid_types::{Block, BlockAccess, CallState, Owner, Team, Timestamp, User};

use crate::backend::PgStore;
use crate::blocks;
use crate::codec::Columns;
use crate::error::{Result, missing};
use crate::journal::fenced;
use crate::rows::{AgentRow, BlockRow, Conv, MessageRow, RunRow, TeamRow, UserRow, list};

/// What `sid.load` tells.
#[derive(Deserialize)]
struct Told {
    conv: Conv,
    run: Option<RunRow>,
    agent: Option<AgentRow>,
    user: Option<UserRow>,
    #[serde(deserialize_with = "list")]
    teams: Vec<TeamRow>,
    #[serde(deserialize_with = "list")]
    queue: Vec<MessageRow>,
    #[serde(deserialize_with = "list")]
    blocks: Vec<BlockRow>,
    contact: Option<Timestamp>,
}

pub(super) async fn load(store: &PgStore, lease: &Lease) -> Result<Loaded> {
    let told = tell(store, lease).await?;
    if let (Some(user), false) = (told.conv.user, told.conv.has_met) {
        // The first contact of the two makes the blocks that it then reads.
        let mut tx = store.begin(lease.scope.tenant()).await?;
        blocks::meet(&mut tx, told.conv.agent, user).await?;
        tx.commit().await?;
        return loaded(tell(store, lease).await?, lease);
    }
    loaded(told, lease)
}

async fn tell(store: &PgStore, lease: &Lease) -> Result<Told> {
    let call = store
        .call("SELECT sid.load($1, $2, $3, $4)")
        .bind(lease.scope.tenant().uuid())
        .bind(store.clock())
        .bind(lease.conversation.uuid())
        .bind(lease.run.uuid());
    let row = store.timely(call.fetch_one()).await?;
    let told: Option<String> = row.maybe_text(0)?;
    if told.is_none() {
        return Err(fenced(lease, None).into());
    }
    let told: Told = row.json(0)?;
    let conv = &told.conv;
    // The epoch decides, not the clock.
    let is_held = conv.holder.is_some() && conv.epoch == lease.epoch && conv.head == Some(lease.run);
    if is_held { Ok(told) } else { Err(fenced(lease, Some(conv.epoch)).into()) }
}

fn loaded(told: Told, lease: &Lease) -> Result<Loaded> {
    let Told { conv, run, agent, user, teams, queue, blocks, contact } = told;
    let journal = run.ok_or_else(|| fenced(lease, Some(conv.epoch)))?.journal(conv.agent)?;
    let mut open_calls = journal.calls;
    open_calls.retain(|c| c.state != CallState::Done);
    let (agent_id, user_id) = (conv.agent, conv.user);
    let mut core: Vec<Block> = Vec::with_capacity(blocks.len());
    for row in blocks {
        let linked = row.linked();
        let mut block = row.block()?;
        let is_own = block.owner == Owner::of_conversation(agent_id, user_id);
        block.access = if is_own { BlockAccess::Write } else { linked.unwrap_or(BlockAccess::Read) };
        core.push(block);
    }
    core.sort_by(|a, b| a.label.cmp(&b.label).then(a.id.cmp(&b.id)));
    Ok(Loaded {
        run: journal.run,
        agent: agent.ok_or(missing("agent"))?.agent()?,
        user: user.map(User::from),
        teams: teams.into_iter().map(Team::from).collect(),
        conversation: conv.conversation()?,
        queue: queue.into_iter().map(MessageRow::message).collect::<Result<_>>()?,
        blocks: core,
        open_calls,
        last_contact: contact,
    })
}
