#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod arguments;
mod declaration;
#[cfg(feature = "macros")]
pub mod function;
#[cfg(feature = "http")]
pub mod http;
mod registry;
mod result;
mod tool;

pub use declaration::Declaration;
#[cfg(feature = "macros")]
pub use function::Toolbox;
pub use registry::{Registry, RegistryError};
pub use result::{fit_result, most_tokens};
#[cfg(feature = "macros")]
pub use sid_tools_macros::{tool, toolbox};
pub use tool::{EffectClass, Tool, ToolContext, ToolOutcome};
