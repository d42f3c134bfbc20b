//! The sum of the contracts.

use crate::{
    ArchivalStore, BlockStore, DiaryStore, Directory, Duties, EmbeddingIndex, Eraser, EventLog, Generations, Maintenance, MemorySearch,
    RecallStore, StateStore, UsageStore,
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
    + DiaryStore
    + Directory
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
        + DiaryStore
        + Directory
        + Eraser
        + UsageStore
        + Duties
        + Maintenance
{
}
