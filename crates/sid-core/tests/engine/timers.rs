//! Agents that set timers, and what they are told when these are due.

use std::time::Duration;

use serde_json::json;
use sid_core::{CoreError, NewTimer, TimerChange};
use sid_store::{Directory as _, StateStore as _, StoreError, TimerStore as _};
use sid_types::{Body, InQuietHours, Late, Run, Timer, TimerId, TimerKind, TimerMaker, TimerSpec, TimerState, Timestamp, When};

use crate::support::{House, Say, Scripted, at};

const TOOLS: [&str; 4] = ["cancel_timer", "list_timers", "set_timer", "sleep"];

/// A house whose agent names the tools of timers.
async fn house(script: Vec<Say>) -> House {
    let house = House::open(Scripted::new(8_192, script)).await;
    let mut spec = house.agent.spec.clone();
    spec.tools = Some(TOOLS.map(str::to_owned).to_vec());
    house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
    house
}

async fn runs(house: &House, count: usize) -> Vec<Run> {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let runs = house.store.runs(&house.scope, house.conversation.id, 100).await.expect("runs");
        if runs.len() >= count && runs.iter().all(|run| run.status.is_terminal()) {
            return runs;
        }
        assert!(tokio::time::Instant::now() < end, "{} of {count} runs", runs.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn new(house: &House, when: When) -> NewTimer {
    NewTimer {
        id: TimerId::new(),
        agent: house.agent.id,
        user: Some(house.user.id),
        conversation: Some(house.conversation.id),
        spec: TimerSpec {
            name: "plants".into(),
            stimulus: "Water the plants.".into(),
            when,
            late: Late::RunOnce,
            kind: TimerKind::Reminder,
            in_quiet_hours: InQuietHours::Fire,
            only_when_open: false,
            until: None,
            most: None,
        },
        made_by: TimerMaker::Api,
        untrusted: Vec::new(),
    }
}

fn refused(made: Result<Timer, CoreError>, words: &str) {
    match made {
        Err(CoreError::Invalid(why) | CoreError::Store(StoreError::Invalid(why))) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_agent_that_sleeps_is_woken_in_its_conversation() {
    let house = house(vec![Say::Call("sleep", json!({"minutes": 0})), Say::Text("I am up.")]).await;
    house.say("Sleep a little.").await;
    let runs = runs(&house, 2).await;
    assert_eq!(runs.len(), 2);
    let messages = house.messages().await;
    let note = messages.iter().find(|m| matches!(m.body, Body::Note { .. })).expect("a note");
    assert_eq!(note.run, Some(runs[0].id));
    assert!(note.body.text().contains("You wanted to be woken now") && note.body.text().contains("will not come again"), "{note:?}");
    assert_eq!(messages.last().map(|m| m.body.text()), Some("I am up."));
    let asked = serde_json::to_string(&house.model.last().messages).expect("JSON");
    assert!(asked.contains("You wanted to be woken now"), "the model is told: {asked}");
}

#[tokio::test]
async fn an_agent_sets_lists_and_cancels_its_timers() {
    let house = house(vec![
        Say::Call("set_timer", json!({"name": "plants", "message": "Water.", "cron": "30 7 * * *"})),
        Say::Call("set_timer", json!({"name": "call", "message": "Call.", "at": "2099-03-02T07:30"})),
        Say::Call("set_timer", json!({"name": "often", "message": "Now.", "every_minutes": 0})),
        Say::Call("set_timer", json!({"name": "when", "message": "Now."})),
        Say::Call("list_timers", json!({})),
        Say::Call("cancel_timer", json!({"timer": "Plants"})),
        Say::Call("cancel_timer", json!({"timer": "plants"})),
        Say::Call("list_timers", json!({})),
    ])
    .await;
    house.say("Set some timers.").await;
    let told = house.results().await;
    assert!(told[0].starts_with("set_timer: Set: \"plants\"") && told[0].contains("07:30 (UTC)"), "{told:?}");
    assert!(told[1].contains("once, next Mon 2099-03-02 07:30 (UTC)"), "{told:?}");
    assert!(told[2].contains("Not done") && told[3].contains("say when"), "{told:?}");
    assert_eq!(told[4].matches("(tmr_").count(), 2, "{told:?}");
    assert!(told[5].contains("Ended: plants") && told[6].contains("no such timer"), "{told:?}");
    assert!(!told[7].contains("plants") && told[7].contains("call"), "{told:?}");
}

#[tokio::test]
async fn an_agent_that_names_no_tools_has_none_for_timers() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    house.say("Hello").await;
    let offered: Vec<String> = house.model.last().tools.iter().map(|t| t.name.clone()).collect();
    assert!(offered.contains(&"diary_read".to_owned()) && TOOLS.iter().all(|tool| !offered.contains(&(*tool).to_owned())), "{offered:?}");
}

#[tokio::test]
async fn a_timer_without_a_conversation_speaks_in_one_of_its_own() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    let now = Timestamp::now();
    for user in [None, Some(house.user.id)] {
        let timer = NewTimer { user, conversation: None, ..new(&house, When::At { at: now }) };
        let timer = house.engine.create_timer(&house.tenant, timer).await.expect("made");
        let end = tokio::time::Instant::now() + Duration::from_secs(120);
        let run = loop {
            if let Some(run) = house.store.timer(&house.tenant, timer.id).await.expect("there").last_run {
                break house.store.run(&house.tenant, run).await.expect("there");
            }
            assert!(tokio::time::Instant::now() < end, "it was not fired");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let talk = house.store.conversation(&house.tenant, run.conversation).await.expect("there");
        assert_eq!((talk.user, talk.key.as_deref()), (user, Some(sid_core::AUTONOMOUS_KEY)));
        assert_eq!(run.id, Timer::run_for(timer.id, timer.next_due.expect("it was due")));
    }
}

#[tokio::test]
async fn what_would_never_be_due_or_too_often_is_refused() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    let make = async |when| house.engine.create_timer(&house.scope, new(&house, when)).await;
    refused(make(When::At { at: at("2020-01-01T00:00:00Z") }).await, "never be due");
    refused(make(When::Every { every_ms: 1_000, from: Timestamp::now() }).await, "shortest");
    refused(make(When::Cron { expression: "0 0 30 2 *".into(), timezone: "UTC".into() }).await, "never be due");
    refused(make(When::Cron { expression: "x".into(), timezone: "UTC".into() }).await, "five fields");
    let every = When::Every { every_ms: 3_600_000, from: at("2020-01-01T00:00:00Z") };
    for _ in 0..100 {
        make(every.clone()).await.expect("made");
    }
    refused(make(every).await, "at most 100");
}

#[tokio::test]
async fn a_timer_that_waited_goes_on_with_what_comes() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    let every = When::Every { every_ms: 3_600_000, from: at("2020-01-01T00:00:00Z") };
    let made = house.engine.create_timer(&house.scope, new(&house, every)).await.expect("made");
    let change = async |change| house.engine.change_timer(&house.scope, made.id, change).await.expect("changed");
    let paused = change(TimerChange { is_paused: Some(true), ..TimerChange::default() }).await;
    assert_eq!((paused.state, paused.next_due), (TimerState::Paused, None));
    let resumed = change(TimerChange { is_paused: Some(false), expected: Some(paused.version), ..TimerChange::default() }).await;
    assert_eq!((resumed.state, resumed.next_due), (TimerState::Active, made.next_due));
    let other = TimerSpec { when: When::At { at: at("2099-01-01T00:00:00Z") }, ..made.spec.clone() };
    let moved = change(TimerChange { spec: Some(other), is_rescheduled: true, ..TimerChange::default() }).await;
    assert_eq!(moved.next_due, Some(at("2099-01-01T00:00:00Z")));
    let renamed = TimerSpec { name: "other".into(), ..moved.spec.clone() };
    let renamed = change(TimerChange { spec: Some(renamed), ..TimerChange::default() }).await;
    assert_eq!((renamed.next_due, renamed.spec.name.as_str(), renamed.version), (moved.next_due, "other", 5));
    let late = TimerChange { is_paused: Some(true), expected: Some(1), ..TimerChange::default() };
    let late = house.engine.change_timer(&house.scope, made.id, late).await;
    assert!(matches!(late, Err(CoreError::Store(StoreError::Conflict { expected: 1, found: 5 }))), "{late:?}");
}
