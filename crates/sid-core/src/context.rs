//! A prompt for people: what was sent, or would be sent now, part by part.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use sid_llm::ChatMessage;
use sid_memory::{Budget, View, valid_view};
use sid_store::{Loaded, Order};
use sid_types::{
    Conversation, ConversationId, EventBody, NewMessage, Owner, Priority, Recollection, Run, RunId, RunLimits, RunStatus, Scope, Seq, Step,
    Tokens, ToolSpec, Usage,
};

use crate::engine::Inner;
use crate::machine::RunMachine;
use crate::prepare::{TurnPreparation, head};
use crate::prompt::{assemble, split_prefix};
use crate::{CoreError, ModelEntry};

/// Which prompt to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextOf {
    /// The one that would be sent if the user now said this. Calls no chat model, changes nothing.
    Next {
        /// What the user would say.
        text: String,
    },
    /// The one of the last step that was committed.
    Last,
}

/// One segment of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentView {
    /// `instructions`, `tools`, `blocks`, `diary`, `summary`, `queue`, `tail`, `stimulus`, `reserve`; those that are empty may be missing.
    pub name: &'static str,
    /// Its size.
    pub tokens: Tokens,
    /// The most it may have; `None` = what is left.
    pub cap: Option<Tokens>,
    /// The exact text; empty for `reserve`.
    pub text: String,
}

/// A prompt, part by part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptView {
    /// The run, for [`ContextOf::Last`].
    pub run: Option<RunId>,
    /// The model's name at its endpoint.
    pub model: String,
    /// The window that is used.
    pub window: Tokens,
    /// The size of the prompt, as counted.
    pub prompt_tokens: Tokens,
    /// Room reserved for the answer.
    pub reserved: Tokens,
    /// The segments, in the order of the prompt.
    pub segments: Vec<SegmentView>,
    /// What was recalled, best first.
    pub recalled: Vec<Recollection>,
    /// The messages as they are sent.
    pub messages: Vec<ChatMessage>,
    /// The tools as they are sent.
    pub tools: Vec<ToolSpec>,
}

/// Most messages of a queue that are read for a view; a window of a million tokens holds no more.
const MOST_QUEUED: usize = 20_000;

pub(crate) async fn view(inner: &Arc<Inner>, scope: &Scope, id: ConversationId, which: ContextOf) -> Result<PromptView, CoreError> {
    let conversation = inner.store.conversation(scope, id).await?;
    match which {
        ContextOf::Next { text } => next(inner, scope, conversation, text).await,
        ContextOf::Last => last(inner, scope, conversation).await,
    }
}

async fn next(inner: &Arc<Inner>, scope: &Scope, conversation: Conversation, text: String) -> Result<PromptView, CoreError> {
    let now = inner.clock.now();
    let run = RunId::new();
    let stimulus = NewMessage::user(text, now);
    let last_contact = conversation.last_at;
    let (id, seq) = (conversation.id, conversation.last_seq.next());
    let mut state = state_of(inner, scope, conversation, run).await?;
    state.last_contact = last_contact;
    state.run.stimulus = vec![stimulus.id];
    state.queue.push(stimulus.placed(id, seq, Some(run)));
    let model = model_of(inner, &state)?;
    let turn_scope = turn_scope(scope, &state);
    let mut turn = TurnPreparation::new(inner.clone(), turn_scope, model.clone(), &state).await?;
    let mut machine = RunMachine::new(state, now, now, model.counter.clone());
    let made = turn.make(&mut machine).await?;
    let tail = made.tail.render();
    Ok(PromptView {
        run: None,
        model: model.chat.info().model,
        window: made.budget.window,
        prompt_tokens: made.counted,
        reserved: made.budget.answer,
        segments: segments(&made.prefix, &made.tools, &made.view, &tail, &made.budget, &model),
        recalled: made.recalled.into_iter().map(|r| r.shown).collect(),
        messages: made.messages,
        tools: made.tools.into_iter().map(Arc::unwrap_or_clone).collect(),
    })
}

async fn last(inner: &Arc<Inner>, scope: &Scope, conversation: Conversation) -> Result<PromptView, CoreError> {
    let mut found: Option<(Run, Step)> = None;
    for run in inner.store.runs(scope, conversation.id, 10).await? {
        if let Some(step) = inner.store.steps(scope, run.id).await?.pop() {
            found = Some((run, step));
            break;
        }
    }
    let Some((run, step)) = found else {
        return Err(CoreError::Invalid("this conversation has had no model call yet: ask for the next prompt instead (which=next)".into()));
    };
    let events = inner.store.events(scope, run.id, 0, 10_000).await?;
    let recalled = events.into_iter().rev().find_map(|e| match e.body {
        EventBody::Recalled { items, .. } => Some(items),
        _ => None,
    });
    let prefix = conversation.prefix.clone().unwrap_or_default();
    let mut state = state_of(inner, scope, conversation, run.id).await?;
    state.queue.retain(|m| (step.queue.0..=step.queue.1).contains(&m.seq.0));
    state.run = run;
    let model = model_of(inner, &state)?;
    let turn = TurnPreparation::new(inner.clone(), turn_scope(scope, &state), model.clone(), &state).await?;
    let counter = model.counter.clone();
    let count = move |text: &str| counter.count(text);
    let (tools, tools_size) = turn.tools(&turn.budget());
    let machine = RunMachine::new(state, inner.clock.now(), inner.clock.now(), model.counter.clone());
    let budget = turn.budget().fitted(&head(&machine, tools_size, &count));
    let view = valid_view(&turn.queue(&machine, &count), &budget, &count);
    let tail = step.tail.clone().unwrap_or_default();
    let messages = assemble(&prefix, &view, &tail, model.chat.info().profile.system_anywhere);
    Ok(PromptView {
        run: Some(step.run),
        model: model.chat.info().model,
        window: budget.window,
        prompt_tokens: Tokens(u32::try_from(step.usage.prompt_tokens).unwrap_or(u32::MAX)),
        reserved: budget.answer,
        segments: segments(&prefix, &tools, &view, &tail, &budget, &model),
        recalled: recalled.unwrap_or_default(),
        messages,
        tools: tools.into_iter().map(Arc::unwrap_or_clone).collect(),
    })
}

