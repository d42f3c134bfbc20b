//! The real MiniLM, where `SID_EMBED_DIR` names a folder with `model.onnx`, `tokenizer.json` and ONNX Runtime (or
//! `ORT_DYLIB_PATH` names the latter).
#![cfg(feature = "fastembed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sid_llm::{EmbedInput, Embedder, FastembedConfig, FastembedEmbedder, LlmError};

fn folder() -> Option<String> {
    let folder = std::env::var("SID_EMBED_DIR").ok().filter(|f| !f.is_empty());
    if folder.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test says why")]
        {
            eprintln!("skipped: SID_EMBED_DIR is not set");
        }
    }
    folder
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[tokio::test]
async fn meaning_and_order_and_priority() {
    let Some(folder) = folder() else { return };
    let embedder = Arc::new(FastembedEmbedder::start(FastembedConfig::folder(folder)).expect("all files are there"));
    embedder.ready().await.expect("the model loads");
    assert_eq!(embedder.generation().id, "fastembed/minilm-l6-v2-int8/384/c1");

    let texts: Vec<String> = ["pickles", "gherkins", "the Battle of Hastings", "", &"pickles and ".repeat(5_000)].map(str::to_owned).into();
    let v = embedder.embed(EmbedInput::Document, &texts).await.expect("vectors");
    assert!(v.iter().all(|v| v.len() == 384 && (cosine(v, v) - 1.0).abs() < 1e-4));
    assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.1, "{} {}", cosine(&v[0], &v[1]), cosine(&v[0], &v[2]));
    assert_eq!(embedder.embed(EmbedInput::Query, &texts[..1]).await.expect("cached")[0], v[0]);

    // A query does not wait for the documents in front of it.
    let documents: Vec<String> =
        (0..200).map(|n| format!("document {n} says something about {} pickles and {n} other things", n * 7)).collect();
    let background = Arc::clone(&embedder);
    let work = tokio::spawn(async move { background.embed(EmbedInput::Document, &documents).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    embedder.embed(EmbedInput::Query, &["where are the gherkins?".to_owned()]).await.expect("a vector");
    let waited = start.elapsed();
    assert!(!work.is_finished(), "the documents take longer than the query waited ({waited:?})");
    work.abort();
}

#[tokio::test]
async fn missing_files_are_named() {
    let error = FastembedEmbedder::start(FastembedConfig {
        onnxruntime: Some("no/such/libonnxruntime.so".into()),
        ..FastembedConfig::folder("no/such")
    });
    let Err(LlmError::Config(text)) = error else { panic!("a configuration error") };
    assert!(text.contains("no/such/libonnxruntime.so") && text.contains("ORT_DYLIB_PATH"), "{text}");

    // A file that is no library gives an error and no panic.
    let folder = std::env::temp_dir().join(format!("sid-embed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable temporary directory");
    for file in ["model.onnx", "tokenizer.json", "libonnxruntime.so"] {
        std::fs::write(folder.join(file), b"nonsense").expect("a writable temporary directory");
    }
    let config = FastembedConfig { onnxruntime: Some(folder.join("libonnxruntime.so")), ..FastembedConfig::folder(&folder) };
    let embedder = FastembedEmbedder::start(config).expect("the files are there");
    assert!(matches!(embedder.embed(EmbedInput::Query, &["x".to_owned()]).await, Err(LlmError::Config(_))));
    assert!(matches!(embedder.ready().await, Err(LlmError::Config(_))));
    std::fs::remove_dir_all(&folder).expect("it was made above");
}
