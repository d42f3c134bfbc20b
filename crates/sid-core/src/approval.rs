//! Which calls need somebody's word, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sid_store::{ApprovalFilter, Decide, Page, PageRequest, StoreError, Verdict};
use sid_tools::{EffectClass, Registry, ToolOutcome};
use sid_types::{
    Approval, ApprovalId, ApprovalState, Approvals, ApprovedCall, Ask, Body, CallState, Message, NewApproval, PlannedCall, RunId, Scope,
    Source, ToolCall,
};
use tracing::warn;

use crate::machine::ToCall;
use crate::{CoreError, Engine};

/// Most questions that the background lets expire in one look.
const AT_ONCE: usize = 64;

/// Knows which calls of a run need somebody's word.
#[derive(Clone)]
pub struct Gate {
    tools: Arc<Registry>,
    rules: Approvals,
    ttl: Duration,
}

impl Gate {
    /// By what these tools declare and what the agent's rules say. A question expires after `ttl`.
    #[must_use]
    pub const fn new(tools: Arc<Registry>, rules: Approvals, ttl: Duration) -> Self {
        Self { tools, rules, ttl }
    }

    /// What is to be asked before this call, if anything. A call that could not be made anyway is not asked for: the model is told why.
    /// `context`: what the run has read.
    #[must_use]
    pub fn asks(&self, planned: &PlannedCall, tainted_by: &[Source], context: &[Message]) -> Option<NewApproval> {
        let name = &planned.call.name;
        let declared = self.tools.declaration(name)?;
        // Who reads from any host sends there what stands in the call.
        let may_carry_out = declared.hosts.iter().any(|host| host == "*") && !self.was_given(&planned.call, context);
        let acts_outside = matches!(declared.effect, EffectClass::External { .. });
        let usual = if acts_outside || may_carry_out { Ask::Tainted } else { Ask::Never };
        let own = self.rules.rule(name).or(declared.ask).unwrap_or(usual);
        let other = declared.stands_for.as_ref().and_then(|argument| planned.call.arguments.get(argument)?.as_str());
        let reason = match other.map_or(own, |other| stricter(own, self.usual(other))) {
            Ask::Never => return None,
            Ask::Always => format!("`{}` is called only when somebody has said yes", other.filter(|_| own != Ask::Always).unwrap_or(name)),
            Ask::Tainted if tainted_by.is_empty() => return None,
            Ask::Tainted => {
                let sources: Vec<String> = tainted_by.iter().take(3).map(ToString::to_string).collect();
                let more = if tainted_by.len() > sources.len() { " and others" } else { "" };
                let sources = sources.join(", ");
                if acts_outside {
                    format!("the agent has read text from outside ({sources}{more})")
                } else {
                    format!(
                        "the agent has read text from outside ({sources}{more}), and what it sends with this call was in nobody's words"
                    )
                }
            }
        };
        let arguments = self.tools.fitted(name, planned.call.arguments.clone()).ok()?;
        Some(NewApproval {
            id: NewApproval::id_for(planned.token),
            call: ToolCall { arguments, ..planned.call.clone() },
            reason,
            expires_in_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// What is asked before a tool that another one stands for. One that the agent does not have is not left to it.
    fn usual(&self, name: &str) -> Ask {
        let Some(declared) = self.tools.declaration(name) else { return Ask::Always };
        let usual = if matches!(declared.effect, EffectClass::External { .. }) { Ask::Tainted } else { Ask::Never };
        self.rules.rule(name).or(declared.ask).unwrap_or(usual)
    }

    /// Whether all that a call says was said before, by the user or from outside, letter by letter: then it carries nothing away that the agent
    /// knows besides. What the agent says itself, or has read in its memory, does not count.
    fn was_given(&self, call: &ToolCall, context: &[Message]) -> bool {
        let is_given = |message: &&Message| match &message.body {
            Body::User { .. } => true,
            Body::Tool { name, .. } => self.is_from_outside(name),
            Body::Assistant { .. } | Body::Note { .. } => false,
        };
        let given: Vec<&str> = context.iter().filter(is_given).map(|message| message.body.text()).collect();
        texts(call.arguments.values()).iter().all(|text| {
            let bare = text.trim().trim_end_matches('/');
            let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
            given.iter().any(|said| said.contains(bare))
        })
    }

    /// Whether what a tool answers is to be trusted; what is no tool answers nothing.
    pub(crate) fn is_from_outside(&self, tool: &str) -> bool {
        self.tools.declaration(tool).is_some_and(|declared| declared.untrusted)
    }
}

const fn stricter(one: Ask, other: Ask) -> Ask {
    match (one, other) {
        (Ask::Always, _) | (_, Ask::Always) => Ask::Always,
        (Ask::Tainted, _) | (_, Ask::Tainted) => Ask::Tainted,
        (Ask::Never, Ask::Never) => Ask::Never,
    }
}

/// All texts in these values, names of fields included.
fn texts<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<&'v str> {
    let mut found = Vec::new();
    for value in values {
        match value {
            Value::String(text) => found.push(text.as_str()),
            Value::Array(list) => found.extend(texts(list.iter())),
            Value::Object(fields) => {
                found.extend(fields.keys().map(String::as_str));
                found.extend(texts(fields.values()));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// What the model reads in place of a result.
pub(crate) fn waits(asked: &NewApproval) -> ToolOutcome {
    ToolOutcome::text(format!(
        "Waits for approval (id {}): nothing has been done yet. Tell the user what you want to do and that it waits for a yes. \
         Do not call it again: you are told when it is decided.",
        asked.id
    ))
}

/// The approved call as the journal plans it.
pub(crate) fn planned(approved: &ApprovedCall) -> PlannedCall {
    let call = ToolCall { id: format!("call_{}", approved.approval.uuid().simple()), ..approved.call.clone() };
    PlannedCall { call, token: approved.token(), state: CallState::Planned }
}

/// Puts the questions to calls that were not begun. The one that was approved is not asked for again.
pub(crate) fn guard(gate: &Gate, calls: &mut [ToCall], approved: Option<&ApprovedCall>, tainted_by: &[Source], context: &[Message]) {
    let approved = approved.map(ApprovedCall::token);
    for call in calls {
        let is_open = call.planned.state == CallState::Planned
            && call.bad_arguments.is_none()
            && call.refused.is_none()
            && approved != Some(call.planned.token);
        call.asks = if is_open { gate.asks(&call.planned, tainted_by, context).map(Box::new) } else { None };
    }
}

impl Engine {
    /// Calls that wait, or waited, for somebody's word, newest first.
    pub async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, CoreError> {
        Ok(self.inner.store.approvals(scope, filter, page).await?)
    }

    /// Decides a call that waits. The agent is told by a run in the conversation; an approved one begins with the call. The same decision
    /// again changes nothing.
    ///
    /// Errors: as [`ApprovalStore::decide`](sid_store::ApprovalStore::decide); `Draining`.
    pub async fn decide(&self, scope: &Scope, approval: ApprovalId, verdict: Verdict, note: Option<String>) -> Result<Approval, CoreError> {
        if self.is_draining() {
            return Err(CoreError::Draining);
        }
        let config = &self.inner.config;
        let place = self.inner.active.place(scope.tenant(), self.inner.room());
        let decide = Decide {
            approval,
            verdict,
            note,
            run: RunId::new(),
            limits: config.limits,
            queue_depth: config.queue_depth,
            claim_for: place.as_ref().map(|_| (config.worker, config.lease_ttl)),
        };
        let decided = self.inner.store.decide(scope, decide).await?;
        match (decided.lease, place) {
            (Some(lease), _) => self.spawn_run(lease),
            (None, None) => self.inner.active.wait_for_place(scope.tenant(), self.inner.room()),
            (None, Some(_)) => {}
        }
        Ok(decided.approval)
    }

    /// Lets questions expire that nobody has answered in time; answers whether there may be more.
    pub(crate) async fn expire_approvals(&self) -> bool {
        let due = match self.inner.store.expired_approvals(AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                warn!(%error, "could not look for approvals that nobody has given");
                return false;
            }
        };
        let mut expired = 0;
        for (scope, approval) in &due {
            match self.decide(scope, *approval, Verdict::Expire, None).await {
                Ok(decided) => expired += usize::from(decided.state == ApprovalState::Expired),
                // Somebody has decided after all, or erased it.
                Err(CoreError::Store(StoreError::Decided { .. } | StoreError::NotFound { .. })) => {}
                Err(error) => warn!(%error, %approval, "could not let an approval expire"),
            }
        }
        expired == AT_ONCE
    }
}
