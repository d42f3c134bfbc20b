#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

#[cfg(feature = "http")]
pub mod http;
mod registry;
mod tool;

pub use registry::{Registry, RegistryError};
pub use tool::{EffectClass, Tool, ToolContext, ToolOutcome};
