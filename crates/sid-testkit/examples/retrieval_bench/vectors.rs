//! Vectors from a cache file, a model, or (lexical) hashing.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use parking_lot::Mutex;
use sid_llm::{EmbedInput, Embedder, EmbeddingGeneration, HashEmbedder, LlmError};
use uuid::Uuid;

const DIMENSIONS: usize = 384;
const RECORD: usize = 16 + DIMENSIONS * 4;

/// The source of all vectors of a run.
pub(crate) struct Vectors {
    path: Option<PathBuf>,
    known: Mutex<HashMap<Uuid, Vec<f32>>>,
    missing: Mutex<BTreeSet<String>>,
    model: Option<Box<dyn Embedder>>,
}

fn key(text: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}

impl Vectors {
    pub(crate) fn open(cache: Option<&Path>, model: Option<&Path>) -> anyhow::Result<Self> {
        let mut known = HashMap::new();
        if let Some(path) = cache.filter(|p| p.exists()) {
            for record in std::fs::read(path)?.chunks_exact(RECORD) {
                let (id, values) = record.split_at(16);
                let values = values.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
                known.insert(Uuid::from_slice(id)?, values);
            }
        }
        let model: Option<Box<dyn Embedder>> = match model {
            Some(folder) => Some(open_model(folder)?),
            None if cache.is_none() => Some(Box::new(HashEmbedder::default())),
            None => None,
        };
        Ok(Self { path: cache.map(Path::to_owned), known: Mutex::new(known), missing: Mutex::default(), model })
    }

    pub(crate) fn is_semantic(&self) -> bool {
        self.model.as_ref().is_none_or(|m| m.generation().is_semantic)
    }

    pub(crate) fn generation_id(&self) -> String {
        self.generation().id
    }

    /// Texts that were asked for and have no vector.
    pub(crate) fn missing(&self) -> BTreeSet<String> {
        self.missing.lock().clone()
    }

    /// The vector of a text; `None` (and noted) when there is neither a cached one nor a model.
    pub(crate) async fn of(&self, text: &str) -> anyhow::Result<Option<Vec<f32>>> {
        let cached = self.known.lock().get(&key(text)).cloned();
        if cached.is_some() {
            return Ok(cached);
        }
        let Some(model) = &self.model else {
            self.missing.lock().insert(text.to_owned());
            return Ok(None);
        };
        let vector = model.embed(EmbedInput::Document, &[text.to_owned()]).await?.pop();
        if let Some(vector) = &vector {
            self.keep(text, vector)?;
        }
        Ok(vector)
    }

    fn keep(&self, text: &str, vector: &[f32]) -> anyhow::Result<()> {
        if let Some(path) = &self.path {
            let mut record = key(text).as_bytes().to_vec();
            record.extend(vector.iter().flat_map(|v| v.to_le_bytes()));
            std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(&record)?;
        }
        self.known.lock().insert(key(text), vector.to_vec());
        Ok(())
    }
}

#[async_trait]
impl Embedder for Vectors {
    fn generation(&self) -> EmbeddingGeneration {
        let cached = || EmbeddingGeneration { id: "bench/vectors".into(), dimensions: DIMENSIONS, chunk_bytes: 0, is_semantic: true };
        self.model.as_ref().map_or_else(cached, |m| m.generation())
    }

    async fn embed(&self, _input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let mut out = Vec::with_capacity(texts.len());
        for text in texts {
            // The caller notes what is missing and stops before it prints a figure.
            let vector = self.of(text).await.ok().flatten();
            out.push(vector.unwrap_or_else(|| vec![0.0; DIMENSIONS]));
        }
        Ok(out)
    }
}

#[cfg(feature = "fastembed")]
fn open_model(folder: &Path) -> anyhow::Result<Box<dyn Embedder>> {
    Ok(Box::new(sid_llm::FastembedEmbedder::start(sid_llm::FastembedConfig::folder(folder))?))
}

#[cfg(not(feature = "fastembed"))]
fn open_model(_folder: &Path) -> anyhow::Result<Box<dyn Embedder>> {
    anyhow::bail!("--model needs the feature `fastembed`")
}
