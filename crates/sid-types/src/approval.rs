//! Approvals: calls that wait for somebody's word.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AgentId, ApprovalId, ConversationId, Principal, RunId, ToolCall, UserId};

/// When a call needs somebody's word before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Each time.
    Always,
    /// Never, whatever the run has read.
    Never,
    /// When the run has read text from outside.
    Tainted,
}

/// When an agent's calls need somebody's word: by name of the tool, or by a pattern in which `*` stands for any characters.
///
/// The name itself goes before any pattern, and a longer pattern before a shorter one. What no rule names goes by what the tool says of
/// itself; what says nothing asks for calls with effects outside, when the run is tainted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approvals(pub BTreeMap<String, Ask>);

impl Approvals {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rule for a tool, if there is one.
    ///
    /// ```
    /// # use sid_types::{Approvals, Ask};
    /// let rules = Approvals([("mail_*", Ask::Always), ("mail_draft", Ask::Never)].map(|(name, ask)| (name.to_owned(), ask)).into());
    /// assert_eq!(rules.rule("mail_draft"), Some(Ask::Never));
    /// assert_eq!(rules.rule("mail_send"), Some(Ask::Always));
    /// assert_eq!(rules.rule("weather"), None);
    /// ```
    #[must_use]
    pub fn rule(&self, tool: &str) -> Option<Ask> {
        let by_pattern =
            || self.0.iter().filter(|(pattern, _)| fits(pattern, tool)).max_by_key(|(pattern, _)| pattern.len()).map(|(_, ask)| *ask);
        self.0.get(tool).copied().or_else(by_pattern)
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| fits(rest, &name[at..]))
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody has said anything yet.
    Pending,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody said anything in time.
    Expired,
}

impl ApprovalState {
    /// The state as a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

/// A question to be asked: what a run puts into its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewApproval {
    /// Derived from the call's token ([`NewApproval::id_for`]): asked again after a crash it is the same question.
    pub id: ApprovalId,
    /// The call, with the arguments that it would be made with.
    pub call: ToolCall,
    /// Why it is asked, in words for a person.
    pub reason: String,
    /// Milliseconds until the question expires.
    pub expires_in_ms: u64,
}

impl NewApproval {
    /// The id of the question whether the call with this token may be made.
    #[must_use]
    pub fn id_for(token: Uuid) -> ApprovalId {
        ApprovalId::from_uuid(Uuid::new_v5(&token, b"approval"))
    }
}

/// A call that waits, or waited, for somebody's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// Where the agent wanted to make the call.
    pub conversation: ConversationId,
    /// The agent.
    pub agent: AgentId,
    /// The human of the conversation, if there is one.
    pub user: Option<UserId>,
    /// The run that asked.
    pub run: RunId,
    /// The call. Its arguments are those that it is made with.
    pub call: ToolCall,
    /// Why it is asked, in words for a person.
    pub reason: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// From then on nobody can say yes any more.
    pub expires_at: Timestamp,
    /// When it was decided, or found to have expired.
    #[serde(default)]
    pub decided_at: Option<Timestamp>,
    /// Who decided; nobody when it expired.
    #[serde(default)]
    pub decided_by: Option<Principal>,
    /// What whoever decided said to it.
    #[serde(default)]
    pub note: Option<String>,
    /// The run that made the call, or that told the agent that it must not.
    #[serde(default)]
    pub answered_by: Option<RunId>,
}

/// The call that a note brings with it: its run begins by making it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedCall {
    /// What was approved.
    pub approval: ApprovalId,
    /// The call, as it was shown to whoever said yes.
    pub call: ToolCall,
}

impl ApprovedCall {
    /// The journal's token of the call: the same in every attempt.
    #[must_use]
    pub fn token(&self) -> Uuid {
        Uuid::new_v5(&self.approval.uuid(), b"call")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_goes_before_patterns_and_long_patterns_before_short_ones() {
        let rules = [("*", Ask::Tainted), ("mail_*", Ask::Always), ("mail_*_draft", Ask::Never), ("a", Ask::Never)];
        let rules = Approvals(rules.map(|(name, ask)| (name.to_owned(), ask)).into());
        for (tool, ask) in
            [("x", Ask::Tainted), ("mail_send", Ask::Always), ("mail_my_draft", Ask::Never), ("a", Ask::Never), ("ab", Ask::Tainted)]
        {
            assert_eq!(rules.rule(tool), Some(ask), "{tool}");
        }
        assert_eq!(Approvals::default().rule("x"), None);
    }
}
