//! What an agent begins by itself, and what holds it back: heartbeats, sleep, quiet hours, caps, silence (ADR 0029).

mod caps;
mod heartbeat;
mod quiet;
mod silence;

use jiff::Timestamp;
use sid_store::{PageRequest, StoreError};
use sid_types::{Agent, AgentId, Held, HeldBy, Scope, UserId};

pub use heartbeat::HEARTBEAT_NAME;
pub(crate) use heartbeat::{Beat, keep, note, spec_in_force, veto};
pub(crate) use quiet::Quiet;
pub use silence::NO_REPLY;
pub(crate) use silence::{SAID_NOTHING, is_silent, may_become_silent};

use crate::engine::Inner;

/// What holds back a run that nobody asks for at this moment, and until when. `minds_quiet_hours`: whether it waits until they are over.
pub(crate) async fn held_back(
    inner: &Inner,
    scope: &Scope,
    agent: &Agent,
    user: Option<UserId>,
    minds_quiet_hours: bool,
    now: Timestamp,
) -> Result<Option<Held>, StoreError> {
    if minds_quiet_hours
        && let Some(user) = user
        && let Some(until) = Quiet::of(agent, &inner.store.user(scope, user).await?).ends(now)
    {
        return Ok(Some(Held { by: HeldBy::QuietHours, at: now, until: Some(until) }));
    }
    caps::reached(inner, scope, agent, now).await
}

/// Whether the human has written to the agent since then, in any of their conversations.
async fn has_written(inner: &Inner, scope: &Scope, agent: AgentId, user: Option<UserId>, since: Timestamp) -> Result<bool, StoreError> {
    /// Conversations, and runs of each, that are looked at.
    const MOST: usize = 100;
    let talks = inner.store.conversations(scope, Some(agent), user, PageRequest { after: None, limit: MOST }).await?;
    for talk in talks.items.iter().filter(|talk| talk.user == user && talk.last_at.is_some()) {
        let runs = inner.store.runs(scope, talk.id, MOST).await?;
        if runs.iter().any(|run| !run.priority.is_self_begun() && run.created_at > since) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a sleep that began then was ended by the human.
pub(crate) async fn was_woken(
    inner: &Inner,
    scope: &Scope,
    agent: AgentId,
    user: Option<UserId>,
    asleep_since: Timestamp,
) -> Result<bool, StoreError> {
    has_written(inner, scope, agent, user, asleep_since).await
}
