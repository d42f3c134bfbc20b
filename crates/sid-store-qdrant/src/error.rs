//! From Qdrant's errors to the contract's, sorted by what the caller can do.

use qdrant_client::QdrantError;
use sid_store::StoreError;

/// The index's name in errors.
pub(crate) const STORE: &str = "the vector index (Qdrant)";

// Codes of gRPC.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
pub(crate) const ALREADY_EXISTS: i32 = 6;
const PERMISSION_DENIED: i32 = 7;
const FAILED_PRECONDITION: i32 = 9;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;

/// The status that Qdrant answered with, if it did.
pub(crate) fn code(error: &QdrantError) -> Option<i32> {
    match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => Some(status.code() as i32),
        _ => None,
    }
}

fn message(error: &QdrantError) -> String {
    match error {
        QdrantError::ResponseError { status } => status.message().to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn from_qdrant(error: QdrantError) -> StoreError {
    match (code(&error), &error) {
        (Some(NOT_FOUND), _) => StoreError::NotFound { what: "embedding generation in the vector index" },
        (Some(PERMISSION_DENIED | UNAUTHENTICATED), _) => {
            StoreError::Setup(format!("Qdrant refused the API key ({}): check it", message(&error)))
        }
        (Some(INVALID_ARGUMENT), _) => StoreError::Invalid(format!("Qdrant refused the request: {}", message(&error))),
        (Some(FAILED_PRECONDITION | UNIMPLEMENTED), _) => {
            StoreError::Setup(format!("Qdrant refused the request ({}): Sid needs Qdrant 1.16 or newer", message(&error)))
        }
        (_, QdrantError::InvalidUri(_)) => not_an_address(&error),
        _ => StoreError::Unavailable { store: STORE, source: error.into() },
    }
}

pub(crate) fn not_an_address(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Setup(format!("this is not the address of a Qdrant cluster ({error}): write http://host:6334, its gRPC port"))
}

/// No answer in time.
pub(crate) fn too_late(patience: std::time::Duration) -> StoreError {
    StoreError::Unavailable { store: STORE, source: format!("no answer in {patience:?}").into() }
}

/// A point that this crate has not written.
pub(crate) fn strange(what: &str) -> StoreError {
    StoreError::Corrupt {
        store: STORE,
        detail: format!(
            "a point has no `{what}`; did another program write into the collection? Drop it: it is made again from the database"
        ),
    }
}
