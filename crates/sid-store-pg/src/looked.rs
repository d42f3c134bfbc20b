//! How partitions stood at the last look of each turn: a search that follows another of the same turn sees what that one saw.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_types::Scope;

use crate::visibility::Partition;

/// How long a look can be followed.
const AGE: Duration = Duration::from_secs(1);
/// Most looks that are kept.
const MOST: usize = 1_024;

/// When a look began, and the partitions that it found.
type Look = (Instant, Arc<[Partition]>);

/// The last look of each principal.
#[derive(Default)]
pub(crate) struct Looked(Mutex<HashMap<Scope, Look>>);

impl Looked {
    pub(crate) fn keep(&self, scope: &Scope, began: Instant, partitions: Vec<Partition>) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (began, _)| began.elapsed() < AGE);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(*scope, (began, partitions.into()));
    }

    /// The last look, if it began at `moment` or later.
    pub(crate) fn since(&self, scope: &Scope, moment: Instant) -> Option<Arc<[Partition]>> {
        let all = self.0.lock();
        let (began, partitions) = all.get(scope)?;
        (*began >= moment && began.elapsed() < AGE).then(|| Arc::clone(partitions))
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{KeyId, OperatorScope, TenantId};

    use super::*;

    #[test]
    fn a_look_is_followed_by_its_own_principal_and_not_from_before_it() {
        let (looked, scope) = (Looked::default(), OperatorScope::grant().enter(TenantId::new(), KeyId::new()));
        let before = Instant::now();
        looked.keep(&scope, before, Vec::new());
        assert!(looked.since(&scope, before).is_some());
        assert!(looked.since(&scope, before + Duration::from_millis(1)).is_none(), "it began before the moment that is asked for");
        let other = OperatorScope::grant().enter(TenantId::new(), KeyId::new());
        assert!(looked.since(&other, before).is_none());
    }
}
