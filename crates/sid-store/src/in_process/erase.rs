//! `Eraser`: forgetting, with all that derives from what is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use sid_types::{
    AgentId, BlockOp, Body, ConversationId, DiaryLevel, EventBody, KeyRole, Message, MessageId, Owner, Principal, Scope, Sharee, UserId,
};

use super::room::{BlockRow, Journal, Room};
use super::{InProcess, missing};
use crate::{EraseTarget, Eraser, Receipt, RecordId, StoreError, Told, is_document_of};

/// What is left of a tool result that quoted something erased.
const REDACTED: &str = "[erased]";

#[async_trait]
impl Eraser for InProcess {
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError> {
        self.write(|state, now| {
            let tenant = scope.tenant();
            let mut receipt = Receipt::default();
            match target {
                EraseTarget::Conversation(id) => {
                    let room = state.room_mut(scope, "conversation")?;
                    room.thread(scope, id)?;
                    if matches!(scope.principal(), Principal::Turn { .. }) {
                        return Err(missing("conversation"));
                    }
                    room.erase_conversation(id, &mut receipt);
                }
                EraseTarget::Idle { conversation, since } => {
                    let room = state.room_mut(scope, "conversation")?;
                    let is_idle = room.thread(scope, conversation)?.is_idle_since(since);
                    if !is_idle || matches!(scope.principal(), Principal::Turn { .. }) {
                        return Err(missing("conversation"));
                    }
                    room.erase_conversation(conversation, &mut receipt);
                }
                EraseTarget::User(user) => {
                    let room = state.room_mut(scope, "user")?;
                    if !scope.is_tenant_wide() || !room.users.contains_key(&user) {
                        return Err(missing("user"));
                    }
                    room.erase_user(user, &mut receipt);
                    room.hooks.tell(&Told::of_erased(user), now);
                    state.keys.retain(|_, key| key.role.tenant() != Some(tenant) || key.role.user() != Some(user));
                }
                EraseTarget::Agent(agent) => {
                    let room = state.room_mut(scope, "agent")?;
                    if !scope.is_tenant_wide() || !room.agents.contains_key(&agent) {
                        return Err(missing("agent"));
                    }
                    room.erase_agent(agent, &mut receipt);
                    state
                        .keys
                        .retain(|_, key| !matches!(key.role, KeyRole::Agent { tenant: t, agent: a, .. } if t == tenant && a == agent));
                }
            }
            Ok(receipt)
        })
    }
}

impl Room {
    fn erase_user(&mut self, user: UserId, receipt: &mut Receipt) {
        self.erase_conversations(|owner| owner.user() == Some(user), receipt);
        self.erase_owners(|owner| owner.user() == Some(user), receipt);
        receipt.tasks += self.erase_tasks(|t| t.user == Some(user));
        self.members.retain(|(_, member), _| *member != user);
        self.shares.retain(|(_, with), _| *with != Sharee::User { user });
        self.met.retain(|(_, met)| *met != user);
        self.idempotency.retain(|(principal, _), _| *principal != Principal::User { user });
        self.forget_names(user);
        self.timers.retain(|_, row| row.timer.user != Some(user));
        self.documents.retain(|_, row| row.document.owner.user() != Some(user));
        self.image_use.remove(&Some(user));
        self.forget_told(|d| d.user == Some(user));
        self.users.remove(&user);
    }

    /// Takes names out of the audit log that were the person's: the handle, and what the person has called things. Who did what with whose
    /// memory stays, by ids.
    fn forget_names(&mut self, user: UserId) {
        const KINDS: [&str; 9] = ["agent", "blk", "conv", "item", "key", "psg", "run", "team", "user"];
        let is_id = |text: &str| text.split_once('_').is_some_and(|(kind, rest)| KINDS.contains(&kind) && rest.len() == 26);
        let handle = self.users.get(&user).map(|known| format!("@{}", known.handle));
        for entry in &mut self.audit {
            let is_hers = entry.user == Some(user) || entry.subject == Some(user);
            let names_her = |text: &String| text.split('/').any(|part| Some(part) == handle.as_deref());
            entry.resource = entry.resource.take().filter(|text| (is_id(text) || !is_hers) && !names_her(text));
        }
    }

    fn erase_agent(&mut self, agent: AgentId, receipt: &mut Receipt) {
        let is_own = |owner: Owner| matches!(owner, Owner::Agent { agent: a } | Owner::Pair { agent: a, .. } if a == agent);
        self.erase_conversations(is_own, receipt);
        self.erase_owners(is_own, receipt);
        receipt.tasks += self.erase_tasks(|t| t.agent == agent || t.created_by.agent() == Some(agent));
        self.links.retain(|(_, linked), _| *linked != agent);
        self.met.retain(|(met, _)| *met != agent);
        self.timers.retain(|_, row| row.timer.agent != agent);
        self.documents.retain(|_, row| !is_own(row.document.owner));
        self.forget_told(|d| d.agent == Some(agent));
        self.agents.remove(&agent);
    }

