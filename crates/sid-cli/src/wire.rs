//! The API's answers, as far as tables and texts for people need them. `--json` prints answers as they came.

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        // Missing fields are empty: an older or newer server's answer is shown as well as it can be.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the fields are those of docs/api.md")]
        pub struct $name { $(pub $field: $ty,)* }
    )*};
}

answers! {
    /// A tenant or a team.
    Named { id: String, name: String, created_at: String, }
    /// A function that agents were given.
    Function { name: String, description: String, effect: String, }
    /// What is no function, and why.
    LeftOut { name: String, why: String, }
    /// Functions that agents were given together.
    Toolset {
        name: String, default: bool, version: u64, updated_at: String, functions: Vec<Function>, left_out: Vec<LeftOut>, problem: Option<String>,
    }
    /// A text from outside.
    Document {
        id: String, owner: Owner, title: String, format: String, origin: Option<String>, size: u64, status: String, problem: Option<String>,
        parts: u32, pages: Option<u32>, version: u64,
    }
    /// What wakes an agent by itself.
    Timer {
        id: String, agent: String, user: Option<String>, conversation: Option<String>, name: String, stimulus: String, when: Value, late: String,
        state: String, next_due: Option<String>, fired: u64, skipped: u64, last_run: Option<String>, kind: String, in_quiet_hours: String,
        only_when_open: bool, held: Option<Held>,
    }
    /// Why something did not begin at its moment.
    Held { by: String, at: String, until: Option<String>, }
    /// How often an agent wakes by itself.
    Heartrate { every_ms: u64, only_when_open: bool, }
    /// Most of what is begun without anybody asking.
    Caps { runs_per_hour: Option<u64>, runs_per_day: Option<u64>, tokens_per_day: Option<u64>, }
    /// An image that an agent had made.
    Image { id: String, agent: String, user: Option<String>, conversation: String, prompt: String, model: String, content_type: String, bytes: u64, created_at: String, }
    /// A login of a toolset.
    Login { state: String, issuer: Option<String>, }
    /// A login that was begun.
    LoginBegun { url: String, expires_at: String, }
    /// Where an application hears of what happens.
    Webhook {
        id: String, url: String, description: String, events: Vec<String>, include: Option<String>, state: String,
        disabled_because: Option<String>, failing_since: Option<String>, secrets: u64, version: u64, secret: Option<String>,
    }
    /// One try to deliver.
    Attempt { number: u64, at: String, status: Option<u64>, error: Option<String>, took_ms: u64, }
    /// What a webhook is told of one event.
    Delivery {
        id: String, webhook: String, event: String, subject: String, at: String, state: String, attempts: u64, status: Option<u64>,
        next_attempt: Option<String>, history: Vec<Attempt>, body: Option<String>,
    }
    /// A person.
    User { id: String, handle: String, display_name: String, timezone: Option<String>, quiet_hours: Option<String>, created_at: String, }
    /// A block that each pair starts with.
    Template { label: String, description: String, value: String, limit_chars: u64, }
    /// An agent.
    Agent {
        id: String, name: String, instructions: String, model: String, context_window: Option<u64>, max_output: Option<u64>,
        temperature: Option<f64>, blocks: Vec<Template>, tools: Option<Vec<String>>, tasks: bool, reaches: Vec<String>, colleagues: Vec<String>, trusts: Vec<String>, tags: Vec<String>, tool_rules: Vec<Value>, teams: Vec<String>, metadata: serde_json::Map<String, Value>,
        background_model: Option<String>, heartrate: Option<Heartrate>, quiet_hours: Option<String>, caps: Caps,
        created_at: String, updated_at: String,
    }
    /// Agents that meet people as one.
    Ego {
        name: String, spokesperson: String, members: Vec<String>, memory: String, blocks: Vec<Template>, version: u64, created_at: String,
        updated_at: String,
    }
    /// A conversation.
    Conversation {
        id: String, agent: String, user: Option<String>, key: Option<String>, last_seq: u64, queue_start: u64, summary: String,
        created_at: String, last_at: Option<String>,
    }
    /// A step of a task's plan.
    PlanStep { text: String, state: String, note: String, }
    /// How one check came out.
    Check { check: String, how: String, }
    /// What came of a task.
    TaskResult { text: String, how: String, checks: Vec<Check>, }
    /// What a task has used up.
    TaskUsed { runs: u64, steps: u64, tokens: u64, cost_micros: u64, time_ms: u64, }
    /// A task.
    Task {
        id: String, agent: String, user: Option<String>, title: String, objective: String, acceptance: String, checks: Vec<String>,
        deadline: Option<String>, plan: Vec<PlanStep>, state: String, progress: String, result: Option<TaskResult>, failure: Option<String>,
        question: Option<String>, wake_at: Option<String>, conversation: String, used: TaskUsed, created_at: String, updated_at: String,
    }
    /// A message.
    Message {
        id: String, conversation: String, seq: u64, role: String, text: String, speaker: Option<String>, name: Option<String>,
        is_error: Option<bool>, tool_calls: Vec<crate::client::Call>, at: String, tokens: Option<u64>,
    }
    /// A call that waits, or waited, for somebody's word.
    Approval {
        id: String, conversation: String, agent: String, run: String, tool: String, arguments: Value, reason: String, status: String,
        asked_at: String, expires_at: String, decided_by: Option<String>, note: Option<String>, answered_by: Option<String>,
    }
    /// An edit that went with what was undone.
    LeftOutEdit { block: String, version: u64, why: String, }
    /// Where text came from.
    Source { channel: String, name: String, }
    /// How much stands under the influence of a source.
    SourceUse {
        source: Source, messages: u64, passages: u64, facts: u64, block_lines: u64, diary_pages: u64, timers: u64, tasks: u64, since: String,
    }
    /// What was undone.
    Undone { blocks: u64, passages: u64, left_out: Vec<LeftOutEdit>, }
    /// A run.
    Run {
        id: String, conversation: String, agent: String, status: String, stop_reason: Option<String>, error: Option<String>, steps: u64,
        usage: crate::client::Usage, cancel_requested: bool, created_at: String, started_at: Option<String>, ended_at: Option<String>,
    }
    /// A model call.
    Step {
        number: u64, usage: crate::client::Usage, rung: String, first_token_ms: u64, total_ms: u64, at: String,
    }
    /// A key; `key` only in the answer that made it.
    Key {
        id: String, name: String, role: Role, access: String, scopes: Option<Vec<String>>, created_at: String, expires_at: Option<String>,
        revoked_at: Option<String>, key: Option<String>,
    }
    /// As whom a key acts.
    Role { r#type: String, tenant: Option<String>, user: Option<String>, agent: Option<String>, }
    /// Whose memory it is.
    Owner { r#type: String, team: Option<String>, user: Option<String>, agent: Option<String>, }
    /// A core memory block.
    Block { id: String, owner: Owner, label: String, description: String, value: String, limit_chars: u64, version: u64, updated_at: String, }
    /// One version of a block.
    BlockVersion { version: u64, edit: Edit, value_after: String, provenance: Provenance, at: String, }
    /// An edit, by its kind.
    Edit { op: String, }
    /// Where a memory came from.
    Provenance { conversation: Option<String>, run: Option<String>, user: Option<String>, channel: String, }
    /// An archival memory.
    Passage { id: String, owner: Owner, text: String, tags: Vec<String>, at: String, }
    /// A diary page.
    DiaryEntry { id: String, level: String, start: String, text: String, is_floor: bool, }
    /// What one signal added.
    Why { signal: String, score: f64, }
    /// Raw scores.
    Channels { bm25: f64, context_bm25: f64, dense: f64, }
    /// A found memory.
    Hit {
        kind: String, id: String, text: String, excerpt: String, at: String, speaker: Option<String>, role: Option<String>, score: f64,
        channels: Channels, why: Vec<Why>, conversation: Option<String>, seq: Option<u64>,
    }
    /// How far embedding has come.
    Index { generation: Option<String>, is_semantic: bool, indexed: u64, pending: u64, }
    /// The vectors of one embedder.
    Generation { id: String, is_active: bool, is_wanted: bool, is_configured: bool, indexed: u64, pending: u64, }
    /// What was found.
    Found { hits: Vec<Hit>, searched: u64, index: Index, }
    /// An item of the context service.
    Item {
        id: String, kind: String, owner: Owner, parent: Option<String>, title: String, body: Option<String>, tags: Vec<String>, state: String,
        recipient: Option<String>, handoff: Option<HandoffState>, proposal: Option<Proposed>, level: String, version: u64,
        written_by: Option<String>, created_at: String, updated_at: String,
    }
    /// What only hand-offs have.
    HandoffState { from: Option<String>, claimed_by: Option<String>, claimed_until: Option<String>, result: Option<String>, }
    /// What only proposals have; without an edit the item is to be deleted.
    Proposed { item: String, version: u64, edit: Option<Value>, }
    /// What became of a wish.
    Outcome { outcome: String, item: Option<Item>, }
    /// A tree as one text.
    Tree { markdown: String, }
    /// A found item.
    FoundItem { excerpt: String, score: f64, item: Item, }
    /// Found items, best first.
    FoundItems { hits: Vec<FoundItem>, }
    /// One sharing.
    Share { user: Option<String>, team: Option<String>, level: String, created_at: String, }
    /// The present moment, as the user lives it.
    Moment { words: String, }
    /// A line of the overview.
    Head { id: String, kind: String, title: String, state: String, body: Option<String>, is_cut: bool, is_shared: bool, }
    /// What an assistant reads when it starts.
    Overview { time: Moment, items: Vec<Head>, open_proposals: u64, more: Vec<String>, tokens: u64, budget_tokens: u64, }
    /// What may be known of a secret.
    Secret { id: String, name: String, description: String, version: u64, updated_at: String, }
    /// A part of a prompt.
    Segment { name: String, tokens: u64, cap: Option<u64>, text: String, }
    /// A recalled memory.
    Recalled { id: String, score: f64, why: Vec<Why>, text: String, }
    /// A prompt, part by part.
    Prompt {
        run: Option<String>, model: String, window_tokens: u64, prompt_tokens: u64, reserved_tokens: u64, segments: Vec<Segment>,
        recalled: Vec<Recalled>, messages: Vec<Value>, tools: Vec<Value>,
    }
}

impl Owner {
    /// In a word or two.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts = [&self.team, &self.agent, &self.user].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" + ");
        if parts.is_empty() { self.r#type.clone() } else { format!("{} {parts}", self.r#type) }
    }
}

/// A secret's value, for the one who has asked for it.
#[derive(Deserialize)]
pub struct Revealed {
    /// What was kept.
    pub value: String,
}
