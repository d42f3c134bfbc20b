//! What answers and what makes vectors.

use std::path::PathBuf;

use crate::config::setting::{Secret, choice, section};

choice! {
    /// What a model endpoint speaks.
    ModelApi: "\"openai\" or \"ollama\"" {
        /// The OpenAI chat API (vLLM, llama.cpp, SGLang, LM Studio, Together, ...).
        OpenAi = "openai",
        /// Ollama's own API.
        Ollama = "ollama",
    }
}

choice! {
    /// How tool calls are got out of a model.
    ToolMode: "\"auto\", \"native\", \"structured\", \"text\" or \"none\"" {
        /// What discovery finds best.
        Auto = "auto",
        /// The engine's own tool calls.
        Native = "native",
        /// One JSON schema over all tools.
        Structured = "structured",
        /// Tools described in the prompt.
        Text = "text",
        /// No tools.
        None = "none",
    }
}

choice! {
    /// How tokens are counted.
    Tokenizer: "\"auto\", \"bytes\", \"cl100k\" or \"o200k\"" {
        /// The vocabulary that suits the model, corrected by what the engine reports.
        Auto = "auto",
        /// Four bytes are a token, corrected by what the engine reports.
        Bytes = "bytes",
        /// OpenAI's cl100k vocabulary.
        Cl100k = "cl100k",
        /// OpenAI's o200k vocabulary.
        O200k = "o200k",
    }
}

choice! {
    /// What makes vectors.
    EmbedderKind: "\"lexical\", \"fastembed\", \"openai\" or \"none\"" {
        /// Hashed words: finds the same words, not the same meaning.
        Lexical = "lexical",
        /// A sentence model in this process.
        Fastembed = "fastembed",
        /// An OpenAI-compatible `/v1/embeddings` endpoint.
        OpenAi = "openai",
        /// No vectors at all.
        None = "none",
    }
}

section! {
    /// One model endpoint.
    Model {
        /// Where it is, for `openai` with `/v1` at the end.
        base_url: String = "http://127.0.0.1:8080/v1".into();
        /// What it speaks.
        api: ModelApi = ModelApi::OpenAi;
        /// The name that the endpoint knows the model by. llama.cpp takes any.
        model: String = "default".into();
        /// The endpoint's key, if it wants one.
        api_key: Secret = Secret::default();
        /// The window in tokens, where the endpoint does not say or says too much. Not set: what discovery finds, else 8192.
        context_window: Option<u32> = None;
        /// How tools are called.
        tool_mode: ToolMode = ToolMode::Auto;
        /// Whether the chat template takes system messages after the first. Not set: what discovery finds.
        system_anywhere: Option<bool> = None;
        /// Most tokens of one answer, whatever an agent asks for. Not set: as the agent says, else a share of the window.
        max_output: Option<u32> = None;
        /// The configured model that writes summaries and diary pages for this one. Not set: this one.
        summarizer: Option<String> = None;
        /// What a million tokens of prompts cost, in millionths of a currency; counts for the budgets of tasks.
        price_prompt: u64 = 0;
        /// What a million tokens of answers cost, in millionths of a currency; counts for the budgets of tasks.
        price_completion: u64 = 0;
        /// Time to connect, in milliseconds.
        connect_ms: u64 = 5_000;
        /// Time to the first byte of an answer (reading a long prompt is slow), in milliseconds.
        first_byte_ms: u64 = 60_000;
        /// Longest silence inside an answer, in milliseconds.
        idle_ms: u64 = 30_000;
        /// Longest whole answer, in milliseconds.
        total_ms: u64 = 600_000;
        /// Tries of one call, the first included.
        max_tries: u32 = 3;
        /// Longest pause before the second try, in milliseconds; it doubles each time.
        base_delay_ms: u64 = 500;
        /// Most calls at once; others wait. 0 = no limit.
        max_concurrency: usize = 32;
        /// Most tries after the first ones, in percent of the calls of the last 30 s; a few more where there are few calls. 100 = no limit.
        retry_percent: u64 = 10;
        /// The breaker opens, and calls are refused, when this share of the calls of the last 30 s failed, in percent. Models that are the same one at the same endpoint share a breaker: the settings of the first by name hold.
        breaker_failures_percent: u64 = 50;
        /// Fewer calls in 30 s never open the breaker. 0 = there is none.
        breaker_min_calls: u64 = 20;
        /// How long the breaker stays open before one call tries whether the endpoint is back, in milliseconds.
        breaker_pause_ms: u64 = 10_000;
        /// How tokens are counted.
        tokenizer: Tokenizer = Tokenizer::Auto;
        /// Whether answers are streamed from the endpoint.
        stream: bool = true;
    }
}

section! {
    /// What makes vectors for search by meaning.
    Embedder {
        /// Which embedder. The default, `lexical`, finds the same words only.
        kind: EmbedderKind = EmbedderKind::Lexical;
        /// For `fastembed`: the folder with the model's files.
        path: Option<PathBuf> = None;
        /// For `fastembed`: the ONNX Runtime library file. Not set: the system's.
        onnxruntime: Option<PathBuf> = None;
        /// For `openai`: where the endpoint is, with `/v1` at the end.
        base_url: Option<String> = None;
        /// For `openai`: the endpoint's key, if it wants one.
        api_key: Secret = Secret::default();
        /// For `openai`: the name that the endpoint knows the model by.
        model: Option<String> = None;
        /// Numbers per vector. Required for `openai`; for `lexical` 384 unless set; a `fastembed` model has its own.
        dimensions: Option<usize> = None;
        /// Threads that a model in this process may use. 0 = as many as cores.
        threads: usize = 0;
    }
}
