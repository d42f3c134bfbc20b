//! An embedding model in this process, by `fastembed` and ONNX Runtime.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use fastembed::{InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::cache::Cache;
use super::queue::{Job, Queue};
use super::{cut, normalise};
use crate::{EmbedInput, Embedder, EmbeddingGeneration, LlmError};

/// Most texts in one call of the model: a query that comes in the middle waits for no more than these.
const MAX_BATCH: usize = 4;
/// Most bytes of one call, padding included: batching gains little, and memory and waiting grow with it.
const MAX_BATCH_BYTES: usize = 1_200;
/// Texts are cut here before they reach the tokenizer, which cuts them again at the model's own limit.
const MAX_BYTES: usize = 8_000;

/// What the three small files hold for MiniLM, for folders that lack them.
const CONFIG: &str = r#"{"pad_token_id": 0}"#;
const TOKENIZER_CONFIG: &str = r#"{"model_max_length": 512, "pad_token": "[PAD]"}"#;
const SPECIAL_TOKENS: &str =
    r#"{"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}"#;

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FastembedSource {
    /// A folder with `model.onnx` and `tokenizer.json`, and, where they differ from MiniLM's, `config.json`,
    /// `tokenizer_config.json` and `special_tokens_map.json`.
    Folder(PathBuf),
    /// A model that `fastembed` knows by this name, such as `Qdrant/all-MiniLM-L6-v2-onnx`, downloaded from Hugging Face into
    /// the folder `cache`.
    #[cfg(feature = "hf")]
    HuggingFace {
        /// The model's code.
        model: String,
        /// Where downloads are kept.
        cache: PathBuf,
    },
}

/// How to run an embedding model in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastembedConfig {
    /// Where the model comes from.
    pub source: FastembedSource,
    /// The model's name in the generation id. Default `minilm-l6-v2-int8`.
    pub name: String,
    /// Numbers per vector, checked when the model is loaded. Default 384.
    pub dimensions: usize,
    /// The ONNX Runtime library. When `None`, the file that `ORT_DYLIB_PATH` names, else one in the model's folder.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of one call. Default 1: more of them spin and lose when cores are shared.
    pub threads: usize,
    /// Tokens of a text that are read; the rest is cut. Default 256.
    pub max_tokens: usize,
    /// Vectors kept for texts that come again. Default 4,096.
    pub cache_entries: usize,
}

impl FastembedConfig {
    /// MiniLM-L6-v2 (int8) in a folder.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self::of(FastembedSource::Folder(folder.into()), "minilm-l6-v2-int8")
    }

    fn local_folder(&self) -> Option<&Path> {
        match &self.source {
            FastembedSource::Folder(folder) => Some(folder),
            #[cfg(feature = "hf")]
            FastembedSource::HuggingFace { .. } => None,
        }
    }

    fn of(source: FastembedSource, name: &str) -> Self {
        Self { source, name: name.to_owned(), dimensions: 384, onnxruntime: None, threads: 1, max_tokens: 256, cache_entries: 4_096 }
    }

    /// MiniLM-L6-v2 (f32) from Hugging Face.
    #[cfg(feature = "hf")]
    #[must_use]
    pub fn hugging_face(cache: impl Into<PathBuf>) -> Self {
        let model = fastembed::EmbeddingModel::AllMiniLML6V2.to_string();
        Self::of(FastembedSource::HuggingFace { model, cache: cache.into() }, "minilm-l6-v2")
    }
}

/// An embedding model on a thread of its own.
///
/// The model is loaded in the background (about half a second); [`FastembedEmbedder::ready`] waits for it, and so does the
/// first [`Embedder::embed`]. Queries overtake documents, and no more than four documents are in the model at once.
#[derive(Debug)]
pub struct FastembedEmbedder {
    queue: Arc<Queue>,
    cache: Cache,
    loaded: watch::Receiver<Option<Result<(), LlmError>>>,
    generation: EmbeddingGeneration,
}

