//! Toolsets: what a tenant gave its agents to call.

use async_trait::async_trait;
use sid_types::{Scope, Toolset, ToolsetKind, ToolsetSpec};

use crate::StoreError;

/// Most toolsets of a tenant.
pub const MOST_TOOLSETS: u64 = 100;
/// Most bytes of a toolset's source, as JSON.
pub const MOST_TOOLSET_BYTES: u64 = 1 << 20;

/// Toolsets by name.
///
/// They are the tenant's: who acts for all of it puts and drops them. A turn reads them, so that an agent has its functions. For a person
/// there are none.
#[async_trait]
pub trait ToolsetStore: Send + Sync {
    /// Makes the toolset of this name, or puts this one in its place. `expected`: the version that the caller has read, 0 for none; `None`
    /// for whatever is there.
    ///
    /// Errors: `Conflict` when another version is there; `Invalid` for a name that [`check_toolset`] refuses, or beyond [`MOST_TOOLSETS`];
    /// `TooLarge`; `NotFound` (toolset) for whom it is not.
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError>;

    /// All of them, by name.
    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError>;

    /// Forgets one. Errors: `NotFound`; `Conflict` as for [`put_toolset`](Self::put_toolset).
    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError>;
}

/// What a store answers who may not see toolsets, and when there is none of this name.
pub const NO_TOOLSET: StoreError = StoreError::NotFound { what: "toolset" };

/// Checks what is put, and tells the source as JSON.
///
/// Errors: `Invalid` for a name that is not 1 to 64 characters of `[a-zA-Z0-9_-]`, and for an unknown kind; `TooLarge` for a source of more than
/// [`MOST_TOOLSET_BYTES`].
pub fn check_toolset(name: &str, spec: &ToolsetSpec) -> Result<String, StoreError> {
    let is_fine = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_fine {
        return Err(StoreError::Invalid(format!("the name of a toolset has 1 to 64 characters of a-z, A-Z, 0-9, _ and -, not `{name}`")));
    }
    if spec.kind == ToolsetKind::Unknown {
        return Err(StoreError::Invalid("a toolset is of one of the kinds that there are".into()));
    }
    let source = serde_json::Value::Object(spec.source.clone()).to_string();
    let size = source.len() as u64;
    if size > MOST_TOOLSET_BYTES {
        return Err(StoreError::TooLarge { what: "source of a toolset, in bytes,", size, limit: MOST_TOOLSET_BYTES });
    }
    Ok(source)
}

/// Whether a change that expects one version may be made to another, 0 for none.
///
/// Errors: `Conflict`.
pub fn check_toolset_version(expected: Option<u64>, found: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != found => Err(StoreError::Conflict { expected, found }),
        _ => Ok(()),
    }
}

/// What a tenant with too many is told.
#[must_use]
pub fn too_many_toolsets() -> StoreError {
    StoreError::Invalid(format!("a tenant has at most {MOST_TOOLSETS} toolsets: drop one"))
}
