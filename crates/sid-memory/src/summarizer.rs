//! The summariser that asks a model.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use sid_llm::{ChatMessage, ChatModel, ChatRequest, LlmError, TokenCounter, complete};
use sid_types::Tokens;

use crate::summary::{SummarizeError, Summarizer, SummaryTask};

/// Smallest piece that is still worth a call; an engine that refuses even this one is given up on.
const SMALLEST: Tokens = Tokens(48);

/// Asks a chat model, chunk by chunk so that its window holds, whatever the length of what is folded in.
///
/// The model may be another one than the agent's, with a smaller window. Errors: the model's; [`SummarizeError::Empty`]. A chunk that
/// the engine finds too large is halved and asked for again.
pub struct ModelSummarizer {
    model: Arc<dyn ChatModel>,
    window: Tokens,
    counter: Arc<dyn TokenCounter>,
}

impl ModelSummarizer {
    /// A summariser over `model`, whose window is `window` tokens by `counter`.
    #[must_use]
    pub fn new(model: Arc<dyn ChatModel>, window: Tokens, counter: Arc<dyn TokenCounter>) -> Self {
        Self { model, window, counter }
    }

    async fn fold(&self, task: &SummaryTask, so_far: &str, chunk: &str, max_tokens: Tokens) -> Result<String, LlmError> {
        let prompt = task.prompt(so_far, chunk, self.is_small());
        let request = ChatRequest {
            messages: vec![ChatMessage::System { text: prompt.system }, ChatMessage::User { text: prompt.user }],
            tools: Vec::new(),
            max_tokens,
            temperature: Some(0.2),
            json_schema: None,
        };
        Ok(complete(&*self.model, request).await?.text)
    }

    fn is_small(&self) -> bool {
        self.window < Tokens(1_536)
    }
}

#[async_trait]
impl Summarizer for ModelSummarizer {
    async fn summarize(&self, task: &SummaryTask) -> Result<String, SummarizeError> {
        let count = |text: &str| self.counter.count(text);
        // Room to think for models that do, but never more than a quarter of the window.
        let max_tokens = Tokens((task.limit.0 * 2 + 256).min(self.window.0 / 4).max(16));
        let empty = task.prompt("", "", self.is_small());
        // Twelve for the template of two messages, a fiftieth for the counter's error.
        let around = count(&empty.system) + count(&empty.user) + Tokens(12 + self.window.0 / 50) + task.limit;
        let room = self.window.saturating_sub(max_tokens).saturating_sub(around).max(SMALLEST);
        let mut waiting: VecDeque<String> = task.chunks(room, &count).into();
        if waiting.is_empty() {
            return Ok(task.tidy(&task.old, &count));
        }
        // The old text may be of another limit (a larger window, another model).
        let mut so_far = crate::cut_to(&task.old, task.limit, &count).to_owned();
        while let Some(chunk) = waiting.pop_front() {
            let answer = match self.fold(task, &so_far, &chunk, max_tokens).await {
                Ok(answer) => answer,
                Err(LlmError::ContextOverflow { .. }) if count(&chunk) > SMALLEST => {
                    let (first, second) = halves(&chunk);
                    waiting.push_front(second.to_owned());
                    waiting.push_front(first.to_owned());
                    continue;
                }
                Err(error) => return Err(SummarizeError::Failed { source: Box::new(error) }),
            };
            let text = task.tidy(&answer, &count);
            if text.is_empty() {
                return Err(SummarizeError::Empty);
            }
            so_far = text;
        }
        Ok(so_far)
    }
}

/// Two parts of about equal length, parted at a line break or a blank where there is one.
fn halves(chunk: &str) -> (&str, &str) {
    let middle = chunk.floor_char_boundary(chunk.len() / 2);
    let at = chunk[..middle].rfind('\n').or_else(|| chunk[..middle].rfind(' ')).filter(|at| *at > 0).unwrap_or(middle);
    let (first, second) = chunk.split_at(at);
    (first, second.trim_start())
}
