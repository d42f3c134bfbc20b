//! What became of facts whose place was taken, when what took it is gone: the mark is taken away again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sid_memory::facts::{SUPERSEDED, UNTIL};
use sid_store::{EraseTarget, PageRequest, StoreError};
use sid_types::{NewPassage, Owner, Passage, PassageId, Scope};
use tracing::{info, warn};

use crate::engine::Inner;
use crate::{CoreError, Engine};

/// Passages that are read at once.
const PAGE: usize = 500;

/// Which passage took the place of which.
pub(crate) type Successors = BTreeMap<PassageId, PassageId>;

/// Those of one owner, as they are now.
pub(crate) async fn of(inner: &Arc<Inner>, scope: &Scope, owner: Owner) -> Result<Successors, StoreError> {
    let (marked, _) = look(inner, scope, owner).await?;
    Ok(marked.into_iter().filter_map(|p| Some((p.id, p.provenance.superseded_by?))).collect())
}

/// The passages that bear a mark, and the ids of all.
async fn look(inner: &Arc<Inner>, scope: &Scope, owner: Owner) -> Result<(Vec<Passage>, BTreeSet<PassageId>), StoreError> {
    let (mut marked, mut all, mut after) = (Vec::new(), BTreeSet::new(), None);
    loop {
        let page = inner.store.list(scope, owner, PageRequest { after, limit: PAGE }).await?;
        all.extend(page.items.iter().map(|p| p.id));
        marked.extend(page.items.into_iter().filter(|p| p.provenance.superseded_by.is_some()));
        after = page.next;
        if after.is_none() {
            return Ok((marked, all));
        }
    }
}

/// Facts whose place was taken by what is gone are true again, or have their place taken by what had taken that one's: `before` knows. Again it
/// changes nothing.
///
/// Errors: the store's.
pub(crate) async fn mend(inner: &Arc<Inner>, scope: &Scope, owner: Owner, before: &Successors) -> Result<usize, StoreError> {
    let (marked, all) = look(inner, scope, owner).await?;
    let is_gone = |passage: &Passage| passage.provenance.superseded_by.is_some_and(|by| !all.contains(&by));
    let mended: Vec<NewPassage> = marked.into_iter().filter(is_gone).map(|passage| without_mark(passage, &all, before)).collect();
    let count = mended.len();
    if count > 0 {
        inner.store.upsert(scope, mended).await?;
        inner.new_memory.notify_one();
        info!(count, "facts stand again: what had taken their place is gone");
    }
    Ok(count)
}

fn without_mark(passage: Passage, all: &BTreeSet<PassageId>, before: &Successors) -> NewPassage {
    let Passage { id, owner, mut text, mut tags, at, mut provenance, .. } = passage;
    // A chain is no longer than there are links.
    let mut next = provenance.superseded_by;
    for _ in 0..=before.len() {
        match next {
            Some(by) if !all.contains(&by) => next = before.get(&by).copied(),
            _ => break,
        }
    }
    provenance.superseded_by = next.filter(|by| all.contains(by));
    if provenance.superseded_by.is_none() {
        tags.retain(|tag| tag != SUPERSEDED);
        if let Some((_, bare)) = text.strip_prefix(UNTIL).and_then(|rest| rest.split_once(") ")) {
            text = bare.to_owned();
        }
    }
    NewPassage { id, owner, text, tags, at, provenance }
}

impl Engine {
    /// Deletes a passage; a fact whose place it had taken stands again. Answers whether it was there.
    pub async fn delete_passage(&self, scope: &Scope, passage: PassageId) -> Result<bool, CoreError> {
        let owner = match self.inner.store.passage(scope, passage).await {
            Ok(found) => found.owner,
            Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let before = of(&self.inner, scope, owner).await?;
        let deleted = self.inner.store.delete(scope, &[passage]).await? > 0;
        mend(&self.inner, scope, owner, &before).await?;
        Ok(deleted)
    }

    /// What there is to mend when this is erased.
    pub(crate) async fn before_erasure(&self, scope: &Scope, target: EraseTarget) -> Result<Option<(Owner, Successors)>, StoreError> {
        // With a user or an agent go all its facts.
        let EraseTarget::Conversation(id) = target else { return Ok(None) };
        let talk = match self.inner.store.conversation(scope, id).await {
            Ok(talk) => talk,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let owner = Owner::of_conversation(talk.agent, talk.user);
        Ok(Some((owner, of(&self.inner, scope, owner).await?)))
    }

    /// Mends what an erasure has left. What fails here is done with the next day's facts.
    pub(crate) async fn after_erasure(&self, scope: &Scope, known: Option<(Owner, Successors)>) {
        let Some((owner, before)) = known else { return };
        if let Err(error) = mend(&self.inner, scope, owner, &before).await {
            warn!(%error, "facts whose place was taken by what is erased still say so");
        }
    }
}
