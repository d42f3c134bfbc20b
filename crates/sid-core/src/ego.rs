//! Egos: their blocks and who is let in on them.
//!
//! A block of an ego is the spokesperson's, with each user or with all, and is linked to the members. Nothing else keeps egos together: a turn
//! that speaks for one has its members as colleagues ([`crate::colleague`]).

use std::collections::HashSet;

use parking_lot::Mutex;
use sid_store::{NewBlock, NewConversation, PageRequest, Store, StoreError};
use sid_types::{
    AgentId, Block, BlockAccess, BlockId, BlockTemplate, Conversation, ConversationId, Ego, EgoMemory, EgoSpec, Owner, Provenance, Scope,
    TenantId, Timestamp, UserId,
};

use crate::{CoreError, Engine};

/// Most users of egos whose blocks are remembered to be in order.
const MOST_KNOWN: usize = 100_000;

/// An ego as it was put once, with a user. One that is made anew under the same name counts its versions from 1 again, but not its age.
type Known = (TenantId, String, Timestamp, u64, UserId);

/// For which users the blocks of which egos are in order: nobody looks again.
#[derive(Default)]
pub(crate) struct KnownEgos(Mutex<HashSet<Known>>);

impl KnownEgos {
    fn has(&self, known: &Known) -> bool {
        self.0.lock().contains(known)
    }

    fn add(&self, known: Known) {
        let mut all = self.0.lock();
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(known);
    }

    pub(crate) fn forget_all(&self) {
        self.0.lock().clear();
    }
}

impl Engine {
    /// Makes an ego, or puts this one in the place of the one of this name. Its members see its blocks from their next turn on, and who is no member
    /// any more sees them no more.
    ///
    /// Errors: as [`EgoStore::put_ego`](sid_store::EgoStore::put_ego); `Invalid` for the name of an agent, for a spokesperson of another ego, and for
    /// a block's label that one of its agents has.
    pub async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, CoreError> {
        let store = &*self.inner.store;
        sid_store::check_ego(name, &spec)?;
        if !scope.is_tenant_wide() {
            return Err(sid_store::NO_EGO.into());
        }
        check(store, scope, name, &spec).await?;
        let known = store.egos(scope).await?.into_iter().find(|ego| ego.name == name);
        let version = known.as_ref().map_or(0, |ego| ego.version);
        if let Some(expected) = expected.filter(|expected| *expected != version) {
            return Err(StoreError::Conflict { expected, found: version }.into());
        }
        // Who loses sight of blocks loses it first: whatever ends this half-way has let in nobody too many, and putting it again ends it. And once
        // more afterwards, for users who have spoken with the old one meanwhile.
        if let Some(old) = &known {
            unlink(store, scope, &old.spec, Some(&spec), None).await?;
        }
        let ego = store.put_ego(scope, name, spec, Some(version)).await?;
        if let Some(old) = &known {
            unlink(store, scope, &old.spec, Some(&ego.spec), None).await?;
        }
        if ego.spec.memory == EgoMemory::Shared {
            self.let_in(scope, &ego, None).await?;
        }
        Ok(ego)
    }

    /// Forgets an ego. Its agents stay, and so do its blocks, with the spokesperson alone.
    pub async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), CoreError> {
        let store = &*self.inner.store;
        if !scope.is_tenant_wide() {
            return Err(sid_store::NO_EGO.into());
        }
        let known = store.ego(scope, name).await?;
        if let Some(expected) = expected.filter(|expected| *expected != known.version) {
            return Err(StoreError::Conflict { expected, found: known.version }.into());
        }
        unlink(store, scope, &known.spec, None, None).await?;
        store.drop_ego(scope, name, Some(known.version)).await?;
        unlink(store, scope, &known.spec, None, None).await
    }

    /// The conversation of a user with an ego, opened at first use with the blocks of both, and whether it is new. `key`: the application's own name
    /// for it.
    pub async fn open_ego(&self, scope: &Scope, ego: &Ego, user: UserId, key: &str) -> Result<(Conversation, bool), CoreError> {
        let store = &*self.inner.store;
        let spec = &ego.spec;
        if spec.memory == EgoMemory::PerUser && !spec.blocks.is_empty() {
            let known = (scope.tenant(), ego.name.clone(), ego.created_at, ego.version, user);
            if !self.inner.egos.has(&known) {
                self.let_in(scope, ego, Some(user)).await?;
                self.inner.egos.add(known);
            }
        }
        let new = NewConversation { agent: spec.spokesperson, user: Some(user), key: Some(Ego::key_of(&ego.name, key)) };
        Ok(store.open_conversation(scope, ConversationId::new(), new).await?)
    }

    /// Lets the agents of an ego in on its blocks, those with this user or those with all. Where it was put anew meanwhile, who has left may have been
    /// let in again: that is taken back.
    async fn let_in(&self, scope: &Scope, ego: &Ego, user: Option<UserId>) -> Result<(), CoreError> {
        let store = &*self.inner.store;
        let agent = ego.spec.spokesperson;
        let owner = user.map_or(Owner::Agent { agent }, |user| Owner::Pair { agent, user });
        link(store, scope, &ego.spec, owner, user).await?;
        let now = match store.ego(scope, &ego.name).await {
            Ok(now) => Some(now.spec),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        unlink(store, scope, &ego.spec, now.as_ref(), Some(owner)).await
    }

    /// Takes an agent that is to be erased out of the egos that it was in; an ego goes with its spokesperson or its last member.
    pub(crate) async fn leave_egos(&self, scope: &Scope, agent: AgentId) -> Result<(), CoreError> {
        let store = &*self.inner.store;
        if !scope.is_tenant_wide() {
            return Ok(());
        }
        for ego in store.egos(scope).await?.into_iter().filter(|ego| ego.spec.has(agent)) {
            let mut spec = ego.spec;
            spec.members.retain(|id| *id != agent);
            if spec.spokesperson == agent || spec.members.is_empty() {
                store.drop_ego(scope, &ego.name, Some(ego.version)).await?;
            } else {
                store.put_ego(scope, &ego.name, spec, Some(ego.version)).await?;
            }
        }
        Ok(())
    }
}

