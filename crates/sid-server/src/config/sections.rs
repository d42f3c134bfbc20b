//! The options themselves: the one table that parser, check, defaults and reference share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sid_documents::DocumentReader;

use super::setting::{Secret, Setting, choice, section};

choice! {
    /// Where data is kept.
    StoreKind: "\"sqlite\", \"postgres\" or \"in-process\"" {
        /// An embedded database in a folder.
        Sqlite = "sqlite",
        /// A Postgres database, shared by any number of servers.
        Postgres = "postgres",
        /// In memory: gone with the process.
        InProcess = "in-process",
    }
}

choice! {
    /// Where the vectors of large memories are searched.
    VectorsKind: "\"memory\", \"pgvector\" or \"qdrant\"" {
        /// In the memory of each server, exactly.
        Memory = "memory",
        /// In the Postgres database itself, by the extension pgvector.
        PgVector = "pgvector",
        /// In a Qdrant cluster.
        Qdrant = "qdrant",
    }
}

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

choice! {
    /// How log lines look.
    LogFormat: "\"text\" or \"json\"" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// Options above all sections.
    Top {
        /// The model of agents that name none. Empty: the model called `default`, else the first by name.
        default_model: String = String::new();
    }
}

section! {
    /// The HTTP server.
    Server {
        /// Address and port to listen on. Port 0 takes a free one.
        listen: String = "127.0.0.1:8700".into();
        /// Largest request body, in bytes.
        body_limit_bytes: usize = 4 * 1024 * 1024;
        /// Most runs that wait in one conversation; the next message is answered 429.
        queue_depth: usize = 256;
        /// Most runs at once in this process; the next message is answered 503.
        max_runs: usize = 512;
        /// Most requests at once in this process, streams included; the next one is answered 503. 0 = no limit.
        max_requests: usize = 4_096;
        /// Requests per second of one API key, with bursts of twice as many; more is answered 429. 0 = no limit.
        rate_limit_per_second: u32 = 0;
        /// How long a request may wait for its run before it is answered 202 with the run as it is, in milliseconds.
        wait_limit_ms: u64 = 630_000;
        /// How long `/health/ready` says no before the server stops taking requests, in milliseconds: time for a load balancer.
        drain_delay_ms: u64 = 0;
        /// How long running steps may go on after SIGTERM, in milliseconds. What is not done then is resumed at the next start.
        drain_timeout_ms: u64 = 25_000;
        /// Whether `/metrics` needs no key from other machines too. From this machine it never does.
        public_metrics: bool = false;
        /// Whether each request is logged with its status and duration.
        log_requests: bool = true;
        /// How clients reach this server, such as `https://sid.example.org`: what it calls itself to those who look for a token. Not set: `http://` and the request's host.
        public_url: Option<String> = None;
    }
}

section! {
    /// The store.
    Store {
        /// Which store.
        kind: StoreKind = StoreKind::Sqlite;
        /// The data folder of the embedded store; it is made when it is not there.
        path: PathBuf = PathBuf::from("sid-data");
        /// For `postgres`: the database as servers use it, `postgres://user:password@host:5432/database`. The user is a member of the role `sid_app` and nothing more.
        url: Secret = Secret::default();
        /// For `sid-server migrate`: the same database as its owner, on a direct connection (no pooler). Servers never use it.
        admin_url: Secret = Secret::default();
        /// For `postgres`: most connections of this process.
        connections: u32 = 16;
        /// For `postgres`: how long a call waits for a free connection before it is answered 503, in milliseconds.
        acquire_ms: u64 = 2_000;
        /// For `postgres`: how long one statement may take, in milliseconds. Erasing and loading large partitions have ten times as long.
        statement_ms: u64 = 5_000;
        /// For `postgres`: whether statements stay prepared on their connections. `false` behind a PgBouncer older than 1.21 in transaction mode.
        prepared_statements: bool = true;
        /// A file beside the store in which each erasure is written down before it begins, by ids alone: at the start, what it names is erased again, so that an older copy does not bring it back. Not set: `erasures.ndjson` in the data folder of an embedded store; for `postgres` none. Keep it when you restore.
        erasures: Option<PathBuf> = None;
        /// Days that the events of a run stay after its end; streams cannot be replayed any more then. Runs, steps and messages are never dropped. The in-process store always keeps 7.
        keep_events_days: u32 = 7;
        /// Days that entries of the audit log stay.
        keep_audit_days: u32 = 400;
        /// For `postgres`: memory that the search index of this process may take, in bytes. Partitions used least lately go first.
        index_bytes: usize = 128 << 20;
    }
}

