//! Vectors: made in the background, kept per generation.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{Owner, Scope};

use crate::{RecordId, StoreError};

/// Names an embedding generation: provider, model, dimensions and chunker, such as `fastembed/minilm-l6-v2-int8/384/c1`.
/// Vectors of two generations are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(pub String);

/// A record that has no vectors in a generation yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedJob {
    /// The scope in which the vectors are written back.
    pub scope: Scope,
    /// The record.
    pub record: RecordId,
    /// What is embedded: speaker and text for messages, the text otherwise.
    pub text: String,
}

/// One vector of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// First byte of the chunk in the job's text.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
    /// Unit length.
    pub vector: Vec<f32>,
}

/// The vectors of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVectors {
    /// From the job.
    pub scope: Scope,
    /// From the job.
    pub record: RecordId,
    /// At least one, except for texts that cannot be embedded: no chunk = nothing to compare, and the record is not asked for again.
    pub chunks: Vec<Chunk>,
}

/// How far the background has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// Records with vectors in the generation.
    pub indexed: u64,
    /// Records that wait for theirs.
    pub pending: u64,
}

/// The background's side of search.
#[async_trait]
pub trait EmbeddingIndex: Send + Sync {
    /// Up to `limit` records without vectors, oldest first. The engine's own call: it spans tenants, and every job carries its scope.
    async fn pending(&self, generation: &GenerationId, limit: usize) -> Result<Vec<EmbedJob>, StoreError>;

    /// Stores vectors. A record that is gone by now is left out in silence; vectors of another length than the generation's
    /// earlier ones are `Invalid`.
    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<NewVectors>) -> Result<(), StoreError>;

    /// How far one owner's memory, or all that the scope sees, has come.
    async fn index_status(&self, scope: &Scope, generation: &GenerationId, owner: Option<Owner>) -> Result<IndexStatus, StoreError>;
}