async fn check(store: &dyn Store, scope: &Scope, name: &str, spec: &EgoSpec) -> Result<(), CoreError> {
    let refused = |why: String| Err(CoreError::Invalid(why));
    let agents = store.roster(scope).await?;
    if agents.iter().any(|agent| agent.spec.name == name) {
        return refused(format!("there is an agent `{name}` already: people call both by this name, choose another one"));
    }
    if let Some(other) = store.egos(scope).await?.iter().find(|e| e.name != name && e.spec.spokesperson == spec.spokesperson) {
        return refused(format!("the spokesperson speaks for the ego `{}` already: an agent speaks for one", other.name));
    }
    for agent in agents.iter().filter(|agent| spec.has(agent.id)) {
        let taken = spec.blocks.iter().find(|b| agent.spec.blocks.iter().any(|own| own.label == b.label));
        if let Some(block) = taken {
            return refused(format!("`{}` is the label of a block of agent `{}`: choose another one", block.label, agent.spec.name));
        }
    }
    Ok(())
}

/// Makes the blocks of an ego that are not there, and lets all its agents write them. Again changes nothing.
async fn link(store: &dyn Store, scope: &Scope, spec: &EgoSpec, owner: Owner, user: Option<UserId>) -> Result<(), CoreError> {
    let known = store.blocks(scope, owner).await?;
    for template in &spec.blocks {
        let block = match known.iter().find(|b| b.label == template.label) {
            Some(block) => block.id,
            None => make(store, scope, owner, user, template).await?.id,
        };
        for agent in spec.agents() {
            // What a user's conversations show is let alone where it is in order: a new link would have prompts rendered anew.
            let is_in_order =
                user.is_some() && store.block(&scope.turn(agent, user), block).await.is_ok_and(|b| b.access == BlockAccess::Write);
            if !is_in_order {
                match store.link_block(scope, block, agent, Some(BlockAccess::Write)).await {
                    // An agent that was erased.
                    Ok(()) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

async fn make(store: &dyn Store, scope: &Scope, owner: Owner, user: Option<UserId>, template: &BlockTemplate) -> Result<Block, StoreError> {
    let provenance = Provenance { channel: "template".into(), user, ..Provenance::default() };
    let BlockTemplate { label, description, value, limit_chars } = template.clone();
    let new = NewBlock { id: BlockId::new(), owner, label, description, value, limit_chars, provenance };
    match store.create_block(scope, new).await {
        // Somebody else was first.
        Err(StoreError::Exists { .. }) => {
            let found = store.blocks(scope, owner).await?.into_iter().find(|b| b.label == template.label);
            found.ok_or(StoreError::NotFound { what: "block" })
        }
        made => made,
    }
}

/// Takes blocks of an ego out of sight of those who do not see them any more when `new` stands in its place (`None`: nothing does). `owner`: whose
/// blocks; `None` for all.
async fn unlink(store: &dyn Store, scope: &Scope, old: &EgoSpec, new: Option<&EgoSpec>, owner: Option<Owner>) -> Result<(), CoreError> {
    let stays = new.filter(|new| new.spokesperson == old.spokesperson && new.memory == old.memory);
    let is_gone =
        |agent: AgentId, label: &str| stays.is_none_or(|new| !new.has(agent) || new.blocks.iter().all(|block| block.label != label));
    if !old.blocks.iter().any(|block| old.agents().any(|agent| is_gone(agent, &block.label))) {
        return Ok(());
    }
    let owners = match owner {
        Some(owner) => vec![owner],
        None => owners(store, scope, old).await?,
    };
    for owner in owners {
        let blocks = match store.blocks(scope, owner).await {
            Ok(blocks) => blocks,
            // The spokesperson or the user was erased meanwhile.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for block in blocks.iter().filter(|block| old.blocks.iter().any(|template| template.label == block.label)) {
            for agent in old.agents().filter(|agent| is_gone(*agent, &block.label)) {
                match store.link_block(scope, block.id, agent, None).await {
                    Ok(()) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

/// Whose the blocks of an ego may be. A user whose conversations were erased has her blocks still: so all users are asked for.
async fn owners(store: &dyn Store, scope: &Scope, spec: &EgoSpec) -> Result<Vec<Owner>, StoreError> {
    let agent = spec.spokesperson;
    if spec.memory == EgoMemory::Shared {
        return Ok(vec![Owner::Agent { agent }]);
    }
    let (mut owners, mut after) = (Vec::new(), None);
    loop {
        let page = store.users(scope, PageRequest { after, limit: 1_000 }).await?;
        owners.extend(page.items.iter().map(|user| Owner::Pair { agent, user: user.id }));
        after = page.next;
        if after.is_none() {
            return Ok(owners);
        }
    }
}
