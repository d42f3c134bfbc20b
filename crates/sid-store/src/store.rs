//! The sum of the contracts.

use crate::{
    ApprovalStore, ArchivalStore, AuditLog, BlockStore, DiaryStore, Directory, DocumentStore, Duties, EgoStore, EmbeddingIndex, Eraser,
    EventLog, Generations, ImageStore, ItemStore, Maintenance, MemorySearch, RecallStore, StateStore, TaskStore, TimerStore, ToolsetStore,
    UsageStore, WebhookStore,
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
    + DocumentStore
    + TimerStore
    + ToolsetStore
    + EgoStore
    + ApprovalStore
    + ImageStore
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
        + DocumentStore
        + TimerStore
        + ToolsetStore
        + EgoStore
        + ApprovalStore
        + ImageStore
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
