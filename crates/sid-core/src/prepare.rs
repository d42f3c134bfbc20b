//! From a loaded run to a request: paging, prefix, recall, assembly.

use std::sync::Arc;
use std::time::Duration;

use sid_llm::{ChatReply, ChatRequest};
use sid_memory::{
    Budget, EvictionPlan, FifoQueue, HeadSize, Item, MESSAGE_OVERHEAD, Pressure, SummaryTask, View, count_bytes, fit_specs, plan_eviction,
    plan_half, pressure, render, spec_tokens, valid_view,
};
use sid_store::Loaded;
use sid_tools::Registry;
use sid_types::{AgentSpec, EventBody, MessageId, Owner, RecursiveSummary, Scope, Source, Tokens, ToolRule, ToolSpec};
use tracing::debug;

use crate::approval::Gate;
use crate::client_tools::ClientTools;
use crate::colleague::{self, Reach};
use crate::compaction::Ahead;
use crate::engine::Inner;
use crate::machine::{RunMachine, StepFacts};
use crate::prompt::{PrefixParts, assemble, render_prefix};
use crate::provider::TurnTools;
use crate::recall::Reminder;
use crate::rules::Rules;
use crate::tail::{Tail, clock_line};
use crate::task::TaskSide;
use crate::{CoreError, ModelEntry, diary, recall, tool_search};

/// Most times that a run shrinks its window because the engine says that it is smaller than was thought.
const MAX_SHRINKS: u32 = 4;

/// Most tokens of recalled snippets in any window: small models lose the thread in more.
const MOST_RECALLED: Tokens = Tokens(2_400);

/// From this share of a prompt's room on the engine is asked for the exact size, if it can say: an estimate that is a third too low is
/// noticed in time.
const EXACT_FROM: (u32, u32) = (3, 4);
/// Most times that a prompt is made anew because the engine counts more than was estimated.
const MAX_RECOUNTS: u32 = 3;

/// Most bytes of a changed block that the tail shows. More than a block may have; halved until the prompt fits.
const MOST_OF_A_BLOCK: usize = 1 << 20;

/// A request with what is known about it.
pub(crate) struct Prepared {
    pub(crate) request: ChatRequest,
    pub(crate) facts: StepFacts,
    /// The size of the prompt, as counted.
    pub(crate) counted: Tokens,
}

/// Everything that a prompt was made of, for people.
pub(crate) struct PreparedView {
    pub(crate) budget: Budget,
    pub(crate) prefix: String,
    pub(crate) tools: Vec<Arc<ToolSpec>>,
    pub(crate) view: View,
    pub(crate) tail: Tail,
    pub(crate) recalled: Vec<Reminder>,
    pub(crate) messages: Vec<sid_llm::ChatMessage>,
    pub(crate) counted: Tokens,
}

/// Prepares the prompts of one run.
pub(crate) struct TurnPreparation {
    inner: Arc<Inner>,
    scope: Scope,
    model: ModelEntry,
    window: Tokens,
    max_output: Option<Tokens>,
    tools: TurnTools,
    /// Tasks that wait for who speaks here.
    tasks: Vec<String>,
    /// The sources of those lines.
    tasks_from: Vec<Source>,
    is_task: bool,
    zone: jiff::tz::TimeZone,
    /// What was recalled for the stimulus: once per run, so that the steps of a run share their prefix.
    recalled: Option<Vec<Reminder>>,
    shrinks: u32,
    /// The queue was filling up when the last prompt was made.
    is_filling: bool,
}

impl TurnPreparation {
    pub(crate) async fn new(inner: Arc<Inner>, scope: Scope, model: ModelEntry, loaded: &Loaded) -> Result<Self, CoreError> {
        let spec = &loaded.agent.spec;
        let window = spec.context_window.map_or(model.window(), |own| own.min(model.window()));
        let side = TaskSide::of(&*inner.store, &scope, &loaded.agent, &loaded.conversation).await?;
        let reach = Reach::of(&*inner.store, &scope, loaded).await?;
        let own = inner.task_tools.of(&side, &loaded.agent, reach.as_ref().is_some_and(Reach::is_of_ego));
        let more = match reach {
            Some(reach) => {
                let speaking = colleague::registry(&inner, reach).map_err(|e| CoreError::Invalid(e.to_string()))?;
                Some(own.unwrap_or_default().and(&speaking))
            }
            None => own,
        };
        let tools = TurnTools::of(&inner, &scope, spec.tools.as_deref(), &loaded.run.client_tools, more).await?;
        let (tasks, tasks_from) = side.lines(&*inner.store, &scope).await?;
        let is_task = matches!(side, TaskSide::Work(_));
        let budget = Budget::new(window, spec.max_output);
        let cap = inner.config.most_tool_tokens.map_or(budget.tools, |most| most.min(budget.tools));
        let tools = tools.searched(spec, &loaded.run.client_tools, cap, &inner.tool_vectors);
        let zone = render::zone(loaded.user.as_ref().and_then(|u| u.timezone.as_deref()).unwrap_or("UTC"));
        let max_output = spec.max_output;
        let (recalled, shrinks, is_filling) = (None, 0, false);
        Ok(Self { inner, scope, model, window, max_output, tools, tasks, tasks_from, is_task, zone, recalled, shrinks, is_filling })
    }

