#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod error;
mod ground;
mod handoffs;
mod overview;
mod proposals;
mod rules;
pub mod secrets;
mod service;
mod trees;

pub use error::{ContextError, Result};
pub use ground::{Contact, Grounding};
pub use handoffs::HandoffState;
pub use overview::{BUDGETS, Head, Overview, USUAL_BUDGET};
pub use proposals::Proposed;
pub use rules::{Reach, Rules, rules};
pub use service::{ContextService, Draft, Edit, Outcome, Policy};
