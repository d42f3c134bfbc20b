//! Whom a turn's agent reaches.

use sid_store::{Loaded, PageRequest, Store, StoreError, TaskFilter};
use sid_types::{Agent, Conversation, Ego, Scope, Sender};

/// Most colleagues of a turn: the model reads all their names.
const MOST_COLLEAGUES: usize = 100;

/// The colleagues of a turn's agent, and who has woken it.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(super) me: Agent,
    /// Whom it may speak with, by name.
    pub(super) colleagues: Vec<Agent>,
    /// The ego in whose service it is.
    pub(super) ego: Option<Ego>,
    /// The agent that has woken it, if one has.
    pub(super) sender: Option<Sender>,
}

impl Reach {
    /// Of a loaded run; `None` when its agent may speak with nobody.
    pub(crate) async fn of(store: &dyn Store, scope: &Scope, loaded: &Loaded) -> Result<Option<Self>, StoreError> {
        let run = loaded.run.id;
        let sender = loaded.queue.iter().filter(|m| m.run == Some(run)).find_map(|m| m.sender.as_deref()).cloned();
        let ego = match sender.as_ref().and_then(|s| s.ego.as_deref()) {
            Some(name) => found(store.ego(scope, name).await)?.filter(|ego| ego.spec.has(loaded.agent.id)),
            None => ego_of(store, scope, &loaded.conversation).await?,
        };
        if loaded.agent.spec.colleagues.is_empty() && ego.is_none() {
            return Ok(None);
        }
        let me = loaded.agent.clone();
        let is_reached = |other: &Agent| {
            other.id != me.id
                && (ego.as_ref().is_some_and(|ego| ego.spec.has(other.id)) || me.spec.colleagues.iter().any(|meant| meant.is(other)))
        };
        let mut colleagues = store.roster(scope).await?;
        colleagues.retain(is_reached);
        // Those of its ego before others.
        colleagues.sort_by_key(|other| !ego.as_ref().is_some_and(|ego| ego.spec.has(other.id)));
        colleagues.truncate(MOST_COLLEAGUES);
        Ok((!colleagues.is_empty()).then_some(Self { me, colleagues, ego, sender }))
    }

    /// Whether it is in the service of an ego.
    pub(crate) const fn is_of_ego(&self) -> bool {
        self.ego.is_some()
    }

    /// Whether what `writer` writes is text from outside for `reader`. Those in the service of one ego are of one side.
    pub(super) fn is_outside(&self, reader: &Agent, writer: &Agent) -> bool {
        let is_of_ego = self.ego.as_ref().is_some_and(|ego| ego.spec.has(reader.id) && ego.spec.has(writer.id));
        !is_of_ego && !reader.spec.trusts.iter().any(|meant| meant.is(writer))
    }
}

/// The ego that speaks in a conversation, or that has the task made which is worked on there.
pub(crate) async fn ego_of(store: &dyn Store, scope: &Scope, conversation: &Conversation) -> Result<Option<Ego>, StoreError> {
    if let Some(name) = Ego::named_in(conversation.key.as_deref()) {
        return Ok(found(store.ego(scope, name).await)?.filter(|ego| ego.spec.spokesperson == conversation.agent));
    }
    if !conversation.key.as_deref().is_some_and(|key| key.starts_with("task:")) {
        return Ok(None);
    }
    let filter = TaskFilter { conversation: Some(conversation.id), ..TaskFilter::default() };
    let task = store.tasks(scope, &filter, PageRequest { after: None, limit: 1 }).await?.items.pop();
    let Some(to) = task.filter(|task| task.parent.is_none()).and_then(|task| task.report_to) else { return Ok(None) };
    let Some(there) = found(store.conversation(scope, to).await)? else { return Ok(None) };
    let Some(name) = Ego::named_in(there.key.as_deref()) else { return Ok(None) };
    Ok(found(store.ego(scope, name).await)?.filter(|ego| ego.spec.spokesperson == conversation.agent))
}

/// `None` for what is not there.
fn found<T>(looked: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
