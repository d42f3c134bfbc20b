//! The embedders of an engine: the one that is searched with, and the one whose generation is built beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sid_llm::{EmbedInput, Embedder, EmbeddingGeneration, LlmError};
use sid_store::{GenerationId, StoreError};
use tracing::{info, warn};

use crate::engine::Inner;

/// One embedder, or two during a change of generations. As an [`Embedder`] it is the one that is searched with.
pub(crate) struct Embedders {
    current: Arc<dyn Embedder>,
    next: Option<Arc<dyn Embedder>>,
    /// Whether the store says that the next generation is the active one.
    uses_next: AtomicBool,
}

impl Embedders {
    pub(crate) fn new(current: Arc<dyn Embedder>, next: Option<Arc<dyn Embedder>>) -> Self {
        // The same generation twice is no change.
        let next = next.filter(|next| next.generation().id != current.generation().id);
        Self { current, next, uses_next: AtomicBool::new(false) }
    }

    fn searched(&self) -> &Arc<dyn Embedder> {
        match &self.next {
            Some(next) if self.uses_next.load(Ordering::Acquire) => next,
            _ => &self.current,
        }
    }

    /// All, the one that is searched with first: what is new is found by it soonest.
    pub(crate) fn in_order(&self) -> Vec<Arc<dyn Embedder>> {
        let both = [Some(&self.current), self.next.as_ref()].into_iter().flatten();
        let mut all: Vec<Arc<dyn Embedder>> = both.cloned().collect();
        if self.uses_next.load(Ordering::Acquire) {
            all.reverse();
        }
        all
    }

    /// What the store should come to: the generation that is configured last.
    pub(crate) fn wanted(&self) -> GenerationId {
        id(&**self.next.as_ref().unwrap_or(&self.current))
    }

    /// Looks which generation is active, and searches with its embedder from now on. A store without one, or with one that has no embedder
    /// here, is searched with the current one.
    pub(crate) async fn look(&self, inner: &Inner) -> Result<Option<GenerationId>, StoreError> {
        let active = inner.store.generations().await?.into_iter().find(|g| g.is_active).map(|g| g.id);
        let uses_next = self.next.as_ref().is_some_and(|next| active.as_ref() == Some(&id(&**next)));
        if self.uses_next.swap(uses_next, Ordering::AcqRel) != uses_next {
            info!(generation = self.searched().generation().id, "memory is searched with another embedding generation from now on");
        }
        Ok(active)
    }

    /// Makes the wanted generation the active one: called when nothing waits for its vectors. Of several replicas one does it; the others
    /// see it at their next look. Answers whether it is known that the wanted one is active.
    pub(crate) async fn switch(&self, inner: &Inner) -> bool {
        let wanted = self.wanted();
        let outcome = async {
            let active = self.look(inner).await?;
            if active.as_ref() != Some(&wanted) && inner.store.activate(active.as_ref(), &wanted).await? {
                info!(generation = wanted.0, "the embedding generation is complete");
            }
            Ok::<bool, StoreError>(self.look(inner).await?.as_ref() == Some(&wanted))
        };
        outcome.await.unwrap_or_else(|error| {
            warn!(%error, "could not switch to the next embedding generation");
            false
        })
    }
}

/// The name of an embedder's generation.
pub(crate) fn id(embedder: &dyn Embedder) -> GenerationId {
    GenerationId(embedder.generation().id)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for Embedders {
    fn generation(&self) -> EmbeddingGeneration {
        self.searched().generation()
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let searched = Arc::clone(self.searched());
        searched.embed(input, texts).await
    }
}