    fn erase_conversations(&mut self, is_target: impl Fn(Owner) -> bool, receipt: &mut Receipt) {
        let ids: Vec<ConversationId> = self.threads.values().filter(|t| is_target(t.owner())).map(|t| t.conversation.id).collect();
        for id in ids {
            self.erase_conversation(id, receipt);
        }
    }

    fn erase_conversation(&mut self, id: ConversationId, receipt: &mut Receipt) {
        let Some(thread) = self.threads.remove(&id) else { return };
        let owner = thread.owner();
        receipt.tasks += self.erase_tasks_of(id);
        receipt.conversations += 1;
        receipt.messages += thread.messages.len() as u64;
        let mut gone: BTreeSet<RecordId> = thread.messages.iter().map(|p| RecordId::Message(p.message.id)).collect();
        for placed in &thread.messages {
            // Unshelved by id alone: the thread is out of the room already.
            receipt.vectors += self.unshelve(RecordId::Message(placed.message.id));
            self.places.remove(&placed.message.id);
        }
        self.runs.retain(|_, journal| {
            let is_erased = journal.run.conversation == id;
            journal.waiting.iter().filter(|_| is_erased).for_each(|m| {
                self.places.remove(&m.id);
            });
            receipt.runs += u64::from(is_erased);
            receipt.messages += if is_erased { journal.waiting.len() as u64 } else { 0 };
            !is_erased
        });
        self.approvals.retain(|_, approval| approval.conversation != id);
        self.idempotency.retain(|_, used| self.runs.contains_key(&used.run));
        self.timers.retain(|_, row| row.timer.conversation != Some(id));
        self.documents.retain(|_, row| !is_document_of(&row.document, id));
        self.images.retain(|_, row| row.image.conversation != id);
        self.forget_told(|d| d.conversation == Some(id));
        gone.extend(self.erase_passages(|p| p.provenance.conversation == Some(id), receipt));
        self.erase_items(|item| item.provenance.conversation == Some(id), receipt);
        gone.extend(self.erase_diary_of(id, receipt));
        self.take_back_edits(id, receipt);
        let redacted = self.redact_quotes(&gone);
        receipt.redacted += redacted.len() as u64;
        let gone: BTreeSet<String> = gone.iter().map(ToString::to_string).collect();
        let pairs: BTreeMap<ConversationId, Owner> = self.threads.values().map(|t| (t.conversation.id, t.owner())).collect();
        for journal in self.runs.values_mut() {
            let is_same_pair = pairs.get(&journal.run.conversation) == Some(&owner);
            journal.forget(&gone, &redacted, is_same_pair);
        }
        self.render_anew(|c| Owner::of_conversation(c.agent, c.user) == owner);
    }

    /// Everything that the owners have beside conversations.
    fn erase_owners(&mut self, is_target: impl Fn(Owner) -> bool, receipt: &mut Receipt) {
        let mut gone = self.erase_passages(|p| is_target(p.owner), receipt);
        self.erase_items(|item| is_target(item.owner), receipt);
        self.redo.retain(|(owner, ..), _| !is_target(*owner));
        let pages: Vec<_> = self.diary.keys().filter(|(owner, ..)| is_target(*owner)).copied().collect();
        for place in pages {
            gone.extend(self.erase_page(place, receipt));
        }
        let blocks: Vec<_> = self.blocks.values().filter(|r| is_target(r.block.owner)).map(|r| r.block.id).collect();
        for id in blocks {
            self.render_block_anew(id);
            receipt.block_versions += self.blocks.remove(&id).map_or(0, |row| row.history.len() as u64);
            self.links.retain(|(linked, _), _| *linked != id);
        }
        self.shelves.retain(|owner, _| !is_target(*owner));
        let gone: BTreeSet<String> = gone.iter().map(ToString::to_string).collect();
        for journal in self.runs.values_mut() {
            journal.forget(&gone, &HashMap::new(), false);
        }
    }

    /// Items, with all that is below them.
    fn erase_items(&mut self, is_target: impl Fn(&sid_types::Item) -> bool, receipt: &mut Receipt) {
        let ids: Vec<_> = self.items.values().filter(|item| is_target(item)).map(|item| item.id).collect();
        for id in ids {
            receipt.items += self.remove_items(id);
        }
    }

    fn erase_passages(&mut self, is_target: impl Fn(&sid_types::Passage) -> bool, receipt: &mut Receipt) -> Vec<RecordId> {
        let ids: Vec<_> = self.passages.values().filter(|p| is_target(p)).map(|p| p.id).collect();
        receipt.passages += ids.len() as u64;
        for id in &ids {
            receipt.vectors += self.unshelve(RecordId::Passage(*id));
            self.passages.remove(id);
        }
        ids.into_iter().map(RecordId::Passage).collect()
    }