impl FastembedEmbedder {
    /// Checks that all files are there, and begins to load the model.
    ///
    /// Errors: [`LlmError::Config`], which says which file is missing and how to name it.
    pub fn start(config: FastembedConfig) -> Result<Self, LlmError> {
        let library = find_library(&config)?;
        if let Some(folder) = config.local_folder() {
            for file in ["model.onnx", "tokenizer.json"] {
                if !folder.join(file).is_file() {
                    return Err(LlmError::Config(format!(
                        "the embedding model is not complete: there is no file {} (a folder with model.onnx and tokenizer.json is needed)",
                        folder.join(file).display()
                    )));
                }
            }
        }
        let generation = EmbeddingGeneration {
            id: format!("fastembed/{}/{}/c1", config.name, config.dimensions),
            dimensions: config.dimensions,
            // Four bytes are a token; English prose has a few more.
            chunk_bytes: config.max_tokens * 4,
            is_semantic: true,
        };
        let queue = Arc::new(Queue::default());
        let cache = Cache::new(config.cache_entries);
        let (tell, loaded) = watch::channel(None);
        let work = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("sid-embed".into())
            .spawn(move || run(&config, &library, &work, &tell))
            .map_err(|e| LlmError::Config(format!("cannot start the embedding thread: {e}")))?;
        Ok(Self { queue, cache, loaded, generation })
    }

    /// Waits until the model is loaded.
    ///
    /// Errors: [`LlmError::Config`] when it cannot be.
    pub async fn ready(&self) -> Result<(), LlmError> {
        let mut loaded = self.loaded.clone();
        let state = loaded.wait_for(Option::is_some).await.map_err(|_| gone())?;
        state.clone().unwrap_or(Ok(()))
    }
}

impl Drop for FastembedEmbedder {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn gone() -> LlmError {
    LlmError::Config("the embedding thread has ended".into())
}

/// `ort` panics when it cannot load its library, so it is looked for before.
fn find_library(config: &FastembedConfig) -> Result<PathBuf, LlmError> {
    let how = "set ORT_DYLIB_PATH (or the embedder's `onnxruntime`) to libonnxruntime.so of ONNX Runtime 1.24 or newer, for instance from the Python package `onnxruntime`";
    if let Some(path) = &config.onnxruntime {
        return if path.is_file() {
            Ok(path.clone())
        } else {
            Err(LlmError::Config(format!("there is no ONNX Runtime library at {}: {how}", path.display())))
        };
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(LlmError::Config(format!("ORT_DYLIB_PATH names no file ({}): {how}", path.display())))
        };
    }
    if let Some(folder) = config.local_folder()
        && let Ok(entries) = std::fs::read_dir(folder)
    {
        let mut found: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|e| e.path())
            .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("libonnxruntime.") || n == "onnxruntime.dll"))
            .collect();
        found.sort();
        if let Some(path) = found.pop() {
            return Ok(path);
        }
    }
    Err(LlmError::Config(format!("the embedding model needs ONNX Runtime: {how}")))
}

