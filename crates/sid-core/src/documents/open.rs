//! Opening: parts one after the other, as many as fit.

use sid_store::StoreError;
use sid_types::{Document, Passage, Scope};

use super::Library;
use crate::CoreError;

impl Library {
    /// The part with this number, from 1; `None` past the end, and for one that another version has replaced meanwhile.
    ///
    /// Errors: the store's.
    pub async fn part(&self, scope: &Scope, document: &Document, number: u32) -> Result<Option<Passage>, CoreError> {
        let Some(parts) = document.parts.filter(|parts| (1..=parts.count).contains(&number)) else { return Ok(None) };
        match self.store.passage(scope, Document::part_id(document.id, parts.version, number)).await {
            Ok(part) => Ok(Some(part)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The number of the first part on a page, or after it where that page has no text.
    ///
    /// Errors: the store's.
    pub async fn first_on(&self, scope: &Scope, document: &Document, page: u32) -> Result<Option<u32>, CoreError> {
        let Some(parts) = document.parts else { return Ok(None) };
        // Pages grow with the numbers: half of what is left is out with each look.
        let (mut low, mut high) = (1, parts.count + 1);
        while low < high {
            let middle = low.midpoint(high);
            let found = self.part(scope, document, middle).await?;
            let at = found.and_then(|part| part.provenance.citation).and_then(|citation| citation.place.page);
            if at.is_some_and(|at| at >= page) { high = middle } else { low = middle + 1 }
        }
        Ok((low <= parts.count).then_some(low))
    }
}