    /// Pages that tell of the conversation, and those above them: they are missing then, and get written anew from what is left.
    fn erase_diary_of(&mut self, id: ConversationId, receipt: &mut Receipt) -> Vec<RecordId> {
        let tells = |page: &&sid_types::DiaryEntry| page.messages.iter().any(|(conversation, ..)| *conversation == id);
        let pages: Vec<_> = self.diary.values().filter(tells).map(|page| (page.owner, page.level, page.start)).collect();
        let mut gone = Vec::new();
        for (owner, level, start) in pages {
            let week = DiaryLevel::Week.start_of(start);
            let months = [DiaryLevel::Month.start_of(week), DiaryLevel::Month.start_of(start)];
            gone.extend(self.erase_page((owner, level, start), receipt));
            gone.extend(self.erase_page((owner, DiaryLevel::Week, week), receipt));
            gone.extend(months.into_iter().filter_map(|month| self.erase_page((owner, DiaryLevel::Month, month), receipt)));
        }
        gone
    }

    fn erase_page(&mut self, place: (Owner, DiaryLevel, jiff::civil::Date), receipt: &mut Receipt) -> Option<RecordId> {
        self.redo.remove(&place);
        let id = RecordId::Diary(self.diary.get(&place)?.id);
        receipt.vectors += self.unshelve(id);
        receipt.diary_entries += 1;
        self.diary.remove(&place);
        Some(id)
    }

    fn take_back_edits(&mut self, id: ConversationId, receipt: &mut Receipt) {
        let touched: Vec<_> = self.blocks.values_mut().filter_map(|row| Some((row.block.id, row.take_back(id)?))).collect();
        for (block, versions) in touched {
            receipt.block_versions += versions;
            self.render_block_anew(block);
            // A block that was made in the conversation goes with it.
            if self.blocks[&block].history.is_empty() {
                self.blocks.remove(&block);
                self.links.retain(|(linked, _), _| *linked != block);
            }
        }
    }

    /// Tool results that quote something gone; answers them as they are now.
    fn redact_quotes(&mut self, gone: &BTreeSet<RecordId>) -> HashMap<MessageId, Message> {
        let mut redacted = HashMap::new();
        let is_gone = |id: &MessageId| gone.contains(&RecordId::Message(*id));
        for placed in self.threads.values_mut().flat_map(|t| &mut t.messages) {
            if let Body::Tool { text, quotes, .. } = &mut placed.message.body
                && quotes.iter().any(is_gone)
            {
                REDACTED.clone_into(text);
                quotes.retain(|id| !is_gone(id));
                redacted.insert(placed.message.id, placed.message.clone());
            }
        }
        redacted
    }
}

impl BlockRow {
    /// Removes the versions that were made in the conversation and replays the others; answers how many were removed, if any.
    ///
    /// The kept versions keep their numbers, and the block's own number grows by one, so that a write by somebody who has read the
    /// erased text is a conflict. An edit that no longer fits is passed over. A version that set an earlier value again (undo) sets
    /// what is left of that value.
    fn take_back(&mut self, id: ConversationId) -> Option<u64> {
        let is_erased = |v: &sid_types::BlockVersion| v.provenance.conversation == Some(id);
        let removed = self.history.iter().filter(|v| is_erased(v)).count() as u64;
        if removed == 0 {
            return None;
        }
        let mut value = String::new();
        let mut left_of: HashMap<String, String> = HashMap::new();
        for version in &mut self.history {
            let before = version.value_after.clone();
            if !is_erased(version) {
                if let BlockOp::Set { value } = &mut version.edit
                    && let Some(left) = left_of.get(value)
                {
                    value.clone_from(left);
                }
                value = version.edit.apply(&value).unwrap_or(value);
                version.value_after.clone_from(&value);
            }
            left_of.insert(before, value.clone());
        }
        self.history.retain(|v| !is_erased(v));
        self.block.value = value;
        self.block.version += 1;
        Some(removed)
    }
}

impl Journal {
    /// Forgets what this run was shown of the records named in `gone`, or of all records. Events keep their numbers.
    fn forget(&mut self, gone: &BTreeSet<String>, redacted: &HashMap<MessageId, Message>, all: bool) {
        for step in &mut self.steps {
            if all || step.recalled.iter().any(|(id, _)| gone.contains(id)) {
                step.tail = None;
                step.recalled.clear();
            }
        }
        for event in &mut self.events {
            match &mut event.body {
                EventBody::Recalled { items, .. } => items.retain(|shown| !all && !gone.contains(&shown.id)),
                EventBody::Message { message } => {
                    if let Some(now) = redacted.get(&message.id) {
                        message.body.clone_from(&now.body);
                    }
                }
                _ => {}
            }
        }
    }
}
