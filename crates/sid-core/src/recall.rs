//! Automatic recall: what a turn is reminded of, whether it asks or not.

use std::sync::Arc;

use sid_memory::Count;
use sid_types::{Scope, Tokens};

use crate::CoreError;
use crate::context::RecalledView;
use crate::engine::Inner;
use crate::machine::RunMachine;

pub(crate) async fn for_turn(inner: &Arc<Inner>, scope: &Scope, machine: &RunMachine, cap: Tokens, count: &Count<'_>) -> Result<Vec<RecalledView>, CoreError> {
    let _ = (inner, scope, machine, cap, count);
    Ok(Vec::new())
}
