//! Undoing what a source wrote: blocks become what they would be without it, its passages go.

use std::collections::BTreeSet;

use serde::Serialize;
use sid_store::{BlockWrite, PageRequest, StoreError, check_channel};
use sid_types::{Block, BlockId, BlockOp, BlockVersion, Owner, PassageId, Provenance, Scope, Source, Timestamp};

use crate::{CoreError, Engine, successors};

/// Items of one look at the store.
const PAGE: usize = 500;
/// Most versions of a block that are looked through.
const MOST_VERSIONS: usize = 100_000;
/// How often a block that others edit meanwhile is tried.
const TRIES: usize = 5;

/// What was undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UndoReceipt {
    /// Blocks that changed.
    pub blocks: u64,
    /// Passages that are gone.
    pub passages: u64,
    /// Edits of trusted runs that could not be kept.
    pub left_out: Vec<LeftOut>,
}

/// An edit that was made on top of what the source wrote, and goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The block.
    pub block: BlockId,
    /// The version that the edit had led to; it stays in the block's history.
    pub version: u64,
    /// Why.
    pub why: &'static str,
}

impl Engine {
    /// Undoes what runs under the influence of a source wrote, from `since` on: edits of blocks are taken back by their history, those that
    /// came after are made again without them, and passages are removed. Messages stay as they were said. Again it changes nothing; who was
    /// interrupted runs it again. Looks through all memory of the tenant.
    ///
    /// Errors: `NotFound` for whom the tenant's memory is not; those of the store.
    pub async fn undo_source(&self, scope: &Scope, source: &Source, since: Option<Timestamp>) -> Result<UndoReceipt, CoreError> {
        if !scope.is_tenant_wide() {
            return Err(StoreError::NotFound { what: "tenant" }.into());
        }
        let mut receipt = UndoReceipt::default();
        for owner in self.owners(scope).await? {
            for block in self.inner.store.blocks(scope, owner).await? {
                self.undo_in_block(scope, &block, source, since, &mut receipt).await?;
            }
            receipt.passages += self.remove_passages(scope, owner, source, since).await?;
        }
        Ok(receipt)
    }

