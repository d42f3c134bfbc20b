//! Agents that speak with each other: who may reach whom, and what a message from one to another carries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Agent, AgentId, ConversationId, RunId, TeamId};

/// Which agents of the tenant are meant. As text: an agent's id, a team's id, or `tag:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AgentMatch {
    /// This one.
    Agent(AgentId),
    /// Those that may read this team's memory.
    Team(TeamId),
    /// Those that have this among their [`AgentSpec::tags`](crate::AgentSpec).
    Tag(String),
}

impl AgentMatch {
    /// Whether this agent is meant.
    #[must_use]
    pub fn is(&self, agent: &Agent) -> bool {
        match self {
            Self::Agent(id) => agent.id == *id,
            Self::Team(team) => agent.teams.contains(team),
            Self::Tag(tag) => agent.spec.tags.contains(tag),
        }
    }
}

impl fmt::Display for AgentMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => id.fmt(f),
            Self::Team(id) => id.fmt(f),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

impl From<AgentMatch> for String {
    fn from(meant: AgentMatch) -> Self {
        meant.to_string()
    }
}

impl FromStr for AgentMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(tag) = text.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
            return Ok(Self::Tag(tag.to_owned()));
        }
        let team = || text.parse().map(Self::Team).ok();
        text.parse().map(Self::Agent).ok().or_else(team).ok_or_else(|| format!("`{text}` is no agent's id, no team's id and no `tag:NAME`"))
    }
}

impl TryFrom<String> for AgentMatch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The agent that wrote a message to another one, and what is left for the chain of which the message is a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The agent.
    pub agent: AgentId,
    /// Its name when it wrote.
    pub name: String,
    /// Where it wrote: a message back to it goes there.
    pub conversation: ConversationId,
    /// The run that the chain began with: the reaction to what no agent had written.
    pub origin: RunId,
    /// How many agents were woken in a row, this message's reader included; the first is 1.
    pub depth: u32,
    /// Whether it waits for an answer.
    #[serde(default)]
    pub asks: bool,
    /// The ego in whose service both are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ego: Option<String>,
    /// What the reader may pass on to those whom it wakes.
    pub left: ChainBudget,
}

/// What the agents that one stimulus wakes may use up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainBudget {
    /// Messages that they may still send.
    pub messages: u32,
    /// Tokens of their runs.
    pub tokens: u64,
}

impl ChainBudget {
    /// What the `n`th message of a run (from 0) takes along; `None` when the run may send no more. Each message costs one, and takes half of
    /// what is left then; what it does not use does not come back. So all that is ever given never exceeds the whole, whoever sends at the
    /// same time, and nobody has to keep count.
    ///
    /// ```
    /// # use sid_types::ChainBudget;
    /// let whole = ChainBudget { messages: 4, tokens: 1_000 };
    /// let part = |messages, tokens| Some(ChainBudget { messages, tokens });
    /// assert_eq!([0, 1, 2, 3].map(|n| whole.part(n)), [part(1, 500), part(0, 250), part(0, 125), None]);
    /// ```
    #[must_use]
    pub fn part(self, n: usize) -> Option<Self> {
        let mut left = self;
        for sent in 0.. {
            let messages = left.messages.checked_sub(1)?;
            let given = Self { messages: messages / 2, tokens: left.tokens / 2 };
            if given.tokens == 0 {
                return None;
            }
            if sent == n {
                return Some(given);
            }
            left = Self { messages: messages - given.messages, tokens: left.tokens - given.tokens };
        }
        None
    }

    /// Shares out what a message takes along: tokens of its reader's own run, and what is left for those whom that wakes. `wakes`: it may wake
    /// others; who wakes nobody has all tokens.
    #[must_use]
    pub const fn shared_out(self, wakes: bool) -> (u64, Self) {
        if !wakes || self.messages == 0 {
            return (self.tokens, Self { messages: 0, tokens: 0 });
        }
        let below = self.tokens / 2;
        (self.tokens - below, Self { tokens: below, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All messages that a run with this budget and all whom it wakes can send, and the tokens that they can use.
    fn all(budget: ChainBudget) -> (u32, u64) {
        (0..).map_while(|n| budget.part(n)).fold((0, 0), |(messages, tokens), part| {
            let (own, left) = part.shared_out(true);
            let below = all(left);
            (messages + 1 + below.0, tokens + own + below.1)
        })
    }

    #[test]
    fn a_chain_never_sends_more_than_its_budget() {
        for messages in 0..40 {
            let (sent, tokens) = all(ChainBudget { messages, tokens: 1 << 40 });
            assert_eq!(sent, messages, "all of it may be used");
            assert!(tokens <= 1 << 40);
        }
        assert_eq!(all(ChainBudget { messages: 10, tokens: 1 }).0, 0, "without tokens nobody is woken");
        let part = ChainBudget { messages: 3, tokens: 9 };
        assert_eq!(part.shared_out(true), (5, ChainBudget { messages: 3, tokens: 4 }));
        assert_eq!(part.shared_out(false), (9, ChainBudget { messages: 0, tokens: 0 }));
    }

    #[test]
    fn who_is_meant_is_told_as_text() {
        let (agent, team) = (AgentId::new(), TeamId::new());
        for meant in [AgentMatch::Agent(agent), AgentMatch::Team(team), AgentMatch::Tag("sales".into())] {
            assert_eq!(meant.to_string().parse(), Ok(meant.clone()));
            assert_eq!(serde_json::from_value::<AgentMatch>(serde_json::to_value(&meant).expect("JSON")).expect("back"), meant);
        }
        for wrong in ["", "tag:", "sales", "user_01"] {
            assert!(wrong.parse::<AgentMatch>().is_err(), "{wrong}");
        }
    }
}
