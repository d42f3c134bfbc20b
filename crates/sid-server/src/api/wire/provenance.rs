//! Where text came from, on the wire.

use serde::Serialize;
use sid_types::{ConversationId, MessageId, PassageId, Provenance, RunId, Source, UserId};
use utoipa::ToSchema;

use crate::api::documents::CitationJson;

/// Where a memory came from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProvenanceJson {
    /// The conversation in which it was written.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// The run that wrote it.
    #[schema(value_type = Option<String>)]
    run: Option<RunId>,
    /// The user who wrote it, or for whom it was written.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// How it came: `tool`, `api`, `import`, `template`, `undo`, `consolidation`, `document`.
    channel: String,
    /// `trusted`, or `untrusted` where whoever wrote it had read one of `untrusted`.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
    /// The messages of the conversation that it is drawn from; empty for what was written as it is.
    #[schema(value_type = Vec<String>)]
    sources: Vec<MessageId>,
    /// The passage that has taken its place: what it says was true until then.
    #[schema(value_type = Option<String>)]
    superseded_by: Option<PassageId>,
    /// The place in a document that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    citation: Option<Box<CitationJson>>,
}

impl From<Provenance> for ProvenanceJson {
    fn from(p: Provenance) -> Self {
        Self {
            conversation: p.conversation,
            run: p.run,
            user: p.user,
            channel: p.channel,
            sources: p.sources,
            superseded_by: p.superseded_by,
            citation: p.citation.map(|citation| Box::new((*citation).into())),
            trust: trust_of(&p.untrusted),
            untrusted: p.untrusted.into_iter().map(Into::into).collect(),
        }
    }
}

/// A source that is not trusted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SourceJson {
    /// `user`, `tool`, `import`, `agent`, `web` or `api`.
    channel: String,
    /// Which one: a toolset or tool, the host of a page, the name of an import.
    name: String,
}

impl From<Source> for SourceJson {
    fn from(source: Source) -> Self {
        Self { channel: source.channel.name().to_owned(), name: source.name }
    }
}

/// `trusted` without sources.
pub(crate) const fn trust_of(sources: &[Source]) -> &'static str {
    if sources.is_empty() { "trusted" } else { "untrusted" }
}
