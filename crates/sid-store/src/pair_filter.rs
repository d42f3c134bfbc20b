//! Which things of agents and their humans are listed.

use sid_types::{AgentId, ConversationId, UserId};

/// Which timers, or images, are listed; nothing set = all that the scope sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this human.
    pub user: Option<UserId>,
    /// Of this conversation.
    pub conversation: Option<ConversationId>,
}

impl PairFilter {
    /// Whether what belongs to these is among what is asked for, for implementers.
    #[must_use]
    pub fn takes(&self, agent: AgentId, user: Option<UserId>, conversation: Option<ConversationId>) -> bool {
        self.agent.is_none_or(|asked| asked == agent)
            && self.user.is_none_or(|asked| user == Some(asked))
            && self.conversation.is_none_or(|asked| conversation == Some(asked))
    }
}
