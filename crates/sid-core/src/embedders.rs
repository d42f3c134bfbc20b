//! The embedders of an engine: the one that is searched with, and the one whose generation is built beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
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
    wish: Mutex<Wish>,
}

/// Whether this process still has to make the wanted generation the active one.
///
/// It does so once, and only in place of the generation that was active when it began: whatever changes it afterwards is a newer wish than
/// this process's configuration. Else two replicas with different configurations, as in a rolling restart, would switch to and fro.
#[derive(Clone, PartialEq, Eq)]
enum Wish {
    /// The store has not been asked yet.
    Unknown,
    /// To be made when the wanted generation is complete, in place of this one.
    Open(Option<GenerationId>),
    /// It was active once.
    Fulfilled,
}

impl Embedders {
    pub(crate) fn new(current: Arc<dyn Embedder>, next: Option<Arc<dyn Embedder>>) -> Self {
        // The same generation twice is no change.
        let next = next.filter(|next| next.generation().id != current.generation().id);
        Self { current, next, uses_next: AtomicBool::new(false), wish: Mutex::new(Wish::Unknown) }
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
    /// here, is searched with the current one: what that has not embedded is found by its words.
    pub(crate) async fn look(&self, inner: &Inner) -> Result<Option<GenerationId>, StoreError> {
        let active = inner.store.generations().await?.into_iter().find(|g| g.is_active).map(|g| g.id);
        let uses_next = self.next.as_ref().is_some_and(|next| active.as_ref() == Some(&id(&**next)));
        if self.uses_next.swap(uses_next, Ordering::AcqRel) != uses_next {
            info!(generation = self.searched().generation().id, "memory is searched with another embedding generation from now on");
        }
        let mut wish = self.wish.lock();
        if active.as_ref() == Some(&self.wanted()) {
            *wish = Wish::Fulfilled;
        } else if *wish == Wish::Unknown {
            *wish = Wish::Open(active.clone());
        }
        Ok(active)
    }

    /// Says that memory is searched by a generation that no embedder of this process makes.
    pub(crate) fn complain(&self, active: &GenerationId) {
        let configured: Vec<String> = self.in_order().iter().map(|e| e.generation().id).collect();
        warn!(
            active = active.0,
            configured = configured.join(", "),
            "the embedding generation that is searched is not one of those configured here: this process searches with its own, and by words \
             where that has no vectors; give all servers the embedder of the active generation, and the new one as the next (`sid reindex --status`)"
        );
    }

    /// Whether an embedder of this process makes the generation.
    pub(crate) fn makes(&self, generation: &GenerationId) -> bool {
        self.in_order().iter().any(|e| id(&**e) == *generation)
    }

    /// Makes the wanted generation the active one: called when nothing waits for its vectors. Of several replicas one does it; the others
    /// see it at their next look.
    pub(crate) async fn switch(&self, inner: &Inner) {
        let wanted = self.wanted();
        let outcome = async {
            if *self.wish.lock() == Wish::Unknown {
                self.look(inner).await?;
            }
            let wish = self.wish.lock().clone();
            if let Wish::Open(from) = wish
                && inner.store.activate(from.as_ref(), &wanted).await?
            {
                info!(generation = wanted.0, "the embedding generation is complete");
                self.look(inner).await?;
            }
            Ok::<(), StoreError>(())
        };
        if let Err(error) = outcome.await {
            warn!(%error, "could not switch to the next embedding generation");
        }
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