    /// Whether the run works on a task.
    pub(crate) const fn is_task(&self) -> bool {
        self.is_task
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.window, self.max_output)
    }

    /// All that the run may call.
    pub(crate) fn registry(&self) -> &Registry {
        &self.tools.registry
    }

    /// The agent's rules about tools that are there.
    pub(crate) fn rules(&self, rules: &[ToolRule]) -> Rules {
        Rules::of(rules, |name| self.tools.specs.iter().any(|spec| spec.name == name))
    }

    /// A reply's calls as they are meant.
    pub(crate) fn unwrap_calls(&self, reply: &mut ChatReply) {
        if self.tools.is_searched {
            reply.calls.iter_mut().for_each(tool_search::unwrap_call);
        }
    }

    /// The caller's tools, for the machine.
    pub(crate) fn take_client_tools(&mut self) -> ClientTools {
        std::mem::take(&mut self.tools.client)
    }

    /// Which calls need somebody's word.
    pub(crate) fn gate(&self, agent: &AgentSpec) -> Gate {
        let ttl = agent.approval_ttl_ms.map_or(self.inner.config.approval_ttl, Duration::from_millis);
        Gate::new(self.tools.registry.clone(), agent.approvals.clone(), ttl)
    }

    /// The tools that fit the window, and their size. Chosen by bytes, not by the learning counter, so that the offer stands still.
    pub(crate) fn tools(&self, budget: &Budget) -> (Vec<Arc<ToolSpec>>, Tokens) {
        let offered = fit_specs(self.tools.offered.clone(), budget.tools, &count_bytes);
        let counter = self.model.counter.clone();
        let size = offered.iter().map(|s| spec_tokens(s, &|text: &str| counter.count(text))).sum();
        (offered, size)
    }

    /// Most tokens of each of so many tool results.
    pub(crate) fn tool_result_budget(&self, calls: usize) -> Tokens {
        let budget = self.budget();
        let calls = u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        Tokens(budget.tool_result().0.min(budget.queue.share(1, 2).0 / calls).max(32))
    }

    /// The engine says that the window is smaller than was thought: go on with less. `false` when that has been tried enough.
    pub(crate) fn shrink(&mut self, counted: Tokens, prompt: Option<Tokens>, window: Option<Tokens>) -> bool {
        self.shrinks += 1;
        if let Some(prompt) = prompt {
            self.model.counter.learn(counted, prompt);
        }
        let told = window.filter(|w| *w < self.window);
        self.window = told.unwrap_or_else(|| self.window.share(3, 4));
        self.shrinks <= MAX_SHRINKS && self.window.0 >= 64
    }

    /// Pages out where needed, renders the prefix where needed, recalls at the first step, and assembles.
    pub(crate) async fn prepare(&mut self, machine: &mut RunMachine) -> Result<Prepared, CoreError> {
        let mut made = self.make(machine).await?;
        let mut request = self.request(machine, &mut made);
        let mut counted = made.counted;
        for _ in 0..MAX_RECOUNTS {
            if made.counted < made.budget.prompt().share(EXACT_FROM.0, EXACT_FROM.1) {
                break;
            }
            match self.model.chat.count_prompt(&request).await {
                Ok(Some(exact)) => {
                    self.model.counter.learn(made.counted, exact);
                    counted = exact;
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(%error, "the engine could not count the prompt; the estimate stands");
                    break;
                }
            }
            if counted <= made.budget.prompt() {
                break;
            }
            made = self.make(machine).await?;
            request = self.request(machine, &mut made);
            counted = made.counted;
        }
        machine.event(EventBody::Recalled {
            items: made.recalled.iter().map(|r| r.shown.clone()).collect(),
            prompt_tokens: counted.0,
            window_tokens: self.window.0,
        });
        let first = made.view.messages.iter().find_map(|m| m.seq).map_or(0, |s| s.0);
        let last = made.view.messages.iter().rev().find_map(|m| m.seq).map_or(0, |s| s.0);
        let facts = StepFacts {
            tail: Some(made.tail.render()),
            queue: (first, last),
            recalled: made.recalled.iter().map(|r| (r.shown.id.clone(), r.shown.score)).collect(),
            ..StepFacts::default()
        };
        Ok(Prepared { request, facts, counted })
    }

    /// Takes the messages.
    fn request(&self, machine: &RunMachine, made: &mut PreparedView) -> ChatRequest {
        ChatRequest {
            messages: std::mem::take(&mut made.messages),
            tools: made.tools.clone(),
            max_tokens: made.budget.answer,
            temperature: machine.state().agent.spec.temperature,
            json_schema: None,
        }
    }

    /// The prompt of the present state, part by part.
    pub(crate) async fn make(&mut self, machine: &mut RunMachine) -> Result<PreparedView, CoreError> {
        let budget = self.budget();
        let counter = self.model.counter.clone();
        let count = move |text: &str| counter.count(text);
        let (tools, tools_size) = self.tools(&budget);

        self.ensure_prefix(machine, &budget, !tools.is_empty()).await?;
        let mut fitted = budget.fitted(&head(machine, tools_size, &count));
        let mut queue = self.queue(machine, &count);
        if let Some(plan) = plan_eviction(&queue, &fitted) {
            self.page_out(machine, queue, plan, &fitted);
            self.ensure_prefix(machine, &budget, !tools.is_empty()).await?;
            fitted = budget.fitted(&head(machine, tools_size, &count));
            queue = self.queue(machine, &count);
        }
        if self.recalled.is_none() {
            let room = recall_room(&fitted, queue.tokens_capped(fitted.message()));
            let recalled = recall::for_turn(&self.inner, &self.scope, machine, room, &count).await?;
            recalled.iter().for_each(|reminder| machine.on_recalled(&reminder.untrusted));
            machine.on_recalled(&self.tasks_from);
            self.recalled = Some(recalled);
        }
        let mut recalled = self.recalled.clone().unwrap_or_default();
        let view = valid_view(&queue, &fitted, &count);
        let prefix = machine.state().conversation.prefix.clone().unwrap_or_default();
        self.is_filling = pressure(&queue, &fitted) >= Pressure::Warning;
        let has_pressure = self.is_filling && !tools.is_empty();
        let system_anywhere = self.model.chat.info().profile.system_anywhere;

        let prefix_size = count(&prefix);
        let mut shown_of_blocks = MOST_OF_A_BLOCK;
        // The caps make the whole fit; a count that moved since the prefix was rendered is paid for by the tail.
        loop {
            let mut tail = self.tail(machine, &prefix, &recalled, has_pressure);
            tail.cut_blocks(shown_of_blocks);
            let counted = prefix_size + tools_size + view.tokens + tail.tokens(&count) + MESSAGE_OVERHEAD + MESSAGE_OVERHEAD;
            if counted > budget.prompt() && !recalled.is_empty() {
                // Best first: the last one is the one that is missed least.
                recalled.pop();
                continue;
            }
            if counted > budget.prompt() && shown_of_blocks > 0 {
                // Much was written into core memory since the prefix was rendered: its beginnings are shown.
                shown_of_blocks /= 2;
                continue;
            }
            if counted > self.window {
                return Err(CoreError::Invalid(format!(
                    "the smallest prompt takes {counted} tokens, but the window has {}: give the agent a larger context_window (at least {})",
                    self.window,
                    Budget::MIN_WINDOW
                )));
            }
            let messages = assemble(&prefix, &view, &tail.render(), system_anywhere);
            return Ok(PreparedView { budget: fitted, prefix, tools, view, tail, recalled, messages, counted });
        }
    }

    pub(crate) fn queue(&self, machine: &RunMachine, count: &sid_memory::Count<'_>) -> FifoQueue {
        let stimulus: Vec<MessageId> = machine.stimulus().iter().map(|m| m.id).collect();
        FifoQueue::load(&machine.state().queue, &stimulus, self.zone.clone(), count)
    }

    fn page_out(&self, machine: &mut RunMachine, mut queue: FifoQueue, mut plan: EvictionPlan, fitted: &Budget) {
        let conversation = &machine.state().conversation;
        let counter = self.model.counter.clone();
        let count = move |text: &str| counter.count(text);
        let prepared = self.inner.prepared.take(conversation.id, conversation.summary.through);
        // A prepared summary tells of a prefix of the queue too, cut at a good place, perhaps a little before the plan's.
        let ready = prepared.filter(|p| p.queue_start > conversation.queue_start && p.queue_start <= plan.queue_start);
        if let Some(ready) = ready {
            machine.on_page_out(ready.queue_start, ready.summary);
            queue = self.queue(machine, &count);
            match plan_eviction(&queue, fitted) {
                Some(more) => plan = more,
                None => return,
            }
        }
        let evicted = queue.page_out(&plan, &count);
        let old = &machine.state().conversation.summary;
        let text = SummaryTask::queue(&old.text, &evicted, fitted.summary, &self.zone).floor(&count);
        machine.on_page_out(plan.queue_start, RecursiveSummary { text, through: plan.last, is_floor: true, untrusted: Vec::new() });
    }

    /// Renders the prefix if there is none, or if it is too large for this window.
    async fn ensure_prefix(&self, machine: &mut RunMachine, budget: &Budget, has_tools: bool) -> Result<(), CoreError> {
        let counter = self.model.counter.clone();
        let count = move |text: &str| counter.count(text);
        let most = budget.instructions + budget.blocks + budget.diary + budget.summary + budget.margin;
        if machine.state().conversation.prefix.as_deref().is_some_and(|p| count(p) <= most) {
            return Ok(());
        }
        let state = machine.state();
        let owner = Owner::of_conversation(state.conversation.agent, state.conversation.user);
        let diary = diary::segment(&self.inner, &self.scope, owner, machine.now(), &self.zone, budget.diary, &count).await?;
        let parts = PrefixParts {
            agent: &state.agent,
            user: state.user.as_ref(),
            teams: &state.teams,
            blocks: &state.blocks,
            diary: &diary,
            summary: &state.conversation.summary,
            has_tools,
        };
        let prefix = render_prefix(&parts, budget, &count);
        machine.on_prefix(prefix);
        Ok(())
    }

    fn tail(&self, machine: &RunMachine, prefix: &str, recalled: &[Reminder], has_pressure: bool) -> Tail {
        let state = machine.state();
        let mut by_time: Vec<&Reminder> = recalled.iter().collect();
        by_time.sort_by_key(|r| r.order);
        Tail {
            clock: clock_line(machine.now(), state.user.as_ref().and_then(|u| u.timezone.as_deref()), state.last_contact),
            recalled: by_time.into_iter().map(|r| r.shown.text.clone()).collect(),
            changed_blocks: state
                .blocks
                .iter()
                .filter(|b| !b.value.is_empty() && !prefix.contains(b.value.as_str()) && !is_cut_in(prefix, b))
                .map(|b| (b.label.clone(), b.value.clone()))
                .collect(),
            tasks: self.tasks.clone(),
            warning: has_pressure
                .then(|| "Memory pressure: older messages will soon be out of sight. Save what matters with your memory tools.".into()),
        }
    }

    /// What to prepare a summary from, when the queue is filling up.
    pub(crate) fn ahead(&self, state: Loaded) -> Option<Ahead> {
        if !self.is_filling {
            return None;
        }
        let budget = self.budget();
        let counter = self.model.counter.clone();
        let count = move |text: &str| counter.count(text);
        let prefix = state.conversation.prefix.as_deref().map_or(Tokens(0), &count);
        let fitted = budget.fitted(&HeadSize { instructions: prefix, ..HeadSize::default() });
        let mut queue = FifoQueue::load(&state.queue, &[], self.zone.clone(), &count);
        let plan = plan_half(&queue, &fitted)?;
        let evicted: Vec<Item> = queue.page_out(&plan, &count);
        Some(Ahead {
            conversation: state.conversation.id,
            agent: state.agent.spec.clone(),
            old: state.conversation.summary,
            evicted,
            through: plan.last,
            queue_start: plan.queue_start,
            cap: budget.summary,
            zone: self.zone.clone(),
        })
    }
}

/// Most tokens of recalled snippets: the cap, and half of what the queue leaves free up to a third of the window. The tail is not
/// kept, so a queue that grows takes the room back by itself; the cost of a turn stays bounded by the window.
fn recall_room(fitted: &Budget, queue: Tokens) -> Tokens {
    let free = fitted.queue.saturating_sub(queue).share(1, 2);
    (fitted.recall + free).min(fitted.window.share(1, 3)).min(MOST_RECALLED).max(fitted.recall)
}

/// A block whose value did not fit stands cut in the prefix; its beginning tells that it has not changed.
fn is_cut_in(prefix: &str, block: &sid_types::Block) -> bool {
    let start: String = block.value.chars().take(40).collect();
    prefix.contains(&format!("<{}>\n{start}", block.label)) && prefix.contains("(cut: too long for this window)")
}

pub(crate) fn head(machine: &RunMachine, tools: Tokens, count: &sid_memory::Count<'_>) -> HeadSize {
    let prefix = machine.state().conversation.prefix.as_deref().map_or(Tokens(0), count);
    HeadSize { instructions: prefix, tools, ..HeadSize::default() }
}
