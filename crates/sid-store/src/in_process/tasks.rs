//! `TaskStore`.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sid_types::{ConversationId, Owner, Principal, Scope, Task, TaskId, TenantId, Timestamp};

use super::directory::paged;
use super::room::Room;
use super::{InProcess, missing};
use crate::tasks::NO_TASK;
use crate::{
    Order, Page, PageRequest, Right, StoreError, TaskFilter, TaskPlace, TaskStore, Told, check_task, check_task_change, sees_task,
};

fn sees(scope: &Scope, task: &Task) -> bool {
    sees_task(scope, task.agent, task.user, task.created_by.agent())
}

#[async_trait]
impl TaskStore for InProcess {
    async fn create_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "conversation")?;
            if let Some(known) = room.tasks.get(&task.id).filter(|known| sees(scope, known)) {
                return Ok(known.clone());
            }
            let owner = room.threads.get(&task.conversation).map(super::room::Thread::owner);
            let is_its_own = owner == Some(Owner::of_conversation(task.agent, task.user));
            if !is_its_own || !Right::to_conversation(scope, task.agent, task.user) {
                return Err(missing("conversation"));
            }
            (task.version, task.created_at, task.updated_at) = (1, now, now);
            room.tasks.insert(task.id, task.clone());
            Ok(task)
        })
    }

    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError> {
        let state = self.read();
        state.room(scope, "task")?.tasks.get(&task).filter(|t| sees(scope, t)).cloned().ok_or(NO_TASK)
    }

    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        let is_asked = |t: &&Task| {
            sees(scope, t)
                && filter.user.is_none_or(|user| t.user == Some(user))
                && filter.agent.is_none_or(|agent| t.agent == agent)
                && filter.state.is_none_or(|state| t.state == state)
                && !(filter.is_open && t.state.is_over())
                && filter.conversation.is_none_or(|c| t.conversation == c)
                && filter.report_to.is_none_or(|c| t.report_to == Some(c))
                && filter.parent.is_none_or(|p| t.parent == Some(p))
        };
        let state = self.read();
        paged(state.room(scope, "tenant")?.tasks.values().filter(is_asked), Order::Descending, &page, |t| (t.created_at, t.id))
    }

    async fn change_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "task")?;
            let known = room.tasks.get(&task.id).filter(|t| sees(scope, t)).ok_or(NO_TASK)?;
            check_task_change(known, &task)?;
            let before = known.state;
            task.version += 1;
            task.updated_at = now;
            if let Some(told) = Told::of_task(&task, before) {
                room.hooks.tell(&told, now);
            }
            room.tasks.insert(task.id, task.clone());
            Ok(task)
        })
    }

    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError> {
        let now = self.clock.now();
        let state = self.read();
        let mut due: Vec<(usize, Timestamp, TenantId, TaskId)> = Vec::new();
        for room in state.rooms.values() {
            let lives = |t: &Task| t.work.run.and_then(|run| room.runs.get(&run)).is_some_and(|j| !j.run.status.is_terminal());
            let room_left = per_tenant.saturating_sub(room.tasks.values().filter(|t| lives(t)).count());
            let mut by_kind: BTreeMap<bool, Vec<(Timestamp, TaskId)>> = BTreeMap::new();
            for task in room.tasks.values() {
                let place = TaskPlace::of(task);
                if let Some(at) = place.due_at.filter(|at| *at <= now && !(place.is_gated && lives(task))) {
                    by_kind.entry(place.begins).or_default().push((at, task.id));
                }
            }
            for (begins, mut of_kind) in by_kind {
                of_kind.sort_unstable();
                of_kind.truncate(if begins { room_left } else { usize::MAX });
                due.extend(of_kind.into_iter().enumerate().map(|(place, (at, id))| (place, at, room.tenant.id, id)));
            }
        }
        due.sort_unstable();
        let turn = |(_, _, tenant, id): (usize, Timestamp, TenantId, TaskId)| {
            let task = &state.rooms[&tenant].tasks[&id];
            #[allow(clippy::disallowed_methods, reason = "work that spans tenants carries the scope of the turn that it is about")]
            (Scope::grant(tenant, Principal::Turn { agent: task.agent, user: task.user }), id)
        };
        Ok(due.into_iter().take(most).map(turn).collect())
    }
}

impl Room {
    /// Forgets tasks, with all that they handed on; answers how many.
    pub(super) fn erase_tasks(&mut self, is_target: impl Fn(&Task) -> bool) -> u64 {
        let mut gone: BTreeSet<TaskId> = self.tasks.values().filter(|t| is_target(t)).map(|t| t.id).collect();
        loop {
            let below: Vec<TaskId> = self
                .tasks
                .values()
                .filter(|t| !gone.contains(&t.id) && t.parent.is_some_and(|p| gone.contains(&p)))
                .map(|t| t.id)
                .collect();
            if below.is_empty() {
                break;
            }
            gone.extend(below);
        }
        self.tasks.retain(|id, _| !gone.contains(id));
        gone.len() as u64
    }

    /// Those that are worked on in the conversation, or report into it: they tell of what was said there.
    pub(super) fn erase_tasks_of(&mut self, conversation: ConversationId) -> u64 {
        self.erase_tasks(|t| t.conversation == conversation || t.report_to == Some(conversation))
    }
}