fn load(config: &FastembedConfig, library: &Path) -> Result<TextEmbedding, LlmError> {
    // One library per process: a second embedder uses the first one's.
    static LIBRARY: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut chosen = LIBRARY.lock();
    if chosen.is_none() {
        // Loads the library; the builder itself is not needed.
        drop(ort::init_from(library).map_err(|e| LlmError::Config(format!("cannot load ONNX Runtime: {e}")))?);
        *chosen = Some(library.to_owned());
    }
    drop(chosen);
    let failed = |e: fastembed::Error| LlmError::Config(format!("cannot load the embedding model: {e}"));
    match &config.source {
        FastembedSource::Folder(folder) => {
            let read = |file: &str| {
                let path = folder.join(file);
                std::fs::read(&path).map_err(|e| LlmError::Config(format!("cannot read {}: {e}", path.display())))
            };
            let or = |file: &str, default: &str| if folder.join(file).is_file() { read(file) } else { Ok(default.as_bytes().to_vec()) };
            let tokenizer = TokenizerFiles {
                tokenizer_file: read("tokenizer.json")?,
                config_file: or("config.json", CONFIG)?,
                special_tokens_map_file: or("special_tokens_map.json", SPECIAL_TOKENS)?,
                tokenizer_config_file: or("tokenizer_config.json", TOKENIZER_CONFIG)?,
            };
            let model = UserDefinedEmbeddingModel::new(read("model.onnx")?, tokenizer).with_pooling(Pooling::Mean);
            let options = InitOptionsUserDefined::new().with_intra_threads(config.threads).with_max_length(config.max_tokens);
            TextEmbedding::try_new_from_user_defined(model, options).map_err(failed)
        }
        #[cfg(feature = "hf")]
        FastembedSource::HuggingFace { model, cache } => {
            let known =
                model.parse::<fastembed::EmbeddingModel>().map_err(|_| LlmError::Config(format!("fastembed knows no model `{model}`")))?;
            let options = fastembed::TextInitOptions::new(known)
                .with_cache_dir(cache.clone())
                .with_max_length(config.max_tokens)
                .with_intra_threads(config.threads)
                .with_show_download_progress(false);
            TextEmbedding::try_new(options).map_err(failed)
        }
    }
}

/// The thread.
fn run(config: &FastembedConfig, library: &Path, queue: &Queue, tell: &watch::Sender<Option<Result<(), LlmError>>>) {
    let loaded = load(config, library).and_then(|mut model| {
        let probe = embed(&mut model, &["dimension"])?;
        let found = probe.first().map_or(0, Vec::len);
        if found != config.dimensions {
            return Err(LlmError::Config(format!(
                "the embedding model makes vectors of {found} numbers, but {} are configured",
                config.dimensions
            )));
        }
        Ok(model)
    });
    let mut model = match loaded {
        Ok(model) => {
            tell.send_replace(Some(Ok(())));
            model
        }
        Err(error) => {
            tell.send_replace(Some(Err(error.clone())));
            // Those who are waiting are told as well.
            loop {
                let batch = queue.next(usize::MAX, usize::MAX);
                if batch.is_empty() {
                    return;
                }
                batch.into_iter().for_each(|job| drop(job.answer.send(Err(error.clone()))));
            }
        }
    };
    loop {
        let batch = queue.next(MAX_BATCH, MAX_BATCH_BYTES);
        if batch.is_empty() {
            return;
        }
        let texts: Vec<&str> = batch.iter().map(|job| job.text.as_str()).collect();
        match embed(&mut model, &texts) {
            Ok(vectors) => batch.into_iter().zip(vectors).for_each(|(job, vector)| drop(job.answer.send(Ok(vector)))),
            Err(error) => batch.into_iter().for_each(|job| drop(job.answer.send(Err(error.clone())))),
        }
    }
}

fn embed(model: &mut TextEmbedding, texts: &[&str]) -> Result<Vec<Vec<f32>>, LlmError> {
    let mut vectors =
        model.embed(texts, Some(MAX_BATCH)).map_err(|e| LlmError::Interrupted { detail: format!("the embedding model failed: {e}") })?;
    vectors.iter_mut().for_each(|v| normalise(v));
    Ok(vectors)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for FastembedEmbedder {
    fn generation(&self) -> EmbeddingGeneration {
        self.generation.clone()
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let mut vectors: Vec<Option<Vec<f32>>> = Vec::with_capacity(texts.len());
        let mut jobs = Vec::new();
        let mut waiting = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let text = cut(text, MAX_BYTES);
            let key = Cache::key(text);
            let known = self.cache.get(&key);
            if known.is_none() {
                let (answer, receiver) = oneshot::channel();
                jobs.push(Job { text: text.to_owned(), answer });
                waiting.push((at, key, receiver));
            }
            vectors.push(known);
        }
        if !jobs.is_empty() {
            self.queue.push(input, jobs);
        }
        for (at, key, receiver) in waiting {
            let vector = receiver.await.map_err(|_| gone())??;
            self.cache.put(key, &vector);
            vectors[at] = Some(vector);
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}
