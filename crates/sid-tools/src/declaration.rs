//! What every kind of tool declares, be it Rust, Python, HTTP or MCP.

use std::time::Duration;

use sid_types::Ask;

use crate::EffectClass;

/// What a tool says of itself beside its name, description and schema.
///
/// ```
/// # use std::time::Duration;
/// # use sid_tools::{Declaration, EffectClass};
/// let lookup = Declaration { timeout: Duration::from_secs(5), hosts: vec!["api.example.org".into()], ..Declaration::new(EffectClass::Read) };
/// assert!(lookup.secrets.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What it touches, and whether it may be repeated.
    pub effect: EffectClass,
    /// Longest that one call may take. Whoever calls the tool drops the call after that.
    pub timeout: Duration,
    /// Names of the secrets that it is given. Names only: values are nowhere but in the call.
    pub secrets: Vec<String>,
    /// Hosts that it talks to, `host` or `host:port`; `*` = any that the client's policy lets through. Empty = none.
    pub hosts: Vec<String>,
    /// Whether its results are text that others have written: what they say is told to the model as such, and a run that has read them is
    /// under their influence.
    pub untrusted: bool,
    /// When its calls need somebody's word, unless the agent says otherwise; `None` = calls with effects outside, of a run that has read text
    /// from outside.
    pub ask: Option<Ask>,
    /// The argument that names another tool, if a call of this one is a call of that one, too: what has to be asked before that has to be asked
    /// before this.
    pub stands_for: Option<String>,
}

impl Declaration {
    /// The time-out of a tool that names none.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// No secrets, no hosts, [`Declaration::TIMEOUT`]; its results are trusted, and it says nothing of when to ask.
    #[must_use]
    pub fn new(effect: EffectClass) -> Self {
        Self { effect, timeout: Self::TIMEOUT, secrets: Vec::new(), hosts: Vec::new(), untrusted: false, ask: None, stands_for: None }
    }
}
