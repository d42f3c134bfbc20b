//! `set_timer`, `list_timers`, `cancel_timer` and `sleep`: for agents that name them among their tools.

use async_trait::async_trait;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sid_store::{PageRequest, PairFilter, StoreError};
use sid_tools::{EffectClass, Registry, RegistryError, Tool, ToolContext, ToolOutcome};
use sid_types::{InQuietHours, Late, Principal, Source, Timer, TimerId, TimerKind, TimerMaker, TimerSpec, TimerState, ToolSpec, When};

use super::{Keeper, NewTimer};
use crate::CoreError;

/// Most timers that a list shows.
const MOST_SHOWN: usize = 100;

/// Registers the four tools.
pub(crate) fn register(registry: &mut Registry, keeper: &Keeper) -> Result<(), RegistryError> {
    for kind in [Kind::Set, Kind::List, Kind::Cancel, Kind::Sleep] {
        let tool = TimerTool { kind, keeper: keeper.clone() };

        registry.register(std::sync::Arc::new(tool))?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Set,
    List,
    Cancel,
    Sleep,
}

struct TimerTool {
    kind: Kind,
    keeper: Keeper,
}

fn schema(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[async_trait]
impl Tool for TimerTool {
    fn spec(&self) -> ToolSpec {
        let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
        let (name, description, parameters) = match self.kind {
            Kind::Set => (
                "set_timer",
                "Be woken later with `message`: once `at` a time (2026-03-02T07:30, the user's clock), every `every_minutes`, or by `cron` \
                 (minute hour day month weekday).",
                schema(
                    json!({"name": text, "message": text, "at": text, "every_minutes": number, "cron": text, "times": number}),
                    &["name", "message"],
                ),
            ),
            Kind::List => ("list_timers", "Your timers here.", schema(json!({}), &[])),
            Kind::Cancel => ("cancel_timer", "End a timer, by its name or id.", schema(json!({"timer": text}), &["timer"])),
            Kind::Sleep => (
                "sleep",
                "Be woken in this conversation later and go on: `until` a time, or for `minutes`; earlier if the user writes. Your turn ends with it.",
                schema(json!({"until": text, "minutes": number}), &[]),
            ),
        };
        ToolSpec { name: name.into(), description: description.into(), parameters }
    }

    fn effect(&self) -> EffectClass {
        match self.kind {
            Kind::List => EffectClass::Read,
            // The call's token is the timer's id: the same call again makes no second one.
            Kind::Set | Kind::Cancel | Kind::Sleep => EffectClass::Memory,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let done = match self.kind {
            Kind::Set => self.set(context, &arguments).await,
            Kind::List => return self.list(context).await.unwrap_or_else(|error| failed(&error)),
            Kind::Cancel => self.cancel(context, text(&arguments, "timer")).await,
            Kind::Sleep => self.sleep(context, &arguments).await,
        };
        match done {
            Ok(said) => ToolOutcome { ends_run: matches!(self.kind, Kind::Sleep), ..ToolOutcome::text(said) },
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &CoreError) -> ToolOutcome {
    match error {
        CoreError::Invalid(why) | CoreError::Store(StoreError::Invalid(why)) => ToolOutcome::error(format!("Not done: {why}.")),
        CoreError::Store(StoreError::NotFound { what }) => ToolOutcome::error(format!("There is no such {what}.")),
        error => {
            tracing::warn!(%error, "a timer's tool failed");
            ToolOutcome::error("The timers cannot be reached now. Try again later.")
        }
    }
}

impl TimerTool {
    async fn set(&self, context: &ToolContext, arguments: &Map<String, Value>) -> Result<String, CoreError> {
        let (at, cron) = (text(arguments, "at"), text(arguments, "cron"));
        let every = arguments.get("every_minutes").and_then(Value::as_u64);
        let when = match (at, every, cron) {
            ("", None, "") => return Err(CoreError::Invalid("say when: `at`, `every_minutes` or `cron`".into())),
            ("", None, cron) => When::Cron { expression: cron.into(), timezone: context.timezone.clone() },
            (at, None, "") => When::At { at: moment(at, context)? },
            (at, Some(minutes), "") => {
                let first = if at.is_empty() { later(context, minutes)? } else { moment(at, context)? };
                When::Every { every_ms: minutes.saturating_mul(60_000), from: first }
            }
            _ => return Err(CoreError::Invalid("`cron` says when all by itself: leave out `at` and `every_minutes`".into())),
        };
        let most = arguments.get("times").and_then(Value::as_u64);
        self.make(context, TimerKind::Reminder, text(arguments, "name"), text(arguments, "message"), when, most).await
    }

    async fn sleep(&self, context: &ToolContext, arguments: &Map<String, Value>) -> Result<String, CoreError> {
        let at = match (text(arguments, "until"), arguments.get("minutes").and_then(Value::as_u64)) {
            ("", Some(minutes)) => later(context, minutes)?,
            (until, None) if !until.is_empty() => moment(until, context)?,
            _ => return Err(CoreError::Invalid("say how long: `until` a time, or `minutes`".into())),
        };
        self.make(context, TimerKind::Sleep, "sleep", "You wanted to be woken now, and to go on.", When::At { at }, Some(1)).await
    }

    async fn make(
        &self,
        context: &ToolContext,
        kind: TimerKind,
        name: &str,
        message: &str,
        when: When,
        most: Option<u64>,
    ) -> Result<String, CoreError> {
        let Principal::Turn { agent, user } = context.scope.principal() else {
            return Err(CoreError::Invalid("this is no agent's turn".into()));
        };
        // What a person has asked for just now is meant for that time; what an agent sets by itself can wait.
        let is_asked_for = !self.keeper.store.run(&context.scope, context.run).await?.priority.is_self_begun();
        let fires = is_asked_for && kind == TimerKind::Reminder;
        let new = NewTimer {
            id: TimerId::from_uuid(context.token),
            agent,
            user,
            conversation: Some(context.conversation),
            spec: TimerSpec {
                name: name.into(),
                stimulus: message.into(),
                when,
                late: Late::RunOnce,
                kind,
                in_quiet_hours: if fires { InQuietHours::Fire } else { InQuietHours::Wait },
                only_when_open: false,
                until: None,
                most,
            },
            made_by: TimerMaker::Agent,
            untrusted: context.untrusted.clone(),
        };
        let timer = self.keeper.create(&context.scope, new).await?;
        Ok(format!("Set: {}.", line(&timer, context)))
    }

    /// Timers of this conversation that are not done.
    async fn own(&self, context: &ToolContext) -> Result<Vec<Timer>, CoreError> {
        let filter = PairFilter { conversation: Some(context.conversation), ..PairFilter::default() };
        let (mut own, mut after) = (Vec::new(), None);
        loop {
            let page = self.keeper.store.timers(&context.scope, &filter, PageRequest { after, limit: 1_000 }).await?;
            own.extend(page.items.into_iter().filter(|t| t.state != TimerState::Done));
            after = page.next;
            if after.is_none() || own.len() >= MOST_SHOWN {
                own.truncate(MOST_SHOWN);
                return Ok(own);
            }
        }
    }

    async fn list(&self, context: &ToolContext) -> Result<ToolOutcome, CoreError> {
        let own = self.own(context).await?;
        let lines: Vec<String> = own.iter().map(|timer| line(timer, context)).collect();
        let mut sources = Vec::new();
        own.iter().for_each(|timer| Source::add(&mut sources, &timer.untrusted));
        let text = if lines.is_empty() { "There are no timers here.".into() } else { lines.join("\n") };
        Ok(ToolOutcome { sources, ..ToolOutcome::text(text) })
    }

    async fn cancel(&self, context: &ToolContext, which: &str) -> Result<String, CoreError> {
        let own = self.own(context).await?;
        let mut found = own.iter().filter(|t| t.id.to_string() == which || t.spec.name.eq_ignore_ascii_case(which));
        let Some(timer) = found.next() else {
            return Err(CoreError::Invalid("there is no such timer here; list_timers shows them".into()));
        };
        if found.next().is_some() {
            return Err(CoreError::Invalid("more than one timer has this name: give its id".into()));
        }
        self.keeper.store.drop_timer(&context.scope, timer.id).await?;
        Ok(format!("Ended: {}.", timer.spec.name))
    }
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default().trim()
}

fn later(context: &ToolContext, minutes: u64) -> Result<Timestamp, CoreError> {
    let ahead = SignedDuration::try_from_mins(i64::try_from(minutes).unwrap_or(i64::MAX));
    let at = ahead.and_then(|ahead| context.now.checked_add(ahead).ok());
    at.ok_or_else(|| CoreError::Invalid(format!("{minutes} minutes are too many")))
}

/// A moment as a model writes it: with an offset, or as the user's clock shows it.
fn moment(written: &str, context: &ToolContext) -> Result<Timestamp, CoreError> {
    if let Ok(at) = written.parse::<Timestamp>() {
        return Ok(at);
    }
    let zone = TimeZone::get(&context.timezone).unwrap_or(TimeZone::UTC);
    let shown: Option<DateTime> = written.parse().ok();
    let at = shown.and_then(|shown| zone.to_timestamp(shown).ok());
    at.ok_or_else(|| CoreError::Invalid(format!("`{written}` is not a time: write it as in 2026-03-02T07:30")))
}

fn line(timer: &Timer, context: &ToolContext) -> String {
    let when = match &timer.spec.when {
        When::At { .. } => "once".into(),
        When::Every { every_ms, .. } => format!("every {} minutes", every_ms / 60_000),
        When::Cron { expression, .. } => format!("by `{expression}`"),
    };
    let zone = TimeZone::get(&context.timezone).unwrap_or(TimeZone::UTC);
    let next = timer.next_due.map_or_else(
        || timer.state.as_str().to_owned(),
        |due| format!("next {} ({})", due.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M"), context.timezone),
    );
    format!("\"{}\" ({}), {when}, {next}", timer.spec.name, timer.id)
}
