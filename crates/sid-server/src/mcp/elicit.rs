//! Approvals that are asked of the person behind the client, in the middle of a call (elicitation).
//!
//! Requests are stateless, so the question is the call's result (`input_required`), and the client calls again with the answer. What it sends
//! back as the state is an approval's id and nothing that counts: deciding asks for the same rights as `POST /approvals/{id}`.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    InputRequest, InputRequests, InputRequiredResult, ProtocolVersion,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};
use sid_store::{ApprovalFilter, PageRequest, Verdict};
use sid_types::{Approval, ApprovalId, ApprovalState, ConversationId, Permission};

use super::call::failed;
use crate::App;
use crate::access::Level;
use crate::api::messages::turn_of;
use crate::auth::Caller;
use crate::error::ApiError;

/// The question's name in requests and answers.
const QUESTION: &str = "approval";
/// The first revision in which a result can be a question.
const SINCE: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// Whether the client can ask its user, and the user may decide.
pub(super) fn can_ask(context: &RequestContext<RoleServer>, caller: &Caller) -> bool {
    let is_new = context.meta.protocol_version().is_some_and(|version| version >= SINCE);
    let elicits = context.client_capabilities().and_then(|c| c.elicitation).is_some_and(|e| e.form.is_some() || e.url.is_none());
    is_new && elicits && caller.level() == Level::User && caller.may(Permission::ContextDecide)
}

/// The question about the oldest call that waits in the conversation of a run, if one does.
pub(super) async fn question(app: &App, caller: &Caller, result: &CallToolResult) -> Option<InputRequiredResult> {
    let run = &result.structured_content.as_ref()?["run"];
    let conversation: ConversationId = run["conversation"].as_str()?.parse().ok()?;
    let filter = ApprovalFilter { state: Some(ApprovalState::Pending), conversation: Some(conversation) };
    let waiting = app.store().approvals(&caller.scope().ok()?, &filter, PageRequest { after: None, limit: 100 }).await.ok()?.items;
    waiting.into_iter().next_back().map(|approval| asked(&approval))
}

/// The exact call, and a yes or no.
fn asked(approval: &Approval) -> InputRequiredResult {
    let arguments = serde_json::to_string_pretty(&approval.call.arguments).unwrap_or_default();
    let message =
        format!("The agent wants to call `{}` with\n{arguments}\n{}\nNothing has been done yet.", approval.call.name, approval.reason);
    let schema = json!({
        "type": "object",
        "properties": {
            "approve": {"type": "boolean", "title": "Make this call", "description": "Yes: it is made once, as it is shown. No: it is not made."},
            "note": {"type": "string", "title": "Note", "description": "What the agent is told beside it", "maxLength": sid_store::MOST_NOTE_CHARS}
        },
        "required": ["approve"]
    });
    let requested_schema = serde_json::from_value(schema).expect("a form of plain fields");
    let request = ElicitRequest::new(ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema });
    let requests = InputRequests::from([(QUESTION.to_owned(), InputRequest::Elicitation(request))]);
    InputRequiredResult::new(Some(requests), Some(approval.id.to_string()))
}

/// The call comes again with an answer: it is not made again. Decides, and answers with what the agent says to it. `None`: this is no answer.
pub(super) async fn answered(app: &App, caller: &Caller, request: &CallToolRequestParams) -> Option<CallToolResponse> {
    let approval: ApprovalId = request.request_state.as_deref()?.parse().ok()?;
    let answer = request.input_responses.as_ref().and_then(|responses| responses.get(QUESTION)).cloned().unwrap_or(Value::Null);
    let answer = serde_json::from_value::<ElicitResult>(answer).unwrap_or_else(|_| ElicitResult::new(ElicitationAction::Cancel));
    Some(match decide(app, caller, approval, answer).await {
        Ok(result) => {
            let more = if result.is_error == Some(true) { None } else { question(app, caller, &result).await };
            more.map_or_else(|| result.into(), Into::into)
        }
        Err(error) => failed(&format!("{} ({})", error.detail, error.code)).into(),
    })
}

async fn decide(app: &App, caller: &Caller, approval: ApprovalId, answer: ElicitResult) -> Result<CallToolResult, ApiError> {
    let scope = caller.scope()?;
    if caller.level() != Level::User || !caller.may(Permission::ContextDecide) {
        return Err(ApiError::forbidden("this key may not decide"));
    }
    let content = answer.content.unwrap_or_default();
    let verdict = match (answer.action, content["approve"].as_bool()) {
        (ElicitationAction::Accept, Some(true)) => Verdict::Approve,
        (ElicitationAction::Accept, Some(false)) | (ElicitationAction::Decline, _) => Verdict::Deny,
        // Nobody has chosen: it goes on waiting, and can be decided elsewhere.
        _ => {
            return Ok(failed(&format!(
                "Nobody has decided: the call waits on as {approval}. `approvals` shows and decides it, until it expires."
            )));
        }
    };
    let note = content["note"].as_str().map(str::trim).filter(|note| !note.is_empty()).map(str::to_owned);
    let decided = app.engine().decide(&scope, approval, verdict, note).await?;
    match decided.answered_by {
        Some(run) => Ok(CallToolResult::structured(turn_of(app, &scope, run).await?)),
        None => Ok(failed("It was decided, and no run tells of it.")),
    }
}
