//! Functions that agents call: the [`Tool`] contract and the [`Registry`] that checks and dispatches calls.
#![warn(missing_docs)]

mod registry;
mod tool;

pub use registry::{Registry, RegistryError};
pub use tool::{EffectClass, Tool, ToolContext, ToolOutcome};
