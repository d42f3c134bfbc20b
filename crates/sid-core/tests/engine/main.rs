//! What the engine does, whole: runs over the in-process store and scripted models.

mod any_history;
mod approvals;
mod calls;
mod client_tools;
mod colleagues;
mod consolidation;
mod delegation;
mod documents;
mod duties;
mod egos;
mod generations;
mod laundering;
mod limits;
mod outside;
mod perpetual;
mod poisoning;
mod prompt_snapshots;
mod provider;
mod results;
mod rules;
mod support;
mod tasks;
mod timers;
mod together;
mod tool_search;
mod turns;
