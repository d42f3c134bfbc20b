//! The sum of the contracts.

use crate::{
    ArchivalStore, AuditLog, BlockStore, DiaryStore, Directory, Duties, EmbeddingIndex, Eraser, EventLog, Generations, ItemStore,
    Maintenance, MemorySearch, RecallStore, StateStore, ToolsetStore, UsageStore,
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
    + ToolsetStore
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
        + ToolsetStore
        + ToolsetStore
        + DiaryStore
        + Directory
        + AuditLog
        + Eraser
        + UsageStore
        + Duties
        + Maintenance
{
}
