//! What agents call, and what calls others when something happens.

use std::path::PathBuf;

use crate::config::setting::section;

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
    pub(in crate::config) fn check(&self) -> Result<(), (&'static str, String)> {
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
