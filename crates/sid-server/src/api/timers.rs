//! Timers: what wakes an agent by itself.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_core::{NewTimer, TimerChange};
use sid_store::PairFilter;
use sid_types::{
    AgentId, ConversationId, InQuietHours, Late, Principal, RunId, Timer, TimerId, TimerKind, TimerMaker, TimerSpec, TimerState, Timestamp,
    UserId, When,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::initiative::HeldJson;
use super::names::{Names, check_name, check_text};
use super::users::present;
use super::wire::{List, Paging, SourceJson, if_match, parse_id, precondition, trust_of};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_timers, create_timer)).routes(routes!(get_timer, change_timer, delete_timer))
}

/// Once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtJson {
    /// The moment.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Again and again, after the same time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EveryJson {
    /// Milliseconds from one to the next.
    every_ms: u64,
    /// The first moment; when left out, so long from now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
}

/// By the clock on the wall.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CronJson {
    /// Five fields: minute, hour, day of the month, month, day of the week, as in `30 7 * * MON-FRI`.
    expression: String,
    /// IANA name of the zone; the user's when left out, or UTC.
    #[serde(default)]
    timezone: Option<String>,
}

/// When a timer is due.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum WhenJson {
    /// Once.
    At(AtJson),
    /// Again and again, after the same time.
    Every(EveryJson),
    /// By the clock on the wall: a time that the clock skips is due when the skipping is over, one that it shows twice the first time.
    Cron(CronJson),
}

impl From<When> for WhenJson {
    fn from(when: When) -> Self {
        match when {
            When::At { at } => Self::At(AtJson { at }),
            When::Every { every_ms, from } => Self::Every(EveryJson { every_ms, from: Some(from) }),
            When::Cron { expression, timezone } => Self::Cron(CronJson { expression, timezone: Some(timezone) }),
        }
    }
}

/// What becomes of occurrences that nobody could answer within a minute.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LateJson {
    /// They are left out.
    Skip,
    /// One run answers all of them.
    #[default]
    RunOnce,
    /// Each gets its run, the newest hundred at most.
    RunAll,
}

impl From<LateJson> for Late {
    fn from(late: LateJson) -> Self {
        match late {
            LateJson::Skip => Self::Skip,
            LateJson::RunOnce => Self::RunOnce,
            LateJson::RunAll => Self::RunAll,
        }
    }
}

impl From<Late> for LateJson {
    fn from(late: Late) -> Self {
        match late {
            Late::Skip => Self::Skip,
            Late::RunOnce => Self::RunOnce,
            Late::RunAll => Self::RunAll,
        }
    }
}

/// What a timer does that is due in the user's quiet hours.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InQuietHoursJson {
    /// It fires: somebody means that time.
    #[default]
    Fire,
    /// It waits until they are over; what came due meanwhile is late then.
    Wait,
}

impl From<InQuietHoursJson> for InQuietHours {
    fn from(what: InQuietHoursJson) -> Self {
        match what {
            InQuietHoursJson::Fire => Self::Fire,
            InQuietHoursJson::Wait => Self::Wait,
        }
    }
}

impl From<InQuietHours> for InQuietHoursJson {
    fn from(what: InQuietHours) -> Self {
        match what {
            InQuietHours::Fire => Self::Fire,
            InQuietHours::Wait => Self::Wait,
        }
    }
}

/// A timer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimerJson {
    #[schema(value_type = String)]
    id: TimerId,
    #[schema(value_type = String)]
    agent: AgentId,
    /// The human whose conversation it is; `null` for work of the agent's own.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// Where the agent is told; `null` = in the one with the key `autonomous`.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    name: String,
    /// What the agent is told.
    stimulus: String,
    when: WhenJson,
    late: LateJson,
    /// `reminder`, `heartbeat` or `sleep`.
    kind: &'static str,
    in_quiet_hours: InQuietHoursJson,
    /// Whether it is left out when nothing is open.
    only_when_open: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most runs.
    most: Option<u64>,
    /// `active`, `paused` or `done`.
    state: &'static str,
    /// When it is due next; `null` unless it is active.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due: Option<Timestamp>,
    /// Runs that it has made.
    fired: u64,
    /// Occurrences that were left out.
    skipped: u64,
    /// Why the last one that did not begin at its moment did not, and until when it waits; `null` after one that did.
    held: Option<HeldJson>,
    #[schema(value_type = Option<String>)]
    last_run: Option<RunId>,
    /// `api`, `user` or `agent`.
    made_by: &'static str,
    /// `trusted`, or `untrusted` where whoever wrote in it had read one of `untrusted`.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
    /// Counts its changes, firings among them; the `ETag` of the answer.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Timer> for TimerJson {
    fn from(t: Timer) -> Self {
        Self {
            id: t.id,
            agent: t.agent,
            user: t.user,
            conversation: t.conversation,
            name: t.spec.name,
            stimulus: t.spec.stimulus,
            when: t.spec.when.into(),
            late: t.spec.late.into(),
            kind: t.spec.kind.as_str(),
            in_quiet_hours: t.spec.in_quiet_hours.into(),
            only_when_open: t.spec.only_when_open,
            until: t.spec.until,
            most: t.spec.most,
            state: t.state.as_str(),
            next_due: t.next_due,
            fired: t.fired,
            skipped: t.skipped,
            held: t.held.map(Into::into),
            last_run: t.last_run,
            made_by: t.made_by.as_str(),
            trust: trust_of(&t.untrusted),
            untrusted: t.untrusted.into_iter().map(Into::into).collect(),
            version: t.version,
            created_at: t.created_at,
            updated_at: t.updated_at,
        }
    }
}

