//! Work that is handed on, from the first word to the last: with a part of the budget, a question that comes back, and a result.

use serde_json::json;
use sid_core::NewTask;
use sid_store::{TaskFilter, TaskStore};
use sid_types::*;

use crate::together::{Act, House, config};

/// Hands its task on, answers the question that comes back, and ends with the result.
fn desk(told: &str, since: &[String]) -> Act {
    let rest = || Act::Call("wait_until", json!({}));
    if !told.contains("Objective: the whole") {
        return Act::Say("Heard.".into());
    }
    if told.contains("is done] The venue is the Red Room") {
        return match since.len() {
            0 => Act::Call("complete_task", json!({"result": "Booked: the Red Room."})),
            _ => Act::Say("Done.".into()),
        };
    }
    match (told.split_once("answer_task (task: \""), since.len()) {
        (Some((_, asked)), 0) => {
            let task = asked.split('"').next().unwrap_or_default();
            Act::Call("answer_task", json!({"task": task, "answer": "the red one"}))
        }
        (None, 0) if told.contains("turn 1]") => {
            Act::Call("delegate_task", json!({"agent": "scout", "title": "find a venue", "objective": "the part", "max_steps": 10}))
        }
        (None, 0) | (_, 1) => rest(),
        _ => Act::Say("I wait.".into()),
    }
}

/// Asks first, and ends with the answer.
fn scout(told: &str, since: &[String]) -> Act {
    match (told.split_once("The answer: "), since.len()) {
        (Some((_, answer)), 0) => {
            let colour = if answer.contains("the red one") { "Red" } else { "Blue" };
            Act::Call("complete_task", json!({"result": format!("The venue is the {colour} Room.")}))
        }
        (None, 0) => Act::Call("ask_user", json!({"question": "Red or blue?"})),
        _ => Act::Say("I end my turn.".into()),
    }
}

#[tokio::test]
async fn a_part_of_a_task_is_handed_on_asks_back_ends_and_is_paid_for_by_the_whole() {
    let house = House::open(&[("desk", desk, &[]), ("scout", scout, &[])], config()).await;
    house.reach("desk", "scout").await;
    let talk = house.talk("desk").await;
    let mut new = NewTask::new(house.agents["desk"], Some(house.user), "a party");
    (new.objective, new.report_to) = ("the whole".into(), Some(talk));
    new.budget = TaskBudget { max_steps: 40, max_tokens: 4_000_000, max_cost_micros: Some(4_000), max_time_ms: 400_000 };
    let made = house.engine.create_task(&house.ann, new).await.expect("made");
    let task = async |id| house.store.task(&house.tenant, id).await.expect("there");
    house.until("the whole is done", async || task(made.id).await.state == TaskState::Done).await;
    let whole = task(made.id).await;
    assert_eq!(whole.result.as_ref().map(|r| r.text.as_str()), Some("Booked: the Red Room."));
    let below = TaskFilter { parent: Some(made.id), ..TaskFilter::default() };
    let mut parts = house.store.tasks(&house.tenant, &below, Default::default()).await.expect("listed").items;
    assert_eq!(parts.len(), 1, "{parts:#?}");
    let part = parts.remove(0);
    assert_eq!((part.agent, part.user, part.state), (house.agents["scout"], Some(house.user), TaskState::Done));
    // A quarter of everything was given away, and counts against the whole: what was used of both is within what there was.
    assert_eq!((part.budget.max_steps, whole.budget.max_steps), (10, 30));
    assert!(part.budget.max_tokens <= 1_000_000 && part.budget.max_tokens + whole.budget.max_tokens == 4_000_000, "{part:#?}");
    assert_eq!(part.budget.max_cost_micros.zip(whole.budget.max_cost_micros).map(|(a, b)| a + b), Some(4_000));
    assert_eq!(part.budget.max_time_ms + whole.budget.max_time_ms, 400_000);
    assert!(part.used.steps > 0 && part.used.steps <= 10 && whole.used.steps <= 30);
    // The question and the result went to who had handed it on; the user was told of the whole alone.
    house.until("all is told", async || task(made.id).await.work.outbox.is_empty()).await;
    let notes: Vec<String> =
        house.messages(talk).await.iter().filter(|m| m.body.role() == Role::Note).map(|m| m.body.text().to_owned()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("is done] Booked: the Red Room."), "{notes:?}");
}

/// Hands its task on and only talks until the result has come.
fn talker(told: &str, since: &[String]) -> Act {
    match since.len() {
        _ if !told.contains("Objective: the whole") => Act::Say("Heard.".into()),
        0 if told.contains("is done] The venue is the Red Room") => Act::Call("complete_task", json!({"result": "Booked: the Red Room."})),
        0 if told.contains("turn 1]") => {
            Act::Call("delegate_task", json!({"agent": "scout", "title": "find a venue", "objective": "the part"}))
        }
        _ => Act::Say("I am told when it is done.".into()),
    }
}

/// Takes its time.
fn slow_scout(told: &str, since: &[String]) -> Act {
    match since.len() {
        0 if told.contains("turn 1]") => {
            let soon = Timestamp::now() + jiff::SignedDuration::from_secs(2);
            Act::Call("wait_until", json!({"at": soon.to_string()}))
        }
        0 => Act::Call("complete_task", json!({"result": "The venue is the Red Room."})),
        _ => Act::Say("I end my turn.".into()),
    }
}

#[tokio::test]
async fn who_only_waits_for_a_part_is_woken_by_its_result_and_not_before() {
    let house = House::open(&[("desk", talker, &[]), ("scout", slow_scout, &[])], config()).await;
    house.reach("desk", "scout").await;
    let new = NewTask { objective: "the whole".into(), ..NewTask::new(house.agents["desk"], Some(house.user), "a party") };
    let made = house.engine.create_task(&house.ann, new).await.expect("made");
    let task = async || house.store.task(&house.tenant, made.id).await.expect("there");
    house.until("the whole is over", async || task().await.state.is_over()).await;
    let whole = task().await;
    assert_eq!((whole.state, whole.failure.as_deref()), (TaskState::Done, None));
    assert_eq!(whole.used.runs, 3, "it hands on, has nothing to do, and ends with the result");
}
