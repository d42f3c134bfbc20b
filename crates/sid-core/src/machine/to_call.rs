//! Calls of a reply, as the machine keeps them.

use sid_llm::{BadArguments, ReplyCall};
use sid_tools::ToolOutcome;
use sid_types::{CallState, NewApproval, PlannedCall, ToolCall};

use super::RunMachine;

/// A call to be made, or to be answered without being made.
#[derive(Debug, Clone)]
pub struct ToCall {
    /// The call.
    pub planned: PlannedCall,
    /// What is wrong with its arguments, where they could not be read.
    pub bad_arguments: Option<BadArguments>,
    /// The rule of the agent that it is against, in words for the model.
    pub refused: Option<String>,
    /// It was begun before a crash and must not be repeated.
    pub outcome_unknown: bool,
    /// Somebody is to be asked first: it is answered without being made.
    pub asks: Option<Box<NewApproval>>,
    /// It has left the house and come back, but its result could not be written yet: this is it, and it is not called again.
    pub known: Option<ToolOutcome>,
}

impl ToCall {
    /// A call that nothing stands against.
    pub(super) const fn of(planned: PlannedCall) -> Self {
        Self { planned, bad_arguments: None, refused: None, outcome_unknown: false, asks: None, known: None }
    }
}

impl RunMachine {
    /// A call of a reply, as the journal knows it. One for the client has an id that no other call of the conversation has, and arguments
    /// that fit; one whose arguments do not fit is answered here.
    pub(super) fn to_call(&self, said: &ReplyCall, token: uuid::Uuid, refused: Option<String>) -> ToCall {
        let mut call = ToolCall {
            id: said.id.clone(),
            name: said.name.clone(),
            arguments: said.arguments.clone().unwrap_or_default(),
            for_client: false,
        };
        let mut bad_arguments = said.arguments.clone().err();
        if let (Ok(given), None) = (&said.arguments, &refused) {
            match self.client_tools.fit(&said.name, given) {
                Some(Ok(arguments)) => {
                    call.id = format!("call_{}", token.simple());
                    (call.arguments, call.for_client) = (arguments, true);
                }
                Some(Err(problem)) => {
                    let raw = serde_json::to_string(given).unwrap_or_default().chars().take(2_000).collect();
                    bad_arguments = Some(BadArguments { raw, problem });
                }
                None => {}
            }
        }
        let planned = PlannedCall { call, token, state: CallState::Planned };
        ToCall { bad_arguments, refused, ..ToCall::of(planned) }
    }
}
