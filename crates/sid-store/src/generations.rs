//! Embedding generations: which one is searched, and the change from one to the next.

use async_trait::async_trait;

use crate::{GenerationId, IndexStatus, StoreError};

/// A generation that the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its name.
    pub id: GenerationId,
    /// Whether it is the one that is searched; at most one is.
    pub is_active: bool,
}

/// What all who search agree on: a new generation is built beside the active one, and becomes it when it is complete.
///
/// All calls are the engine's own: a generation spans tenants.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Generations that have vectors, or are or were active, by name. Cheap: asked every few seconds.
    async fn generations(&self) -> Result<Vec<Generation>, StoreError>;

    /// Makes `to` the active generation if `from` is it (`None` = none is); answers whether it did. Of two who try at once one succeeds.
    async fn activate(&self, from: Option<&GenerationId>, to: &GenerationId) -> Result<bool, StoreError>;

    /// How far a generation has come, in all tenants.
    async fn generation_status(&self, generation: &GenerationId) -> Result<IndexStatus, StoreError>;

    /// Drops a piece of the vectors of a generation, and at last the generation; answers whether there is more. What is embedded meanwhile
    /// may stay. Errors: `Invalid` (it is the active one).
    async fn drop_generation(&self, generation: &GenerationId) -> Result<bool, StoreError>;
}
