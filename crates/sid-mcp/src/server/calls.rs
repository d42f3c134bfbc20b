//! Calls of a server's tools, and the questions that it asks back.

use std::sync::Arc;

use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, CallToolResponse};
use serde_json::{Map, Value, json};
use sid_tools::{EffectClass, ToolContext, ToolOutcome, fit_result};
use tokio::time::timeout;

use super::{McpServer, Place, Whose};
use crate::question::{self, Answers, Talk};
use crate::session::Session;
use crate::{http, outcome};

/// Where a call's token stands: the key of its `_meta`, for servers that want to do nothing twice.
const TOKEN: &str = "sid/idempotency-key";

/// What could not be done, and whether it may have been done all the same.
enum Failure {
    /// It was answered 401 to the token that it came with.
    Refused(String),
    NotMade(String),
    Unknown(String),
}

/// What goes with a call where the server may ask back.
pub(crate) struct Asking<'a> {
    /// What the user has said.
    pub(crate) answers: Answers,
    /// The function that brings answers.
    pub(crate) answer: &'a str,
    /// What models call the tool.
    pub(crate) tool: &'a str,
}

/// A call, and again with the answers that there are, until the server has no more questions or one that nobody has answered.
async fn rounds(session: &Session, talk: &Talk, first: CallToolRequestParams) -> Result<CallToolResponse, ServiceError> {
    let mut params = first.clone();
    for _ in 0..question::MOST {
        let wanted = match session.peer().call_tool_once(params).await? {
            CallToolResponse::InputRequired(wanted) => wanted,
            done => return Ok(done),
        };
        let asked = wanted.input_requests.clone().unwrap_or_default();
        let Some(responses) = talk.answer_all(&asked) else { return Ok(CallToolResponse::InputRequired(wanted)) };
        params = first.clone();
        params.input_responses = Some(responses);
        params.request_state = wanted.request_state;
    }
    Err(ServiceError::InputRequiredRoundsExceeded { max_rounds: question::MOST })
}

impl McpServer {
    /// Calls a tool. Whatever happens is an outcome that a model can read.
    pub(crate) async fn call(
        &self,
        context: &ToolContext,
        tool: &str,
        arguments: Map<String, Value>,
        effect: EffectClass,
        asking: Asking<'_>,
    ) -> ToolOutcome {
        let whose = match self.0.place {
            Place::Remote { .. } => Whose::Users(context.scope.user()),
            Place::Local(_) => Whose::Nobodys,
        };
        let limit = self.0.limits.discovery;
        let reached = match timeout(limit, self.session(whose, context)).await {
            Ok(reached) => reached.map_err(Failure::NotMade),
            Err(_) => Err(Failure::NotMade(format!("it does not greet within {:.1} s", limit.as_secs_f32()))),
        };
        let called = match reached {
            Ok(session) => {
                let first = self.call_on(&session, context, tool, arguments.clone(), &asking).await;
                // A call that was answered 401 was not made: once more with the next token. Another one's 401 says nothing of this.
                match first {
                    Err(Failure::Refused(_)) if self.has_login() => match self.session(whose, context).await {
                        Ok(session) => self.call_on(&session, context, tool, arguments, &asking).await,
                        Err(problem) => Err(Failure::NotMade(problem)),
                    },
                    first => first,
                }
            }
            Err(failure) => Err(failure),
        };
        called.unwrap_or_else(|failure| {
            let (problem, more) = match failure {
                Failure::NotMade(problem) | Failure::Refused(problem) => (problem, "The call was not made; it may work later."),
                Failure::Unknown(problem) if effect == EffectClass::Read => (problem, "It may work later."),
                Failure::Unknown(problem) => (problem, "It may have been carried out all the same: look before you repeat it."),
            };
            let problem = fit_result(&problem, sid_types::Tokens(context.result_budget.0 / 2));
            ToolOutcome::error(format!("The MCP server `{}` cannot be used now: {problem}. {more}", self.0.name))
        })
    }

    async fn call_on(
        &self,
        session: &Arc<Session>,
        context: &ToolContext,
        tool: &str,
        arguments: Map<String, Value>,
        asking: &Asking<'_>,
    ) -> Result<ToolOutcome, Failure> {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {TOKEN: context.token.to_string()}});
        let params: CallToolRequestParams = serde_json::from_value(params).map_err(|e| Failure::NotMade(e.to_string()))?;
        let limit = self.0.limits.call;
        let Some(talk) = &session.talk else {
            return self.outcome(session, context, timeout(limit, session.peer().call_tool_once(params)).await);
        };
        let (answer, open) = {
            let _turn = session.turn.lock().await;
            talk.begin(asking.answers.clone());
            let called = timeout(limit, rounds(session, talk, params)).await;
            (called, talk.end())
        };
        let asked = (!open.is_empty()).then(|| session.headers.hide(question::told(&open, asking.answer, asking.tool)));
        match (answer, asked) {
            // The server wants an answer before it goes on: nothing else came of the call.
            (Ok(Ok(CallToolResponse::InputRequired(_))), Some(asked)) => Ok(ToolOutcome::error(fit_result(&asked, context.result_budget))),
            (answer, None) => self.outcome(session, context, answer),
            (answer, Some(asked)) => {
                let mut outcome = self.outcome(session, context, answer)?;
                outcome.text = fit_result(&format!("{asked}\n\n{}", outcome.text), context.result_budget);
                Ok(outcome)
            }
        }
    }

    fn outcome(
        &self,
        session: &Session,
        context: &ToolContext,
        answer: Result<Result<CallToolResponse, ServiceError>, tokio::time::error::Elapsed>,
    ) -> Result<ToolOutcome, Failure> {
        let limit = self.0.limits.call;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                session.doubt();
                return Err(Failure::Unknown(format!("there was no answer within {:.1} s", limit.as_secs_f32())));
            }
        };
        match answer {
            Ok(CallToolResponse::Complete(result)) => Ok(outcome::of_result(&result, &session.headers, context.result_budget)),
            Ok(_) => Err(Failure::Unknown("it wants more than a tool's arguments, which this client cannot give".into())),
            // The server's own answer: arguments that it does not like, a tool that it no longer has.
            Err(ServiceError::McpError(error)) => {
                let says = session.headers.hide(error.message.to_string());
                Ok(ToolOutcome::error(fit_result(&format!("The server refuses the call: {says}"), context.result_budget)))
            }
            Err(error) => {
                session.doubt();
                let problem = session.problem().unwrap_or_else(|| session.headers.hide(error.to_string()));
                Err(if http::is_refused(&error) { Failure::Refused(problem) } else { Failure::Unknown(problem) })
            }
        }
    }
}
