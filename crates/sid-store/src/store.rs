//! The sum of the contracts.

use crate::{
    ApprovalStore, ArchivalStore, AuditLog, BlockStore, DiaryStore, Directory, Duties, EmbeddingIndex, Eraser, EventLog, Generations,
    ItemStore, Maintenance, MemorySearch, RecallStore, StateStore, TaskStore, TimerStore, ToolsetStore, UsageStore, WebhookStore,
};

/// Everything that a server needs of one backend.
pub trait Store:
    StateStore
    + EventLog
    + RecallStore
    + ArchivalStore
    + MemorySearch
    + EmbeddingIndex
    + Generations
    + BlockStore
    + ItemStore
    + TimerStore
    + ToolsetStore
    + ApprovalStore
    + WebhookStore
    + TaskStore
    + DiaryStore
    + Directory
    + AuditLog
    + Eraser
    + UsageStore
    + Duties
    + Maintenance
{
}

impl<T> Store for T where
    T: StateStore
        + EventLog
        + RecallStore
        + ArchivalStore
        + MemorySearch
        + EmbeddingIndex
        + Generations
        + BlockStore
        + ItemStore
        + TimerStore
        + ToolsetStore
        + ApprovalStore
        + WebhookStore
        + TaskStore
        + DiaryStore
        + Directory
        + AuditLog
        + Eraser
        + UsageStore
        + Duties
        + Maintenance
{
}
