//! The built binary, against a server in this process and against data folders of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod chat;
mod connection;
mod context;
mod directory;
mod embedded;
mod memory;
mod operation;
mod world;
