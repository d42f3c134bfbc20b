//! Hand-offs: work that one assistant leaves for another, picked up once.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use sid_store::{ItemChange, ItemWrite, NewItem, StoreError};
use sid_types::{AgentId, Item, ItemId, ItemKind, Owner, Provenance, Scope, Source};

use crate::error::{ContextError, Result};
use crate::service::{ContextService, agent_of, by, human_of, of_user, text_of};

const OPEN: &str = "open";
const CLAIMED: &str = "claimed";
const DONE: &str = "done";
const WITHDRAWN: &str = "withdrawn";

/// Who works on a hand-off, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandoffState {
    /// The assistant that left it; `None` = the user.
    pub from: Option<AgentId>,
    /// The assistant that works on it.
    pub claimed_by: Option<AgentId>,
    /// Until when it is kept for that one.
    pub claimed_until: Option<Timestamp>,
    /// What came of it.
    pub result: Option<String>,
}

impl HandoffState {
    /// What is in a hand-off.
    #[must_use]
    pub fn read(item: &Item) -> Self {
        let known = |name: &str| Some(text_of(&item.data, name)).filter(|t| !t.is_empty());
        Self {
            from: known("from").and_then(|t| t.parse().ok()),
            claimed_by: known("claimed_by").and_then(|t| t.parse().ok()),
            claimed_until: known("claimed_until").and_then(|t| t.parse().ok()),
            result: known("result").map(str::to_owned),
        }
    }

    fn write(&self) -> Map<String, serde_json::Value> {
        let mut data = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                data.insert(name.into(), json!(value));
            }
        };
        put("from", self.from.map(|id| id.to_string()));
        put("claimed_by", self.claimed_by.map(|id| id.to_string()));
        put("claimed_until", self.claimed_until.map(|at| at.to_string()));
        put("result", self.result.clone());
        data
    }
}

impl ContextService {
    /// Leaves work for `recipient`, or for whichever of the user's assistants comes first. `untrusted`: sources that are not trusted, which whoever
    /// leaves it had read.
    pub async fn hand_off(
        &self,
        scope: &Scope,
        id: Option<ItemId>,
        recipient: Option<AgentId>,
        title: String,
        body: String,
        untrusted: Vec<Source>,
    ) -> Result<Item> {
        let state = HandoffState { from: agent_of(scope), ..HandoffState::default() };
        let new = NewItem {
            id: id.unwrap_or_else(ItemId::new),
            body,
            recipient,
            state: OPEN.into(),
            data: state.write(),
            provenance: Provenance { untrusted, ..by(scope, "api") },
            ..NewItem::new(ItemKind::Handoff, Owner::User { user: human_of(scope)? }, title)
        };
        self.write_one(scope, ItemWrite::Make(Box::new(new))).await
    }

    /// Picks a hand-off up: it is the caller's for `Policy::claim_s`, and nobody else's. Again prolongs it. Of several that claim at once,
    /// one gets it.
    ///
    /// Errors: `Taken` (somebody has it, it is over, or it is for another assistant).
    pub async fn claim(&self, scope: &Scope, handoff: ItemId) -> Result<Item> {
        let known = self.handoff(scope, handoff).await?;
        let now = self.clock.now();
        let mut state = HandoffState::read(&known);
        let me = agent_of(scope);
        let is_mine = known.state == CLAIMED && state.claimed_by == me;
        let is_free = known.state == OPEN || (known.state == CLAIMED && state.claimed_until.is_none_or(|until| until <= now));
        if !is_mine && !is_free {
            return Err(taken(&known, &state));
        }
        // The user may always; an assistant what is for it, or for anybody.
        if me.is_some() && known.recipient.is_some_and(|recipient| Some(recipient) != me) {
            return Err(ContextError::Taken { state: "for another assistant".into(), detail: "only that one picks it up".into() });
        }
        state.claimed_by = me;
        state.claimed_until = Some(now + SignedDuration::from_secs(i64::from(self.policy.claim_s)));
        self.set(scope, &known, CLAIMED, &state).await
    }

