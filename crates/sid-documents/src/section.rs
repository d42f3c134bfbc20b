//! Sections: what a text is made of before it is cut into parts.

/// A stretch of a document's text under one heading, or on one page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) page: Option<u32>,
    /// Outermost first.
    pub(crate) heading: Vec<String>,
    pub(crate) text: String,
    /// The first character of `text` in the document's.
    pub(crate) start: u64,
}
