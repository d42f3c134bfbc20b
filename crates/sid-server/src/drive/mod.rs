//! Google Drive of people: whose yes is kept in the vault, and what agents may do with it (ADR 0033).

mod connections;
mod tools;

pub(crate) use connections::{ConnectionError, Connections, NOT_SET_UP, Place};
pub(crate) use tools::{LaterLibrary, tools};