pub(super) fn answer(status: StatusCode, timer: Timer) -> Response {
    (status, [(header::ETAG, format!("\"{}\"", timer.version))], axum::Json(TimerJson::from(timer))).into_response()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateTimer {
    /// Where the agent is told. With it, `agent` and `user` are its own and left out.
    #[serde(default)]
    conversation: Option<String>,
    /// Id or `@name`: without a conversation the agent is told in the one with the key `autonomous`, which is made when it is needed.
    #[serde(default)]
    agent: Option<String>,
    /// Id or `@handle`; the caller itself for user keys. Left out by a tenant key: work of the agent's own.
    #[serde(default)]
    user: Option<String>,
    /// 1 to 200 characters.
    name: String,
    /// What the agent is told when it is due. 1 to 8000 characters.
    stimulus: String,
    when: WhenJson,
    #[serde(default)]
    late: LateJson,
    #[serde(default)]
    in_quiet_hours: InQuietHoursJson,
    /// Nothing is due after this.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most runs.
    #[serde(default)]
    most: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeTimer {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    stimulus: Option<String>,
    #[serde(default)]
    when: Option<WhenJson>,
    #[serde(default)]
    late: Option<LateJson>,
    #[serde(default)]
    in_quiet_hours: Option<InQuietHoursJson>,
    /// `null` = no end.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Option<Timestamp>>,
    /// `null` = as many as there are.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    most: Option<Option<u64>>,
    /// Whether it waits. What would have been due meanwhile is left out.
    #[serde(default)]
    paused: Option<bool>,
}

fn check_words(name: Option<&str>, stimulus: Option<&str>) -> Result<(), ApiError> {
    if let Some(name) = name {
        check_name("name", name, 200)?;
    }
    if let Some(stimulus) = stimulus {
        check_text("stimulus", stimulus, usize::MAX)?;
        if stimulus.trim().is_empty() || stimulus.chars().count() > 8_000 {
            return Err(ApiError::bad_request("`stimulus` must have 1 to 8000 characters"));
        }
    }
    Ok(())
}

/// When it is due, with what was left out: the user's zone, or a first time.
async fn when_of(app: &App, caller: &Caller, user: Option<UserId>, when: WhenJson) -> Result<When, ApiError> {
    Ok(match when {
        WhenJson::At(AtJson { at }) => When::At { at },
        WhenJson::Every(EveryJson { every_ms, from }) => {
            let first = || {
                let ahead = jiff::SignedDuration::from_millis(i64::try_from(every_ms).unwrap_or(i64::MAX));
                app.now().checked_add(ahead).map_err(|_| ApiError::bad_request("`every_ms` is too long"))
            };
            When::Every { every_ms, from: from.map_or_else(first, Ok)? }
        }
        WhenJson::Cron(CronJson { expression, timezone: Some(timezone) }) => When::Cron { expression, timezone },
        WhenJson::Cron(CronJson { expression, timezone: None }) => {
            let zone = match user {
                Some(user) => app.store().user(&caller.scope()?, user).await?.timezone,
                None => None,
            };
            When::Cron { expression, timezone: zone.unwrap_or_else(|| "UTC".into()) }
        }
    })
}

/// Makes a timer: when it is due, the agent is told `stimulus` in a run of its own, once for each occurrence.
#[utoipa::path(post, path = "/timers", tag = "timers", params(("Idempotency-Key" = Option<String>, Header)), request_body = CreateTimer, responses((status = 201, description = "Made; its version is the `ETag`", body = TimerJson)))]
async fn create_timer(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Json<CreateTimer>) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let CreateTimer { conversation, agent, user, name, stimulus, when, late, in_quiet_hours, until, most } = body.value;
    check_words(Some(&name), Some(&stimulus))?;
    let names = Names::new(app.store(), &scope);
    let (conversation, agent, user) = match (conversation, agent) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("give `conversation` or `agent`, not both")),
        (None, None) => return Err(ApiError::bad_request("give a `conversation`, or an `agent`")),
        (Some(_), None) if user.is_some() => return Err(ApiError::bad_request("a conversation has its user: leave `user` out")),
        (Some(conversation), None) => {
            let known = app.store().conversation(&scope, parse_id(&conversation, "conversation")?).await?;
            (Some(known.id), known.agent, known.user)
        }
        (None, Some(agent)) => {
            let user = match &user {
                Some(user) => Some(names.user(user).await?),
                None => caller.user(),
            };
            (None, names.agent(&agent).await?, user)
        }
    };
    caller.about(user);
    let when = when_of(&app, &caller, user, when).await?;
    let made_by = match scope.principal() {
        Principal::Tenant { .. } => TimerMaker::Api,
        Principal::User { .. } => TimerMaker::User,
        Principal::Turn { .. } => TimerMaker::Agent,
    };
    let derived = idempotency::derived_id(&headers, &caller, "timer")?.map(TimerId::from_uuid);
    let spec = TimerSpec {
        name,
        stimulus,
        when,
        late: late.into(),
        kind: TimerKind::Reminder,
        in_quiet_hours: in_quiet_hours.into(),
        only_when_open: false,
        until,
        most,
    };
    if let Some(id) = derived {
        let is_same = |t: &Timer| (t.agent, t.user, t.conversation) == (agent, user, conversation) && t.spec.name == spec.name;
        if let Some(known) = idempotency::replayed(app.store().timer(&scope, id).await, is_same)? {
            return Ok(answer(StatusCode::CREATED, known));
        }
    }
    let new = NewTimer { id: derived.unwrap_or_else(TimerId::new), agent, user, conversation, spec, made_by, untrusted: caller.sources() };
    Ok(answer(StatusCode::CREATED, app.engine().create_timer(&scope, new).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TimerQuery {
    /// Only of this agent (id or `@name`).
    agent: Option<String>,
    /// Only of this user (id or `@handle`).
    user: Option<String>,
    /// Only in this conversation.
    conversation: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Timers, newest first.
#[utoipa::path(get, path = "/timers", tag = "timers", params(TimerQuery), responses((status = 200, description = "A page of timers", body = List<TimerJson>)))]
async fn list_timers(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TimerQuery>,
) -> Result<axum::Json<List<TimerJson>>, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let mut filter = PairFilter::default();
    if let Some(agent) = &query.agent {
        filter.agent = Some(names.agent(agent).await?);
    }
    if let Some(user) = &query.user {
        filter.user = Some(names.user(user).await?);
    }
    if let Some(conversation) = &query.conversation {
        filter.conversation = Some(parse_id(conversation, "conversation")?);
    }
    caller.about(filter.user);
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    Ok(axum::Json(List::of(app.store().timers(&scope, &filter, page).await?)))
}

/// One timer.
#[utoipa::path(get, path = "/timers/{id}", tag = "timers", params(("id" = String, Path)), responses((status = 200, description = "The timer; its version is the `ETag`", body = TimerJson)))]
async fn get_timer(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = parse_id(&id, "timer")?;
    Ok(answer(StatusCode::OK, app.store().timer(&caller.scope()?, id).await?))
}

/// Changes a timer; fields that are left out stay. What it has counted stays, too. A new `when` makes one that was done active again.
#[utoipa::path(patch, path = "/timers/{id}", tag = "timers", params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The version that was read")), request_body = ChangeTimer, responses((status = 200, description = "The timer as it is now", body = TimerJson)))]
async fn change_timer(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<ChangeTimer>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let id: TimerId = parse_id(&id, "timer")?;
    let expected = if_match(&headers)?;
    let ChangeTimer { name, stimulus, when, late, in_quiet_hours, until, most, paused } = body.value;
    check_words(name.as_deref(), stimulus.as_deref())?;
    let known = app.store().timer(&scope, id).await?;
    caller.about(known.user);
    let when = match when {
        Some(when) => when_of(&app, &caller, known.user, when).await?,
        None => known.spec.when.clone(),
    };
    let spec = TimerSpec {
        name: name.unwrap_or_else(|| known.spec.name.clone()),
        stimulus: stimulus.unwrap_or_else(|| known.spec.stimulus.clone()),
        when,
        late: late.map_or(known.spec.late, Into::into),
        kind: known.spec.kind,
        in_quiet_hours: in_quiet_hours.map_or(known.spec.in_quiet_hours, Into::into),
        only_when_open: known.spec.only_when_open,
        until: until.unwrap_or(known.spec.until),
        most: most.unwrap_or(known.spec.most),
    };
    // New words alone leave alone when it is due.
    let is_rescheduled = (&spec.when, spec.until, spec.most) != (&known.spec.when, known.spec.until, known.spec.most);
    let is_done = known.state == TimerState::Done && !is_rescheduled;
    let change =
        TimerChange { spec: Some(spec), is_rescheduled, is_paused: paused.filter(|_| !is_done), untrusted: caller.sources(), expected };
    Ok(answer(StatusCode::OK, precondition(app.engine().change_timer(&scope, id, change).await, expected)?))
}

/// Forgets a timer. Runs that it has made stay.
#[utoipa::path(delete, path = "/timers/{id}", tag = "timers", params(("id" = String, Path)), responses((status = 204, description = "Gone")))]
async fn delete_timer(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse_id(&id, "timer")?;
    let scope = caller.scope()?;
    // Afterwards nobody can tell any more whose it was.
    caller.about(app.store().timer(&scope, id).await?.user);
    app.store().drop_timer(&scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
