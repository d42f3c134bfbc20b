//! The reference store: the whole contract in plain collections behind one lock.

/// The reference store.
#[derive(Default)]
pub struct InProcess {}
