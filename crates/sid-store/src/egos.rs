//! Egos, and who of a tenant's agents there is to be spoken with.

use async_trait::async_trait;
use sid_types::{Agent, Ego, EgoSpec, Scope};

use crate::StoreError;

/// Most egos of a tenant.
pub const MOST_EGOS: u64 = 100;
/// Most members of an ego.
pub const MOST_MEMBERS: usize = 32;
/// Most bytes of an ego, as JSON.
pub const MOST_EGO_BYTES: u64 = 1 << 20;

/// What a store answers when there is no ego of this name, and to who may not change egos.
pub const NO_EGO: StoreError = StoreError::NotFound { what: "ego" };

/// Egos by name.
///
/// They are the tenant's: who acts for all of it puts and drops them. Its people and turns read them, so that they can speak with one.
#[async_trait]
pub trait EgoStore: Send + Sync {
    /// Makes the ego of this name, or puts this one in its place. `expected`: the version that the caller has read, 0 for none; `None` for
    /// whatever is there.
    ///
    /// Errors: `Conflict` when another version is there; `Invalid` as [`check_ego`] says, or beyond [`MOST_EGOS`]; `TooLarge`; `NotFound` for an
    /// agent that is not the tenant's, and (ego) for whom it is not.
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError>;

    /// All of them, by name.
    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError>;

    /// Forgets one; its agents stay. Errors: `NotFound`; `Conflict` as for [`put_ego`](Self::put_ego).
    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError>;

    /// All agents of the tenant, by name. For the engine: whom of them a turn's agent may reach, and what its model is told of them, is decided
    /// there.
    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError>;
}

/// Checks what is put, and tells it as JSON.
///
/// Errors: `Invalid` for a name that is not 1 to 64 characters of `[a-zA-Z0-9_-]`, for no members or more than [`MOST_MEMBERS`], for an agent that is
/// named twice, and for a block's label that is; `TooLarge` for more than [`MOST_EGO_BYTES`].
pub fn check_ego(name: &str, spec: &EgoSpec) -> Result<String, StoreError> {
    let is_fine = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_fine {
        return Err(StoreError::Invalid(format!("the name of an ego has 1 to 64 characters of a-z, A-Z, 0-9, _ and -, not `{name}`")));
    }
    if !(1..=MOST_MEMBERS).contains(&spec.members.len()) {
        return Err(StoreError::Invalid(format!("an ego has 1 to {MOST_MEMBERS} members beside its spokesperson")));
    }
    if has_twice(spec.agents()) {
        return Err(StoreError::Invalid("an agent is in an ego once: the spokesperson is no member, and no member is named twice".into()));
    }
    if has_twice(spec.blocks.iter().map(|b| b.label.as_str())) {
        return Err(StoreError::Invalid("two blocks of an ego have the same label".into()));
    }
    let json = serde_json::to_string(spec).map_err(|error| StoreError::Invalid(format!("an ego cannot be told as JSON: {error}")))?;
    let size = json.len() as u64;
    if size > MOST_EGO_BYTES {
        return Err(StoreError::TooLarge { what: "ego, in bytes,", size, limit: MOST_EGO_BYTES });
    }
    Ok(json)
}

fn has_twice<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.windows(2).any(|pair| pair[0] == pair[1])
}

/// What a tenant with too many is told.
#[must_use]
pub fn too_many_egos() -> StoreError {
    StoreError::Invalid(format!("a tenant has at most {MOST_EGOS} egos: drop one"))
}
