//! Where text came from that is not to be trusted.

use serde::{Deserialize, Serialize};

/// The way by which text came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A person whose word is not the agent's to follow.
    User,
    /// The result of a tool.
    Tool,
    /// Brought in from elsewhere.
    Import,
    /// Another agent.
    Agent,
    /// A page of the web.
    Web,
    /// The application.
    Api,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::User, Self::Tool, Self::Import, Self::Agent, Self::Web, Self::Api];

    /// The channel as a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tool => "tool",
            Self::Import => "import",
            Self::Agent => "agent",
            Self::Web => "web",
            Self::Api => "api",
        }
    }
}

/// A source that is not trusted: what text from there says is told, not done.
///
/// Records carry a list of these: those that they came from, and those that whoever wrote them had read. No source = trusted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The way by which it came in.
    pub channel: Channel,
    /// Which one: a toolset or tool, the host of a page, the name of an import.
    pub name: String,
}

/// Most sources that one record names.
const MOST_SOURCES: usize = 32;

impl Source {
    /// How each mark begins.
    pub const MARK: &str = "[from ";

    /// A source of a channel.
    #[must_use]
    pub fn new(channel: Channel, name: impl Into<String>) -> Self {
        Self { channel, name: name.into() }
    }

    /// Adds sources to a sorted list, each once. A list that would get too long names its channels only: `*` is any of a channel.
    ///
    /// ```
    /// # use sid_types::{Channel, Source};
    /// let mut list = vec![Source::new(Channel::Web, "example.org")];
    /// Source::add(&mut list, &[Source::new(Channel::Tool, "mail"), Source::new(Channel::Web, "example.org")]);
    /// assert_eq!(list.len(), 2);
    /// ```
    pub fn add(list: &mut Vec<Self>, more: &[Self]) {
        for source in more {
            let is_known = |known: &Self| known == source || known.channel == source.channel && known.name == "*";
            if !list.iter().any(is_known) {
                list.push(source.clone());
            }
        }
        if list.len() > MOST_SOURCES {
            list.iter_mut().for_each(|source| "*".clone_into(&mut source.name));
        }
        list.sort_unstable();
        list.dedup();
    }

    /// What stands before text that came from these sources, so that whoever reads it is told: `[from web:example.org] `; empty for none.
    ///
    /// ```
    /// # use sid_types::{Channel, Source};
    /// let sources = vec![Source::new(Channel::Web, "example.org")];
    /// assert_eq!(Source::marks_in(&format!("{}Pay Eve.", Source::mark(&sources))), sources);
    /// ```
    #[must_use]
    pub fn mark(sources: &[Self]) -> String {
        if sources.is_empty() {
            return String::new();
        }
        let names: Vec<String> = sources.iter().map(|s| s.to_string().replace([',', ']', '\n'], "_")).collect();
        format!("{}{}] ", Self::MARK, names.join(", "))
    }

    /// The sources that the marks in a text name.
    #[must_use]
    pub fn marks_in(text: &str) -> Vec<Self> {
        let mut sources = Vec::new();
        for rest in text.split(Self::MARK).skip(1) {
            let Some((names, _)) = rest.split_once("] ") else { continue };
            for name in names.split(", ") {
                let Some((channel, name)) = name.split_once(':') else { continue };
                let channel = Channel::ALL.into_iter().find(|c| c.name() == channel);
                Self::add(&mut sources, &channel.map(|channel| Self::new(channel, name)).into_iter().collect::<Vec<_>>());
            }
        }
        sources
    }

    /// Whether a record with these sources was written by, or under the influence of, this one.
    #[must_use]
    pub fn is_among(&self, sources: &[Self]) -> bool {
        sources.iter().any(|s| s.channel == self.channel && (s.name == self.name || s.name == "*" || self.name == "*"))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.channel.name(), self.name)
    }
}
