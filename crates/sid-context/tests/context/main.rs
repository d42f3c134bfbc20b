//! The context service over the in-process store: what assistants of one user may do with each other's things, and what others may not.

mod handoffs;
mod items;
mod overview;
mod proposals;
mod secrets;
mod sessions;
mod trees;
mod world;