fn model_of(inner: &Inner, state: &Loaded) -> Result<ModelEntry, CoreError> {
    let spec = &state.agent.spec;
    let unknown = || CoreError::UnknownModel { agent: spec.name.clone(), model: spec.model.clone() };
    inner.models.get(&spec.model).cloned().ok_or_else(unknown)
}

fn turn_scope(scope: &Scope, state: &Loaded) -> Scope {
    scope.turn(state.conversation.agent, state.conversation.user)
}

/// The state that a run would load, read without a lease.
async fn state_of(inner: &Inner, scope: &Scope, conversation: Conversation, run: RunId) -> Result<Loaded, CoreError> {
    let store = &inner.store;
    let agent = store.agent(scope, conversation.agent).await?;
    let user = match conversation.user {
        Some(id) => Some(store.user(scope, id).await?),
        None => None,
    };
    let turn = scope.turn(agent.id, conversation.user);
    let mut teams = Vec::new();
    if let Some(user) = &user {
        teams = store.user_teams(&turn, user.id).await?;
        teams.sort_by_key(|m| m.team.id);
    }
    let mut owners = vec![Owner::of_conversation(agent.id, conversation.user), Owner::Agent { agent: agent.id }, Owner::Tenant];
    owners.extend(conversation.user.map(|user| Owner::User { user }));
    owners.extend(teams.iter().map(|t| Owner::Team { team: t.team.id }));
    owners.dedup();
    let mut blocks = Vec::new();
    for owner in owners {
        blocks.extend(store.blocks(&turn, owner).await?);
    }
    blocks.sort_by(|a, b| a.label.cmp(&b.label).then(a.id.cmp(&b.id)));
    blocks.dedup_by_key(|b| b.id);
    let before_queue = Seq(conversation.queue_start.0.saturating_sub(1));
    let queue = store.page(scope, conversation.id, Some(before_queue), Order::Ascending, MOST_QUEUED).await?;
    Ok(Loaded {
        run: Run {
            id: run,
            conversation: conversation.id,
            agent: agent.id,
            status: RunStatus::Running,
            stop_reason: None,
            error: None,
            limits: RunLimits::default(),
            priority: Priority::User,
            client_tools: Vec::new(),
            steps: 0,
            usage: Usage::default(),
            commits: 0,
            cancel_requested: false,
            stimulus: Vec::new(),
            created_at: inner.clock.now(),
            started_at: None,
            ended_at: None,
        },
        agent,
        user,
        teams,
        conversation,
        queue,
        blocks,
        open_calls: Vec::new(),
        last_contact: None,
        began: Instant::now(),
    })
}

fn segments(prefix: &str, tools: &[Arc<ToolSpec>], view: &View, tail: &str, budget: &Budget, model: &ModelEntry) -> Vec<SegmentView> {
    let count = |text: &str| model.counter.count(text);
    let mut out = Vec::new();
    for (name, text) in split_prefix(prefix) {
        let cap = match name {
            "instructions" => budget.instructions,
            "blocks" => budget.blocks,
            "diary" => budget.diary,
            _ => budget.summary,
        };
        out.push(SegmentView { name, tokens: count(text), cap: Some(cap), text: text.to_owned() });
    }
    let tools_text = if tools.is_empty() {
        String::new()
    } else {
        serde_json::to_string_pretty(&tools.iter().map(|t| &**t).collect::<Vec<_>>()).unwrap_or_default()
    };
    let tools_tokens = tools.iter().map(|t| sid_memory::spec_tokens(t, &count)).sum();
    out.insert(1.min(out.len()), SegmentView { name: "tools", tokens: tools_tokens, cap: Some(budget.tools), text: tools_text });
    for (name, is_stimulus) in [("queue", false), ("stimulus", true)] {
        let part: Vec<_> = view.messages.iter().filter(|m| m.is_stimulus == is_stimulus).collect();
        let text: Vec<String> =
            part.iter().map(|m| format!("{}: {}", sid_memory::render::role_name(m.body.role()), m.body.text())).collect();
        let tokens = part.iter().map(|m| m.tokens).sum();
        let cap = if is_stimulus { budget.stimulus() } else { budget.queue };
        out.push(SegmentView { name, tokens, cap: Some(cap), text: text.join("\n") });
    }
    let at = out.len() - 1;
    out.insert(at, SegmentView { name: "tail", tokens: count(tail), cap: Some(budget.recall + budget.tail), text: tail.to_owned() });
    out.push(SegmentView { name: "reserve", tokens: budget.answer, cap: Some(budget.answer), text: String::new() });
    out
}
