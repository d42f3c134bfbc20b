//! The server through its doors: the router driven in process, on the in-process store and the scripted model server.

mod auth;
mod binary;
mod config;
mod directory;
mod error_pages;
mod errors;
mod harness;
mod identity;
mod lifecycle;
mod limits;
mod memory;
mod messages;
mod openai;
mod openapi;
mod sqlite;
