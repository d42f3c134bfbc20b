//! What an engine says when it refuses, read as an [`LlmError`].

use std::time::Duration;

use serde_json::Value;
use sid_types::Tokens;

use crate::LlmError;

/// The first 500 characters.
pub(crate) fn detail(text: &str) -> String {
    text.trim().chars().take(500).collect()
}

/// An answer with a status other than success.
pub(crate) fn of_status(status: u16, retry_after: Option<Duration>, body: &str) -> LlmError {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let error = value.get("error").unwrap_or(&value);
    let message = message_of(error).unwrap_or_else(|| detail(body));
    if matches!(status, 400 | 413 | 422 | 500)
        && let Some(overflow) = context_overflow(error, &message)
    {
        return overflow;
    }
    match status {
        401 | 403 => LlmError::Unauthorized { status },
        429 => LlmError::RateLimited { retry_after },
        408 | 409 | 425 | 500.. => LlmError::ServerFault { status, detail: detail(&message) },
        _ => LlmError::Refused { status, detail: detail(&message) },
    }
}

/// An error in the midst of a stream that had begun with success.
pub(crate) fn in_stream(error: &Value) -> LlmError {
    let message = message_of(error).unwrap_or_else(|| detail(&error.to_string()));
    if let Some(overflow) = context_overflow(error, &message) {
        return overflow;
    }
    let code = ["code", "status"].into_iter().find_map(|k| error.get(k)).and_then(|c| c.as_u64().or_else(|| c.as_str()?.parse().ok()));
    match code.and_then(|c| u16::try_from(c).ok()) {
        Some(status @ 400..=599) => of_status(status, None, &error.to_string()),
        _ => LlmError::Interrupted { detail: detail(&message) },
    }
}

fn message_of(error: &Value) -> Option<String> {
    let text = match error {
        Value::String(text) => Some(text.as_str()),
        _ => ["message", "detail", "error"].into_iter().find_map(|k| error.get(k)).and_then(Value::as_str),
    };
    text.map(detail)
}

/// Recognises "the prompt is too large" in the words of vLLM, llama.cpp, SGLang, LM Studio, Ollama, Together and OpenAI.
fn context_overflow(error: &Value, message: &str) -> Option<LlmError> {
    let number = |key: &str| error.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).map(Tokens);
    let kind = ["type", "code"].into_iter().filter_map(|k| error.get(k)).filter_map(Value::as_str);
    let is_typed = kind.into_iter().any(|k| matches!(k, "exceed_context_size_error" | "context_length_exceeded"));
    let words = message.to_ascii_lowercase();
    let says_so = [
        "maximum context length",
        "context size",
        "context length",
        "context window",
        "input length exceeds",
        "prompt is too long",
        "too many tokens",
        "max_new_tokens` must be",
        "longer than the model",
        "max_model_len",
    ]
    .iter()
    .any(|w| words.contains(w))
        && ["exceed", "longer", "overflow", "however", "must be <=", "only", "too long", "too many", "larger"]
            .iter()
            .any(|w| words.contains(w));
    if !is_typed && !says_so {
        return None;
    }
    let numbers = numbers_in(&words);
    let window = number("n_ctx").or_else(|| window_in(&words, &numbers));
    // The prompt is the largest number that is not the window, and above it or below a total.
    let prompt = number("n_prompt_tokens").or_else(|| prompt_in(&words, &numbers, window));
    Some(LlmError::ContextOverflow { prompt, window })
}

/// Numbers of three to eight digits, with the byte at which they begin.
fn numbers_in(words: &str) -> Vec<(usize, u32)> {
    let bytes = words.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = bytes[at..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| at + n);
        if (3..=8).contains(&(end - at))
            && let Ok(number) = words[at..end].parse()
        {
            found.push((at, number));
        }
        at = end;
    }
    found
}

fn window_in(words: &str, numbers: &[(usize, u32)]) -> Option<Tokens> {
    let marks = [
        "context length is",
        "context length of",
        "context size (",
        "context size of",
        "context length (",
        "context window of",
        "must be <=",
        "maximum context length",
    ];
    marks.iter().filter_map(|mark| words.find(mark)).find_map(|at| {
        let (start, number) = numbers.iter().find(|(start, _)| *start > at)?;
        (start - at < 60).then_some(Tokens(*number))
    })
}

fn prompt_in(words: &str, numbers: &[(usize, u32)], window: Option<Tokens>) -> Option<Tokens> {
    let marks = ["in the messages", "input tokens", "tokens from the input", "`inputs` tokens and", "in your prompt"];
    let before = |at: usize| numbers.iter().rev().find(|(start, _)| *start < at && at - start < 20).map(|(_, n)| Tokens(*n));
    marks
        .iter()
        .filter_map(|mark| words.find(mark))
        .find_map(before)
        .or_else(|| numbers.iter().map(|(_, n)| Tokens(*n)).filter(|n| Some(*n) != window).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_in_the_words_of_every_engine() {
        for (engine, body, prompt, window) in [
            (
                "vllm",
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5012 tokens (4500 in the messages, 512 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","code":400}"#,
                4500,
                4096,
            ),
            (
                "vllm new",
                r#"{"error":{"message":"You passed 5001 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 3996 tokens.","type":"BadRequestError","code":400}}"#,
                5001,
                4096,
            ),
            (
                "llama.cpp",
                r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#,
                5000,
                4096,
            ),
            (
                "sglang",
                r#"{"object":"error","message":"Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5012 tokens: 4500 tokens from the input messages and 512 tokens for the completion.","type":"BadRequestError","code":400}"#,
                4500,
                4096,
            ),
            ("sglang old", r#"{"message":"The input (5000 tokens) is longer than the model's context length (4096 tokens)."}"#, 5000, 4096),
            (
                "lm studio",
                r#"{"error":"Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}"#,
                5000,
                4096,
            ),
            (
                "together",
                r#"{"error":{"message":"`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 512 `max_new_tokens`","type":"invalid_request_error"}}"#,
                5000,
                4096,
            ),
        ] {
            let error = of_status(400, None, body);
            assert_eq!(error, LlmError::ContextOverflow { prompt: Some(Tokens(prompt)), window: Some(Tokens(window)) }, "{engine}");
        }
        for body in [
            r#"{"error":{"message":"whatever","code":"context_length_exceeded"}}"#,
            r#"{"error":"input length exceeds the context length"}"#,
        ] {
            assert!(matches!(of_status(400, None, body), LlmError::ContextOverflow { .. }), "{body}");
        }
    }

    #[test]
    fn other_refusals_keep_their_kind() {
        assert_eq!(of_status(401, None, ""), LlmError::Unauthorized { status: 401 });
        assert_eq!(of_status(429, Some(Duration::from_secs(2)), "{}"), LlmError::RateLimited { retry_after: Some(Duration::from_secs(2)) });
        assert!(
            matches!(of_status(503, None, r#"{"error":{"message":"Loading model"}}"#), LlmError::ServerFault { status: 503, detail } if detail == "Loading model")
        );
        assert!(matches!(of_status(400, None, r#"{"error":"model does not support tools"}"#), LlmError::Refused { status: 400, .. }));
        assert!(matches!(of_status(404, None, "no such page"), LlmError::Refused { status: 404, detail } if detail == "no such page"));
        assert_eq!(detail(&"é".repeat(900)).chars().count(), 500);
    }
}
