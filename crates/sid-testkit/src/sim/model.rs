//! A model that answers by chance: words, calls, nonsense, errors, or nothing for a long time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sid_llm::{
    BadArguments, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile,
    ReplyCall, Rung,
};
use sid_types::{Tokens, Usage};

use super::Sim;
use super::link::Link;
use super::people::tenant_of_prompt;
use crate::checker::Answer;

/// The model as one process calls it.
pub(super) struct SimModel {
    pub(super) sim: Arc<Sim>,
    pub(super) link: Arc<Link>,
}

#[async_trait]
impl ChatModel for SimModel {
    fn info(&self) -> ModelInfo {
        let profile = ModelProfile { context_window: Some(Tokens(8_192)), ..ModelProfile::default() };
        ModelInfo { model: "simulated".into(), profile }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let (sim, link) = (self.sim.clone(), self.link.clone());
        let (dice, plan) = (&sim.dice, &sim.plan);
        let prompt = text_of(&request);
        let prompt_tokens = prompt.len() as u64 / 4;
        let tenant = tenant_of_prompt(&prompt);
        sim.heard.lock().answers.push(Answer { tenant: tenant.into(), by: "a prompt".into(), text: prompt });
        self.pause().await;
        if dice.chance(plan.model_faults) {
            let what = dice.number(0..5);
            sim.trace.say(link.name(), format_args!("model fault {what}"));
            match what {
                0 => return Err(LlmError::RateLimited { retry_after: None }),
                1 => return Err(LlmError::Interrupted { detail: "cut".into() }),
                // It hangs until the run's time is up.
                2 => return Ok(futures::stream::pending().boxed()),
                3 => {
                    let events = [Ok(ChatEvent::TextDelta("Half a".into())), Err(LlmError::Interrupted { detail: "cut".into() })];
                    return Ok(futures::stream::iter(events).boxed());
                }
                _ => return Ok(futures::stream::iter([Ok(ChatEvent::Done(Box::new(reply(String::new(), Vec::new(), None))))]).boxed()),
            }
        }
        let reply = self.answer(&request, prompt_tokens);
        let pieces = reply.text.split_inclusive(' ').map(|piece| ChatEvent::TextDelta(piece.to_owned())).collect::<Vec<_>>();
        let events = pieces.into_iter().chain([ChatEvent::Done(Box::new(reply))]);
        let most = self.sim.plan.model_millis;
        let stream = futures::stream::iter(events).then(move |event| {
            let (sim, link) = (sim.clone(), link.clone());
            async move {
                link.pause(sim.dice.millis(0..most)).await;
                Ok(event)
            }
        });
        Ok(stream.boxed())
    }
}

impl SimModel {
    async fn pause(&self) {
        self.link.pause(self.sim.dice.millis(0..self.sim.plan.model_millis)).await;
    }

    fn answer(&self, request: &ChatRequest, prompt_tokens: u64) -> ChatReply {
        let (dice, plan) = (&self.sim.dice, &self.sim.plan);
        // Some engines do not report.
        let reported = Usage { prompt_tokens, completion_tokens: dice.number(1..50), cached_tokens: 0, is_estimated: false };
        let usage = dice.chance(0.7).then_some(reported);
        if request.tools.is_empty() || !dice.chance(plan.calls) {
            let words = usize::try_from(dice.number(1..12)).expect("a few");
            return reply(format!("I noted {}the pickles.", "all of ".repeat(words)), Vec::new(), usage);
        }
        let many = if dice.chance(0.2) { 2 } else { 1 };
        let text = if dice.chance(0.3) { "Let me see." } else { "" };
        let calls = (0..many).map(|at| self.call(at)).collect();
        reply(text.into(), calls, usage)
    }

    fn call(&self, at: u64) -> ReplyCall {
        let dice = &self.sim.dice;
        let number = dice.number(0..1_000_000);
        let (name, arguments): (&str, Value) = match dice.number(0..9) {
            0 => ("core_memory_append", json!({"label": "human", "content": format!("Pickle {number}.")})),
            1 => ("core_memory_replace", json!({"label": "human", "old_content": "Pickle", "new_content": "Gherkin"})),
            2 => ("archival_memory_insert", json!({"content": format!("Pickle jar {number} stands in the cellar.")})),
            3 => ("archival_memory_search", json!({"query": "pickle jar"})),
            4 => ("conversation_search", json!({"query": "pickles"})),
            5 => ("no_such_tool", json!({"n": number})),
            _ => ("ring", json!({})),
        };
        let arguments = if dice.chance(0.05) {
            Err(BadArguments { raw: "{\"half".into(), problem: "not JSON".into() })
        } else {
            Ok(arguments.as_object().cloned().unwrap_or_default())
        };
        ReplyCall { id: format!("call_{number}_{at}"), name: name.into(), arguments }
    }
}

fn reply(text: String, calls: Vec<ReplyCall>, usage: Option<Usage>) -> ChatReply {
    let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
    ChatReply { text, reasoning: String::new(), calls, finish, usage, rung: Rung::Native }
}

fn text_of(request: &ChatRequest) -> String {
    let mut text = String::new();
    for message in &request.messages {
        let (ChatMessage::System { text: said }
        | ChatMessage::User { text: said }
        | ChatMessage::Assistant { text: said, .. }
        | ChatMessage::Tool { text: said, .. }) = message;
        text.push_str(said);
        text.push('\n');
    }
    text
}

/// An embedder that takes its time.
pub(super) struct SlowEmbedder {
    pub(super) sim: Arc<Sim>,
    pub(super) link: Arc<Link>,
}

#[async_trait]
impl sid_llm::Embedder for SlowEmbedder {
    fn generation(&self) -> sid_llm::EmbeddingGeneration {
        sid_llm::HashEmbedder::new().generation()
    }

    async fn embed(&self, input: sid_llm::EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        self.link.pause(self.sim.dice.millis(0..50)).await;
        if self.sim.dice.chance(self.sim.plan.model_faults / 4.0) {
            return Err(LlmError::Timeout { stage: sid_llm::TimeoutStage::Total, limit: Duration::from_millis(50) });
        }
        sid_llm::HashEmbedder::new().embed(input, texts).await
    }
}
