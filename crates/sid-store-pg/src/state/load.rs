//! Loading all that a run needs: one round trip at most, and only from the queue's start on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sid_store::{Lease, Loaded};
use sid_types::{Block, BlockAccess, CallState, Membership, Message, Owner, Timestamp, User};

use crate::backend::PgStore;
use crate::begin::{Begun, begin};
use crate::blocks;
use crate::error::{Result, missing};
use crate::glance::Inquiry;
use crate::journal::fenced;
use crate::payload::Start;
use crate::rows::{AgentRow, BlockRow, Conv, MemberRow, MessageRow, RunRow, UserRow, list};

/// What `sid.load` tells.
#[derive(Deserialize)]
struct Told {
    conv: Conv,
    run: Option<RunRow>,
    agent: Option<AgentRow>,
    user: Option<UserRow>,
    #[serde(deserialize_with = "list")]
    teams: Vec<MemberRow>,
    /// The queue is the one that the caller has.
    is_same: Option<bool>,
    #[serde(deserialize_with = "list")]
    queue: Vec<MessageRow>,
    #[serde(deserialize_with = "list")]
    blocks: Vec<BlockRow>,
    contact: Option<Timestamp>,
}

pub(super) async fn load(store: &PgStore, lease: &Lease) -> Result<Loaded> {
    let kept = store.queues().get(lease.conversation);
    let rev = kept.as_ref().map(|(rev, _)| *rev);
    if let Some((began, begun)) = store.ahead().take(lease.run, store.test_time())
        && let Ok(Some(told)) = held(&begun, lease)
        // Nobody else has the lease yet.
        && told.conv.ttl_us.is_some_and(|ttl| began.elapsed() < Duration::from_micros(ttl.unsigned_abs()) / 2)
        // The queue that it counts on may be gone, and the first contact is yet to be made.
        && (told.is_same != Some(true) || rev == Some(told.conv.rev))
        && (told.conv.user.is_none() || told.conv.has_met)
    {
        begun.take_in(store).await?;
        return loaded(store, told, kept.map(|(_, queue)| queue), lease, began);
    }
    let (began, told) = tell(store, lease, rev).await?;
    if let (Some(user), false) = (told.conv.user, told.conv.has_met) {
        // The first contact of the two makes the blocks that it then reads.
        let mut tx = store.begin(lease.scope.tenant()).await?;
        blocks::meet(&mut tx, told.conv.agent, user).await?;
        tx.commit().await?;
        let (began, told) = tell(store, lease, None).await?;
        return loaded(store, told, None, lease, began);
    }
    loaded(store, told, kept.map(|(_, queue)| queue), lease, began)
}

/// `rev`: the revision whose queue is known here. With when it began.
async fn tell(store: &PgStore, lease: &Lease, rev: Option<i64>) -> Result<(Instant, Told)> {
    let start = Start { conv: lease.conversation.uuid(), run: lease.run, rev, look: Inquiry::foreseen(store, &lease.scope) };
    let begun = begin(store, lease.scope.tenant(), &start, None).await?;
    let begun = begun.ok_or_else(|| fenced(lease, None))?;
    let told = held(&begun, lease)?.ok_or_else(|| fenced(lease, None))?;
    let began = begun.began;
    begun.take_in(store).await?;
    Ok((began, told))
}

/// What was told; `None`: the conversation is not there.
///
/// Errors: `Fenced`.
fn held(begun: &Begun, lease: &Lease) -> Result<Option<Told>> {
    let Some(told) = begun.loaded::<Told>()? else { return Ok(None) };
    let conv = &told.conv;
    // The epoch decides, not the clock.
    let is_held = conv.holder.is_some() && conv.epoch == lease.epoch && conv.head == Some(lease.run);
    if is_held { Ok(Some(told)) } else { Err(fenced(lease, Some(conv.epoch)).into()) }
}

fn loaded(store: &PgStore, told: Told, kept: Option<Arc<Vec<Message>>>, lease: &Lease, began: Instant) -> Result<Loaded> {
    let Told { conv, run, agent, user, teams, is_same, queue, blocks, contact } = told;
    let queue = match kept.filter(|_| is_same == Some(true)) {
        Some(kept) => kept,
        None => Arc::new(queue.into_iter().map(MessageRow::message).collect::<Result<_>>()?),
    };
    store.queues().keep(conv.id, conv.rev, Arc::clone(&queue));
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
    let user = user.map(User::from);
    let teams = match &user {
        Some(user) => teams.into_iter().map(|team| team.membership(user)).collect::<Result<Vec<Membership>>>()?,
        None => Vec::new(),
    };
    Ok(Loaded {
        run: journal.run,
        agent: agent.ok_or(missing("agent"))?.agent()?,
        user,
        teams,
        conversation: conv.conversation()?,
        queue: queue.to_vec(),
        blocks: core,
        open_calls,
        last_contact: contact,
        began,
    })
}