section! {
    /// An index for the vectors of large memories, beside a Postgres store. Small ones are compared exactly, in the server's memory.
    Vectors {
        /// Which index. All servers of a database are given the same one.
        kind: VectorsKind = VectorsKind::Memory;
        /// For `qdrant`: the cluster's gRPC address, such as `http://host:6334`.
        url: Option<String> = None;
        /// For `qdrant`: the cluster's key, if it wants one.
        api_key: Secret = Secret::default();
        /// For `qdrant`: what the names of collections begin with; one for each database that shares the cluster.
        prefix: String = "sid".into();
        /// From how many records on a memory is searched by the index.
        from: usize = 4_096;
        /// For `qdrant`: copies of each shard, in a cluster of several nodes.
        replicas: u32 = 1;
        /// For `qdrant`: how long a write, a count or a page may take, in milliseconds.
        timeout_ms: u64 = 10_000;
        /// For `qdrant`: how long a search may take before it goes on without the index, in milliseconds.
        search_timeout_ms: u64 = 1_000;
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

section! {
    /// The agent loop.
    Engine {
        /// Most model calls of one run.
        max_steps: u32 = 50;
        /// Most tokens of one run, prompts and answers together.
        max_tokens: u64 = 1_000_000;
        /// Longest run, in milliseconds.
        max_time_ms: u64 = 600_000;
        /// The same call with the same arguments this many times in a row ends a run.
        max_repeats: u32 = 3;
        /// How long a claim on a conversation holds unless renewed, in milliseconds: how long a crashed process delays its runs.
        lease_ttl_ms: u64 = 15_000;
        /// How often claims are renewed and orphaned runs are looked for, in milliseconds.
        poll_ms: u64 = 1_000;
        /// Longest delay of streamed text, in milliseconds.
        delta_flush_ms: u64 = 50;
        /// Summaries and diary pages are asked of a model only after this long without a run, in milliseconds.
        idle_ms: u64 = 5_000;
        /// How long a turn waits for the vector of its message before it searches by words only, in milliseconds.
        embed_wait_ms: u64 = 2_000;
        /// How long a question whether a call may be made waits for an answer, in milliseconds; an agent may have its own. 24 h.
        approval_ttl_ms: u64 = 86_400_000;
        /// Most timers that are not done, of an agent with one user.
        timers_per_user: u64 = 100;
        /// Shortest time between two occurrences of a timer, in milliseconds.
        shortest_timer_ms: u64 = 60_000;
        /// How long an agent that asks another one waits for the answer, in milliseconds.
        ask_timeout_ms: u64 = 120_000;
        /// What is due for longer than this is late, and its timer's policy says what becomes of it, in milliseconds.
        timer_patience_ms: u64 = 60_000;
        /// Most runs that one agent begins by itself (heartbeats, timers, tasks) in an hour (UTC), unless it says otherwise. 0 = no limit.
        agent_runs_per_hour: u64 = 10_000;
        /// The same in a day (UTC). 0 = no limit.
        agent_runs_per_day: u64 = 100_000;
        /// Most tokens that such runs of one agent use in a day (UTC), unless it says otherwise. 0 = no limit.
        agent_tokens_per_day: u64 = 0;
        /// Whether diary pages are written in the background.
        diary: bool = true;
        /// Whether, with a day's diary page, facts are drawn from what users said (by the model that summarises) and full blocks give lines to
        /// archival memory.
        consolidate: bool = true;
    }
}

section! {
    /// What one tenant may use up. An operator may set other limits for single tenants.
    Limits {
        /// Most runs of one tenant at once in this process; others wait, and nobody is refused. 0 = no limit of its own.
        runs_at_once: usize = 32;
        /// Most runs of one tenant's tasks at once, over all processes; the others wait. 0 = tasks are not worked on.
        task_runs_at_once: usize = 8;
        /// Most agents that wake each other in a row, by messages and questions. 0 = agents do not speak with each other.
        agents_in_a_row: u32 = 4;
        /// Most messages that agents send each other about one stimulus.
        agent_messages: u32 = 32;
        /// Most tokens that the agents use up whom one stimulus wakes through others.
        agent_tokens: u64 = 1_000_000;
        /// Requests per second of one tenant, over all processes, with bursts of twice as many; more is answered 429. 0 = no limit.
        requests_per_second: u32 = 0;
        /// Tokens of one tenant per day (UTC), prompts and answers together; then its runs end with `budget`. 0 = no limit.
        tokens_per_day: u64 = 0;
        /// Tokens of one tenant per month (UTC). 0 = no limit.
        tokens_per_month: u64 = 0;
        /// Most runs that the agents of one tenant begin by themselves (heartbeats, timers, tasks) in an hour (UTC); then they wait. 0 = no limit.
        self_begun_runs_per_hour: u64 = 100_000;
        /// The same in a day (UTC). 0 = no limit.
        self_begun_runs_per_day: u64 = 1_000_000;
        /// Most tokens that such runs of one tenant use in a day (UTC). 0 = no limit.
        self_begun_tokens_per_day: u64 = 0;
    }
}

section! {
    /// The context service: what assistants keep for their user beside conversations.
    Context {
        /// Whether assistants ask their user before they change or delete notes, memories and preferences. They add freely in any case.
        ask_first: bool = true;
        /// How long a hand-off that was picked up is kept for who picked it up, in seconds.
        claim_s: u32 = 900;
        /// After how long without contact an assistant's session is a new one, in seconds.
        session_gap_s: u32 = 1_800;
    }
}

section! {
    /// Secrets of the context service. Without keys it keeps none.
    Secrets {
        /// Key-encryption keys: a line each, `ID:KEY`, the key being 32 bytes in base64 (`openssl rand -base64 32`). The first one seals; the others open what they have sealed, until `POST /api/v1/secrets/rewrap` answers 0. All servers of a database are given the same ones.
        keys: Secret = Secret::default();
    }
}

section! {
    /// Functions that tenants give their agents, and what they may call.
    Tools {
        /// Hosts inside the network that they may call, beside the whole of the internet: names (`*.example.com`: all below it), addresses or networks, each with `:PORT` (`:*` for any) if it is not 80 or 443. Metadata services stay closed.
        open: Vec<String> = Vec::new();
        /// Most tokens of tool specifications in a prompt; an agent with more finds its tools by search. Not set: the window's share, which is never exceeded.
        most_prompt_tokens: Option<u32> = None;
        /// Whether only https is called.
        https_only: bool = false;
        /// Most milliseconds of one HTTP request, redirects and all.
        timeout_ms: u64 = 10_000;
        /// Whether tenants may give their agents functions in Python, which run on this server, each call in a process that the kernel locks in. Not set: only with the embedded store.
        python: Option<bool> = None;
        /// The interpreter, 3.9 or newer.
        python_path: PathBuf = PathBuf::from("python3");
        /// Whether such functions may be granted the network: all of it, as this machine sees it.
        python_network: bool = false;
        /// Where their packages and working folders go. Not set: `functions` in the data folder, or below the system's temporary folder.
        python_folder: Option<PathBuf> = None;
        /// Run them where the system lacks a part of the sandbox, too.
        python_unconfined: bool = false;
        /// Most milliseconds until an MCP server has been reached and has told its tools.
        mcp_discovery_ms: u64 = 10_000;
    }
}

section! {
    /// Google Drive of people, by OAuth 2. Without a client there is none. Needs `secrets.keys`: people's tokens are secrets of theirs.
    Google {
        /// The OAuth client, as it was registered with Google.
        client_id: Option<String> = None;
        /// The client's secret.
        client_secret: Secret = Secret::default();
        /// Where Google sends a person back, as it was registered: a page of the application, which hands `state` and `code` to `POST /api/v1/drive/callback`.
        redirect_url: String = String::new();
        /// What is asked for.
        scope: String = "https://www.googleapis.com/auth/drive.readonly".into();
        /// Where a person says yes.
        authorize_url: String = "https://accounts.google.com/o/oauth2/v2/auth".into();
        /// Where codes and refresh tokens are taken.
        token_url: String = "https://oauth2.googleapis.com/token".into();
        /// Where tokens are given back.
        revoke_url: String = "https://oauth2.googleapis.com/revoke".into();
        /// The Drive API.
        api_url: String = "https://www.googleapis.com/drive/v3".into();
    }
}

impl Google {
    /// A client for it, if there is one. `fetcher`: with the policy of all that leaves the house.
    pub(crate) fn drive(
        &self,
        fetcher: &sid_fetch::Fetcher,
        most_bytes: usize,
    ) -> Result<Option<sid_assistant::Drive>, sid_fetch::FetchError> {
        let (Some(client_id), Some(secret)) = (&self.client_id, self.client_secret.reveal()) else { return Ok(None) };
        let settings = sid_assistant::DriveSettings {
            authorize_url: self.authorize_url.clone(),
            token_url: self.token_url.clone(),
            revoke_url: self.revoke_url.clone(),
            api_url: self.api_url.clone(),
            client_id: client_id.clone(),
            redirect_url: self.redirect_url.clone(),
            scope: self.scope.clone(),
        };
        // A document may be larger, and take longer, than a function's answer.
        let policy = sid_fetch::Policy { max_body_bytes: most_bytes, timeout: Duration::from_secs(60), ..fetcher.policy().clone() };
        let secret = sid_fetch::oauth::Hidden::new(secret);
        Ok(Some(sid_assistant::Drive::new(settings, secret, sid_fetch::Fetcher::new(policy)?)))
    }

    /// Whether the values of this section fit together: the field that does not, and why.
    pub(super) fn check(&self, has_keys: bool) -> Result<(), (&'static str, &'static str)> {
        if self.client_id.is_none() {
            return Ok(());
        }
        if self.client_secret.reveal().is_none() {
            return Err(("client_secret", "required with google.client_id"));
        }
        if self.redirect_url.is_empty() {
            return Err(("redirect_url", "required with google.client_id: where Google sends a person back"));
        }
        let urls = [
            ("redirect_url", &self.redirect_url),
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("api_url", &self.api_url),
        ];
        if let Some((field, _)) = urls.into_iter().find(|(_, url)| url.parse::<sid_fetch::Url>().is_err()) {
            return Err((field, "must be a URL, such as https://app.example/back"));
        }
        if !has_keys {
            return Err(("client_id", "needs secrets.keys: people's tokens are kept as secrets"));
        }
        Ok(())
    }
}

section! {
    /// Documents. Each is read in a process of its own that the kernel bounds.
    Documents {
        /// Largest document, in bytes.
        max_bytes: usize = 20 * 1024 * 1024;
        /// Most documents of one owner.
        per_owner: u64 = 1_000;
        /// Most pages of one document.
        max_pages: u32 = 3_000;
        /// Most milliseconds of reading one document.
        read_ms: u64 = 60_000;
        /// Most memory of reading one document, all that its process maps included, in bytes.
        read_memory_bytes: u64 = 2 * 1024 * 1024 * 1024;
        /// Whether documents are read in a process of their own, which is this server's executable again. Off for programs that embed the server without `launch_if_asked`: then a hostile document can end the server.
        own_process: bool = true;
    }
}

impl Documents {
    /// Who reads them.
    pub(crate) fn reader(&self) -> Arc<dyn DocumentReader> {
        let limits = sid_documents::Limits {
            bytes: self.max_bytes as u64,
            pages: self.max_pages,
            time: Duration::from_millis(self.read_ms),
            memory: self.read_memory_bytes,
            ..sid_documents::Limits::default()
        };
        if self.own_process { Arc::new(sid_documents::OwnProcess::new(limits)) } else { Arc::new(sid_documents::InProcess { limits }) }
    }
}

section! {
    /// Webhooks: what happens is sent to where tenants want to hear of it. They may call what functions may (`tools.open`, `tools.https_only`).
    Webhooks {
        /// Whether this server sends what is due. Servers that do not still write it down for those that do.
        send: bool = true;
        /// Most webhooks of a tenant.
        per_tenant: u64 = 20;
        /// Most deliveries that this server sends at once.
        at_once: usize = 64;
        /// Most deliveries to one webhook that all servers send at once.
        per_webhook: usize = 4;
        /// Most milliseconds until an endpoint has answered.
        timeout_ms: u64 = 15_000;
        /// Milliseconds from the first attempt to the second. The waits after it grow with it: with 5000 there are ten attempts in three days.
        first_retry_ms: u64 = 5_000;
        /// An endpoint of which every attempt has failed for so many days is disabled.
        give_up_days: u64 = 5;
        /// Deliveries are kept for so many days, with what was sent.
        keep_days: u64 = 7;
        /// Milliseconds between two looks for what is due.
        poll_ms: u64 = 1_000;
    }
}

section! {
    /// Tools that all agents have which name none of their own, beside those for their memory.
    Builtin {
        /// Dates and times: `current_time`, `date_add`, `date_difference`, `find_weekday`, `convert_time`.
        calendar: bool = false;
        /// `calculator`: exact numbers, units.
        calculator: bool = false;
        /// `read_page`: public web pages, through the same client as all functions.
        read_page: bool = false;
    }
}

section! {
    /// Images that agents have made by services that tenants name (toolsets of kind `images`).
    Images {
        /// Most images in a day (UTC) for one user.
        per_user_day: u64 = 20;
        /// Most images in a day (UTC) for a tenant, all its users together.
        per_tenant_day: u64 = 200;
        /// Most bytes of one image; 20,000,000 at most.
        most_bytes: usize = 10_000_000;
        /// Most milliseconds of one request to a service.
        timeout_ms: u64 = 120_000;
    }
}

section! {
    /// An MCP server that is a program on this machine. Tenants name it in a toolset; none of them can name a command.
    McpProgram {
        /// The program, by its path or as `PATH` finds it. It is started with a clean environment, spoken to over stdin and stdout, started again when it ends, and killed with the server.
        command: String = String::new();
        /// Its arguments.
        args: Vec<String> = Vec::new();
        /// Its environment, each `NAME=VALUE`, beside `PATH`, `HOME` (its folder) and `LANG`. Not for secrets: these are shown.
        env: Vec<String> = Vec::new();
        /// Names of variables of the server's own environment that it is given as well: for secrets.
        pass_env: Vec<String> = Vec::new();
        /// Where it works. Not set: the system's temporary folder.
        folder: Option<PathBuf> = None;
        /// Ids of the tenants that may use it; `*` for all. Empty: none.
        tenants: Vec<String> = Vec::new();
        /// Most milliseconds of one call.
        timeout_ms: u64 = 60_000;
        /// Whether it is started through this server's own executable, so that it ends when the server is killed, too. Off for programs that embed the server without `launch_if_asked`.
        launch: bool = true;
    }
}

impl McpProgram {
    /// Who may use it; `None` = all.
    pub(crate) fn only_tenants(&self) -> Option<Vec<sid_types::TenantId>> {
        let is_for_all = self.tenants.iter().any(|t| t == "*");
        (!is_for_all).then(|| self.tenants.iter().filter_map(|t| t.parse().ok()).collect())
    }

    /// Whether the values of this section fit together: the field that does not, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.command.is_empty() {
            return Err(("command", "must not be empty: the program to start".into()));
        }
        if let Some(wrong) = self.tenants.iter().find(|t| *t != "*" && t.parse::<sid_types::TenantId>().is_err()) {
            return Err(("tenants", format!("expected ids of tenants, or `*`, found `{wrong}`")));
        }
        if let Some(wrong) = self.env.iter().find(|pair| !pair.contains('=')) {
            return Err(("env", format!("expected NAME=VALUE, found `{wrong}`")));
        }
        if self.timeout_ms == 0 {
            return Err(("timeout_ms", "must be at least 1".into()));
        }
        Ok(())
    }
}

