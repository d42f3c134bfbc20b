//! How partitions stood at the last look of each principal: a search that follows it sees what it has told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_store::GenerationId;
use sid_types::Scope;

use crate::visibility::Partition;

/// How long a look can be followed.
const AGE: Duration = Duration::from_secs(1);
/// Most looks that are kept.
const MOST: usize = 1_024;

/// What a look has told.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) began: Instant,
    /// The embedding generation that it asked for.
    pub(crate) generation: Option<GenerationId>,
    /// That generation's number and dimensions, if there are vectors of it.
    pub(crate) number: Option<(i32, Option<usize>)>,
    pub(crate) partitions: Arc<[Partition]>,
}

/// The last look of each principal.
#[derive(Default)]
pub(crate) struct Looked(Mutex<HashMap<Scope, Look>>);

impl Looked {
    pub(crate) fn keep(&self, scope: &Scope, look: Look) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, look| look.began.elapsed() < AGE);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(*scope, look);
    }

    /// The last look, if it began at `moment` or later, and told of the generation, if that is asked for.
    pub(crate) fn since(&self, scope: &Scope, moment: Instant, generation: Option<&GenerationId>) -> Option<Look> {
        let all = self.0.lock();
        let look = all.get(scope)?;
        let has_told = generation.is_none() || look.generation.as_ref() == generation;
        (look.began >= moment && look.began.elapsed() < AGE && has_told).then(|| look.clone())
    }

    /// The last look, however long ago.
    pub(crate) fn last(&self, scope: &Scope) -> Option<Look> {
        self.0.lock().get(scope).cloned()
    }

    pub(crate) fn forget(&self, scope: &Scope) {
        self.0.lock().remove(scope);
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{KeyId, OperatorScope, TenantId};

    use super::*;

    fn look(began: Instant, generation: Option<&str>) -> Look {
        Look { began, generation: generation.map(|g| GenerationId(g.into())), number: None, partitions: Arc::default() }
    }

    #[test]
    fn a_look_is_followed_by_its_own_principal_and_not_from_before_it() {
        let (looked, scope) = (Looked::default(), OperatorScope::grant().enter(TenantId::new(), KeyId::new()));
        let before = Instant::now();
        looked.keep(&scope, look(before, None));
        assert!(looked.since(&scope, before, None).is_some());
        assert!(looked.since(&scope, before + Duration::from_millis(1), None).is_none(), "it began before the moment that is asked for");
        let other = OperatorScope::grant().enter(TenantId::new(), KeyId::new());
        assert!(looked.since(&other, before, None).is_none());
    }

    #[test]
    fn a_search_by_meaning_follows_a_look_that_asked_for_its_vectors() {
        let (looked, scope) = (Looked::default(), OperatorScope::grant().enter(TenantId::new(), KeyId::new()));
        let (now, wanted) = (Instant::now(), GenerationId("minilm".into()));
        for (asked, is_followed) in [(None, false), (Some("e5"), false), (Some("minilm"), true)] {
            looked.keep(&scope, look(now, asked));
            assert_eq!(looked.since(&scope, now, Some(&wanted)).is_some(), is_followed, "{asked:?}");
            assert!(looked.since(&scope, now, None).is_some(), "words need no vectors");
        }
        assert_eq!(looked.last(&scope).and_then(|look| look.generation), Some(wanted));
        looked.forget(&scope);
        assert!(looked.last(&scope).is_none());
    }
}
