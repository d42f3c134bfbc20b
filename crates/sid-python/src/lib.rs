#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![cfg(target_os = "linux")]

mod config;
mod error;
mod module;

mod confine;
mod launch;
mod plan;

mod cgroup;
mod environment;
mod folder;
mod interpreter;
mod keeper;
mod process;

mod python;
mod tool;
mod words;

pub use cgroup::Cgroups;
pub use config::{Grants, Limits, PythonConfig};
pub use confine::Enforced;
pub use error::PythonError;
pub use launch::launch_if_asked;
pub use module::{Function, Inspected, Module, Problem};
pub use python::{Call, Python};
pub use tool::PythonTool;
pub use words::{Failure, Frame, Raised};