section! {
    /// The MCP endpoint, `/mcp`.
    Mcp {
        /// Whether it is served.
        enabled: bool = true;
        /// Host names that requests may be sent to, beside the address that the server listens on and `localhost`; separated by commas. Others are refused: a page in a browser could otherwise reach this server under a name of its own.
        hosts: String = String::new();
        /// Origins that pages in browsers may come from, such as `https://app.example.com`; separated by commas. Requests without an origin do not come from pages.
        origins: String = String::new();
    }
}

section! {
    /// An issuer of tokens (OpenID Connect): who comes with a valid token of it is a user.
    Issuer {
        /// Its URL, exactly as in the tokens' `iss`.
        issuer: Option<String> = None;
        /// A token must be meant for one of these (`aud`): the names that the issuer knows this server by.
        audience: Vec<String> = Vec::new();
        /// Signatures that are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
        algorithms: Vec<String> = vec!["RS256".into(), "ES256".into(), "EdDSA".into()];
        /// Where its keys are. Not set: as `/.well-known/openid-configuration` below the issuer says.
        jwks_url: Option<String> = None;
        /// How far clocks may differ, in seconds.
        leeway_s: u64 = 60;
        /// The tenant of all its users, by name or id. This or `tenant_claim`.
        tenant: Option<String> = None;
        /// The claim that names a user's tenant.
        tenant_claim: Option<String> = None;
        /// The claim that is a user's handle. With `email`, tokens that say that it is not verified are refused.
        user_claim: String = "sub".into();
        /// Set before each handle, to keep the users of two issuers of one tenant apart.
        user_prefix: String = String::new();
        /// The claim with the name that agents call a new user by.
        name_claim: String = "name".into();
        /// Whether who is not there yet becomes a user at the first token.
        create_users: bool = true;
        /// The claim with the names of a user's teams.
        teams_claim: Option<String> = None;
        /// Whether memberships follow `teams_claim`: into the tenant's teams of these names, and out of all others. A token without the claim changes nothing.
        sync_teams: bool = false;
        /// The claim with roles.
        role_claim: Option<String> = None;
        /// What roles of `role_claim` mean, as `value=role`; the first that fits holds. Roles: owner, admin, member, agent, read-only.
        roles: Vec<String> = Vec::new();
        /// The role of tokens for which nothing else is said. Empty: they are refused.
        default_role: String = "member".into();
        /// The claim with scopes, such as `sid:memory-read`; if there is one of these, what is not named is taken away.
        scope_claim: String = "scope".into();
        /// Whether a token without any scope that begins with `sid:` may do nothing, in place of all that its role gives.
        require_scopes: bool = false;
    }
}

section! {
    /// A proxy that is trusted to say whom it speaks for. Off unless `addresses`, `key` and `user_header` are all set.
    TrustedProxy {
        /// Addresses or ranges that its connections come from, such as `10.0.0.5` or `10.0.0.0/24`. Never a forwarded header.
        addresses: Vec<String> = Vec::new();
        /// The id of the tenant key that it shows.
        key: Option<String> = None;
        /// The header with the user's handle, such as `X-OpenWebUI-User-Id`; who is not there yet is made.
        user_header: Option<String> = None;
        /// The header with the name that agents call a new user by, such as `X-OpenWebUI-User-Name`.
        name_header: Option<String> = None;
    }
}

section! {
    /// The log, on standard error.
    Log {
        /// How lines look.
        format: LogFormat = LogFormat::Text;
        /// What is logged, such as `info` or `info,sid_core=debug`.
        filter: String = "info,sqlx=warn,hyper=warn,h2=warn,ort=warn".into();
    }
}

impl Setting for Option<bool> {
    const TYPE: &'static str = "true or false";
    fn read(raw: &super::setting::Raw) -> Result<Self, String> {
        bool::read(raw).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.map(|b| b.to_string())
    }
}