    /// Ends a claimed hand-off with what came of it. `untrusted`: as for [`Self::hand_off`], of who ends it.
    pub async fn finish_handoff(&self, scope: &Scope, handoff: ItemId, result: Option<String>, untrusted: &[Source]) -> Result<Item> {
        let mut known = self.handoff(scope, handoff).await?;
        let mut state = self.claimed(scope, &known)?;
        state.result = result;
        state.claimed_until = None;
        Source::add(&mut known.provenance.untrusted, untrusted);
        self.set(scope, &known, DONE, &state).await
    }

    /// Gives a claimed hand-off back: it is open again.
    pub async fn give_back(&self, scope: &Scope, handoff: ItemId) -> Result<Item> {
        let known = self.handoff(scope, handoff).await?;
        let mut state = self.claimed(scope, &known)?;
        (state.claimed_by, state.claimed_until) = (None, None);
        self.set(scope, &known, OPEN, &state).await
    }

    /// Takes a hand-off back that nobody has finished: for who left it, and for the user.
    pub async fn withdraw(&self, scope: &Scope, handoff: ItemId) -> Result<Item> {
        let known = self.handoff(scope, handoff).await?;
        let mut state = HandoffState::read(&known);
        if known.state == DONE || known.state == WITHDRAWN {
            return Err(taken(&known, &state));
        }
        if agent_of(scope).is_some() && state.from != agent_of(scope) {
            return Err(StoreError::Forbidden { what: "hand-off", why: "only who left it, or the user, takes it back" }.into());
        }
        (state.claimed_by, state.claimed_until) = (None, None);
        self.set(scope, &known, WITHDRAWN, &state).await
    }

    /// Hand-offs that the caller may pick up, the last changed first: open ones, and those whose claim has run out.
    pub async fn waiting_handoffs(&self, scope: &Scope, most: usize) -> Result<Vec<Item>> {
        let mut filter = of_user(scope)?.kind(ItemKind::Handoff);
        filter.states = vec![OPEN.into(), CLAIMED.into()];
        let (now, me) = (self.clock.now(), agent_of(scope));
        let mut items: Vec<Item> = self.all(scope, &filter, 1_000).await?.into_iter().map(|seen| seen.item).collect();
        items.retain(|item| {
            let state = HandoffState::read(item);
            let is_free = item.state == OPEN || state.claimed_until.is_none_or(|until| until <= now) || state.claimed_by == me;
            let is_for_me = me.is_none() || item.recipient == me || (item.recipient.is_none() && state.from != me);
            is_free && is_for_me
        });
        items.truncate(most);
        Ok(items)
    }

    async fn handoff(&self, scope: &Scope, id: ItemId) -> Result<Item> {
        self.of_kind(scope, id, ItemKind::Handoff, "hand-off").await
    }

    /// The state of a hand-off that the caller has claimed.
    fn claimed(&self, scope: &Scope, item: &Item) -> Result<HandoffState> {
        let state = HandoffState::read(item);
        let is_mine = item.state == CLAIMED && state.claimed_by == agent_of(scope);
        let is_over = state.claimed_until.is_none_or(|until| until <= self.clock.now());
        if !is_mine {
            return Err(taken(item, &state));
        }
        if is_over {
            return Err(ContextError::Taken { state: "no longer yours".into(), detail: "the claim ran out: claim it again".into() });
        }
        Ok(state)
    }

    async fn set(&self, scope: &Scope, known: &Item, to: &str, state: &HandoffState) -> Result<Item> {
        let provenance = Provenance { untrusted: known.provenance.untrusted.clone(), ..by(scope, "api") };
        let change = ItemChange { state: Some(to.into()), data: Some(state.write()), provenance, ..ItemChange::default() };
        let write = ItemWrite::Change { item: known.id, expected_version: Some(known.version), change: Box::new(change) };
        match self.write_one(scope, write).await {
            Err(ContextError::Store(StoreError::Conflict { .. })) => {
                let now = self.handoff(scope, known.id).await?;
                Err(taken(&now, &HandoffState::read(&now)))
            }
            done => done,
        }
    }
}

fn taken(item: &Item, state: &HandoffState) -> ContextError {
    let detail = match (&item.state[..], state.claimed_by, state.claimed_until) {
        (CLAIMED, Some(agent), Some(until)) => format!("{agent} works on it until {until}"),
        (CLAIMED, None, Some(until)) => format!("the user works on it until {until}"),
        (OPEN, ..) => "claim it first".into(),
        _ => "it is over".into(),
    };
    ContextError::Taken { state: item.state.clone(), detail }
}
