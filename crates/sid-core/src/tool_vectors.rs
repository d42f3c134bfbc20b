//! Likeness of meaning between a request and the descriptions of tools, where an embedder knows it. Vectors of descriptions are kept in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sid_llm::{EmbedInput, Embedder, LlmError};
use tracing::warn;

/// Descriptions that are embedded at once: what is done stays, also where all of them take too long.
const AT_ONCE: usize = 16;
/// Most vectors that are kept; with more, all are forgotten.
const MOST: usize = 20_000;

/// The vectors of all tools that were searched in this process.
pub(crate) struct ToolVectors {
    embedder: Option<Arc<dyn Embedder>>,
    /// So long a search waits; then words alone decide.
    wait: Duration,
    hasher: RandomState,
    /// By hash of generation and text.
    known: Mutex<HashMap<u64, Arc<[f32]>>>,
}

impl ToolVectors {
    pub(crate) fn new(embedder: Option<Arc<dyn Embedder>>, wait: Duration) -> Self {
        Self { embedder, wait, hasher: RandomState::new(), known: Mutex::default() }
    }

    /// How much each text is like the query, at most 1; `None` where nobody can tell, or not in time.
    pub(crate) async fn likeness(&self, query: &str, texts: &[String]) -> Option<Vec<f32>> {
        // One that compares words would only count them twice.
        let embedder = self.embedder.as_ref().filter(|embedder| embedder.generation().is_semantic)?;
        match tokio::time::timeout(self.wait, self.compare(&**embedder, query, texts)).await {
            Ok(Ok(likeness)) => Some(likeness),
            Ok(Err(error)) => {
                warn!(%error, "tools are searched by words only");
                None
            }
            Err(_) => None,
        }
    }

    async fn compare(&self, embedder: &dyn Embedder, query: &str, texts: &[String]) -> Result<Vec<f32>, LlmError> {
        let generation = embedder.generation().id;
        let keys: Vec<u64> = texts.iter().map(|text| self.hasher.hash_one((&generation, text))).collect();
        let mut missing: Vec<usize> = {
            let mut known = self.known.lock();
            if known.len() > MOST {
                known.clear();
            }
            (0..texts.len()).filter(|i| !known.contains_key(&keys[*i])).collect()
        };
        missing.dedup_by_key(|i| keys[*i]);
        for some in missing.chunks(AT_ONCE) {
            let told: Vec<String> = some.iter().map(|i| texts[*i].clone()).collect();
            let vectors = embedder.embed(EmbedInput::Document, &told).await?;
            self.known.lock().extend(some.iter().zip(vectors).map(|(i, vector)| (keys[*i], vector.into())));
        }
        let query = embedder.embed(EmbedInput::Query, &[query.to_owned()]).await?.pop().unwrap_or_default();
        let known = self.known.lock();
        let like = |key| known.get(key).map_or(0.0, |vector| vector.iter().zip(&query).map(|(a, b)| a * b).sum());
        Ok(keys.iter().map(like).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use async_trait::async_trait;
    use sid_llm::EmbeddingGeneration;

    use super::*;

    /// Knows that who pays wants an invoice, and counts what it was asked for.
    pub(crate) struct Meaning {
        pub(crate) embedded: Mutex<Vec<usize>>,
        pub(crate) fails: bool,
    }

    #[async_trait]
    impl Embedder for Meaning {
        fn generation(&self) -> EmbeddingGeneration {
            EmbeddingGeneration { id: "meaning".into(), dimensions: 2, chunk_bytes: 1_000, is_semantic: true }
        }

        async fn embed(&self, _: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
            if self.fails {
                return Err(LlmError::Config("it is broken".into()));
            }
            self.embedded.lock().push(texts.len());
            let is_about_money = |text: &String| ["pay", "invoice"].iter().any(|word| text.contains(word));
            Ok(texts.iter().map(|text| if is_about_money(text) { vec![1.0, 0.0] } else { vec![0.0, 1.0] }).collect())
        }
    }

    pub(crate) fn vectors(fails: bool) -> (ToolVectors, Arc<Meaning>) {
        let meaning = Arc::new(Meaning { embedded: Mutex::default(), fails });
        (ToolVectors::new(Some(meaning.clone()), Duration::from_secs(5)), meaning)
    }

    #[tokio::test]
    async fn descriptions_are_embedded_once() {
        let (known, meaning) = vectors(false);
        let texts: Vec<String> = (0..20).map(|n| format!("machine {n}")).chain(["an invoice".into()]).collect();
        let first = known.likeness("make her pay", &texts).await.expect("it can tell");
        assert_eq!((first[20], first[0]), (1.0, 0.0));
        assert_eq!(*meaning.embedded.lock(), [16, 5, 1]);
        assert_eq!(known.likeness("make her pay", &texts).await, Some(first));
        assert_eq!(*meaning.embedded.lock(), [16, 5, 1, 1], "only the query is new");
        assert_eq!(vectors(true).0.likeness("pay", &texts).await, None);
        assert_eq!(ToolVectors::new(None, Duration::MAX).likeness("pay", &texts).await, None);
    }
}
