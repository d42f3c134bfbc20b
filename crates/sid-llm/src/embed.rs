//! The embedding contract.

use async_trait::async_trait;

use crate::LlmError;

/// Which side of a comparison a text is on; some models want different prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmbedInput {
    /// A query: somebody waits, so it goes before background work.
    Query,
    /// Something to be stored.
    Document,
}

/// What vectors of one embedder have in common; vectors of two generations are never compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingGeneration {
    /// Provider, model, dimensions and chunker, such as `fastembed/minilm-l6-v2-int8/384/c1`.
    pub id: String,
    /// Numbers per vector.
    pub dimensions: usize,
    /// Most bytes of one chunk that the model reads whole.
    pub chunk_bytes: usize,
    /// Whether nearness means likeness of meaning. `false` for the lexical default, which says so wherever it is shown.
    pub is_semantic: bool,
}

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// What its vectors have in common.
    fn generation(&self) -> EmbeddingGeneration;

    /// One unit-length vector per text, in order. Texts longer than the model reads are cut.
    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError>;
}