    async fn undo_in_block(
        &self,
        scope: &Scope,
        block: &Block,
        source: &Source,
        since: Option<Timestamp>,
        receipt: &mut UndoReceipt,
    ) -> Result<(), CoreError> {
        let is_from = |v: &BlockVersion| source.is_among(&v.provenance.untrusted) && since.is_none_or(|since| v.at >= since);
        for tries in 1..=TRIES {
            let mut history = self.inner.store.block_history(scope, block.id, MOST_VERSIONS).await?;
            history.sort_by_key(|v| v.version);
            let Some((value, left_out)) = without(&history, is_from) else { return Ok(()) };
            let Some(last) = history.last().filter(|v| v.value_after != value) else { return Ok(()) };
            let provenance = Provenance { channel: "undo".into(), ..Provenance::default() };
            let write = BlockWrite { op: BlockOp::Set { value }, expected_version: Some(last.version), provenance };
            match self.inner.store.write_block(scope, block.id, write).await {
                Ok(_) => {
                    receipt.blocks += 1;
                    let why = "it changed text that the source had written";
                    receipt.left_out.extend(left_out.into_iter().map(|version| LeftOut { block: block.id, version, why }));
                    return Ok(());
                }
                Err(StoreError::Conflict { .. }) if tries < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn remove_passages(&self, scope: &Scope, owner: Owner, source: &Source, since: Option<Timestamp>) -> Result<u64, CoreError> {
        let mut gone: Vec<PassageId> = Vec::new();
        let mut after = None;
        loop {
            let page = self.inner.store.list(scope, owner, PageRequest { after, limit: PAGE }).await?;
            let is_from = |p: &&sid_types::Passage| {
                source.is_among(&p.provenance.untrusted)
                    && check_channel(&p.provenance).is_ok()
                    && since.is_none_or(|since| p.created_at >= since)
            };
            gone.extend(page.items.iter().filter(is_from).map(|p| p.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        let before = successors::of(&self.inner, scope, owner).await?;
        let mut removed = 0;
        for some in gone.chunks(PAGE) {
            removed += self.inner.store.delete(scope, some).await?;
        }
        successors::mend(&self.inner, scope, owner, &before).await?;
        Ok(removed)
    }

    /// Whoever has memory in the tenant. Pairs that have never met have none.
    pub(crate) async fn owners(&self, scope: &Scope) -> Result<BTreeSet<Owner>, CoreError> {
        let store = &self.inner.store;
        let mut owners = BTreeSet::from([Owner::Tenant]);
        owners.extend(store.teams(scope).await?.into_iter().map(|team| Owner::Team { team: team.id }));
        let mut after = None;
        loop {
            let page = store.users(scope, PageRequest { after, limit: PAGE }).await?;
            owners.extend(page.items.into_iter().map(|user| Owner::User { user: user.id }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = store.agents(scope, PageRequest { after, limit: PAGE }).await?;
            owners.extend(page.items.into_iter().map(|agent| Owner::Agent { agent: agent.id }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = store.conversations(scope, None, None, PageRequest { after, limit: PAGE }).await?;
            owners.extend(page.items.into_iter().map(|c| Owner::of_conversation(c.agent, c.user)));
            after = page.next;
            if after.is_none() {
                return Ok(owners);
            }
        }
    }
}

/// The value that a history (oldest first) leads to without some edits, and the versions of those that do not fit any more; `None` when there
/// is nothing to leave out.
fn without(history: &[BlockVersion], is_left_out: impl Fn(&BlockVersion) -> bool) -> Option<(String, Vec<u64>)> {
    let first = history.iter().position(&is_left_out)?;
    let mut value = first.checked_sub(1).map_or(String::new(), |before| history[before].value_after.clone());
    let mut unfit = Vec::new();
    for version in history[first..].iter().filter(|v| !is_left_out(v)) {
        match version.edit.apply(&value) {
            Some(after) => value = after,
            None => unfit.push(version.version),
        }
        // Whatever was there before, this is what somebody has set.
        if matches!(version.edit, BlockOp::Set { .. }) {
            unfit.clear();
        }
    }
    Some((value, unfit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(edits: &[(BlockOp, bool)]) -> Vec<BlockVersion> {
        let mut value = String::new();
        let mut out = Vec::new();
        for (i, (edit, is_evil)) in edits.iter().enumerate() {
            value = edit.apply(&value).unwrap_or(value);
            let channel = if *is_evil { "evil" } else { "tool" };
            out.push(BlockVersion {
                block: BlockId::from_uuid(uuid::Uuid::nil()),
                version: i as u64 + 1,
                edit: edit.clone(),
                value_after: value.clone(),
                provenance: Provenance { channel: channel.into(), ..Provenance::default() },
                at: Timestamp::UNIX_EPOCH,
            });
        }
        out
    }

    fn check(edits: &[(BlockOp, bool)], expected: Option<(&str, &[u64])>) {
        let left = without(&history(edits), |v| v.provenance.channel == "evil");
        assert_eq!(left, expected.map(|(value, unfit)| (value.to_owned(), unfit.to_vec())));
    }

    #[test]
    fn what_is_undone_leaves_what_others_wrote() {
        let set = |value: &str| BlockOp::Set { value: value.into() };
        let append = |text: &str| BlockOp::Append { text: text.into() };
        let replace = |old: &str, new: &str| BlockOp::Replace { old: old.into(), new: new.into() };
        check(&[(set("a"), false), (append("b"), false)], None);
        check(&[(set("a"), false), (append("evil"), true)], Some(("a", &[])));
        check(&[(set("a"), false), (append("evil"), true), (append("b"), false)], Some(("a\nb", &[])));
        check(&[(set("a"), false), (replace("a", "evil"), true), (replace("evil", "b"), false)], Some(("a", &[3])));
        check(&[(set("a"), false), (append("evil"), true), (set("c"), false)], Some(("c", &[])));
        check(&[(set("evil"), true)], Some(("", &[])));
    }
}
