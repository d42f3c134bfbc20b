//! Agents that speak with each other: asked and answered over restarts, told and told back, bounded, and each user's apart.

use std::time::Duration;

use serde_json::json;
use sid_core::EngineConfig;
use sid_store::{Directory, EraseTarget, RecallStore, StoreError};
use sid_types::*;

use crate::together::{Act, House, config};

fn ask(agent: &str, question: &str) -> Act {
    Act::Call("ask_agent", json!({"agent": agent, "question": question}))
}

fn tell(agent: &str, message: &str) -> Act {
    Act::Call("send_message_to_agent", json!({"agent": agent, "message": message}))
}

/// Asks `billing` whatever it is told, and passes the answer on.
fn asking(told: &str, since: &[String]) -> Act {
    match since.first() {
        None => ask("billing", told.lines().last().unwrap_or_default()),
        Some(answer) => Act::Say(format!("Billing says: {answer}")),
    }
}

fn answering(_: &str, _: &[String]) -> Act {
    Act::Say("It is 42 EUR.".into())
}

#[tokio::test]
async fn an_agent_asks_another_one_and_goes_on_with_the_answer() {
    let house = House::open(&[("desk", asking, &["billing"]), ("billing", answering, &[])], config()).await;
    let said = house.say("desk", "what does it cost?").await;
    assert!(said.contains("Billing says: ") && said.contains("It is 42 EUR."), "{said}");
    let there = house.only_conversation("billing").await;
    assert_eq!((there.user, there.key.as_deref()), (Some(house.user), Some(format!("from:{}", house.talk("desk").await).as_str())));
    let messages = house.messages(there.id).await;
    let sender = messages[0].sender.as_deref().expect("told who wrote");
    assert_eq!((sender.name.as_str(), sender.depth, sender.asks, messages[0].speaker.as_deref()), ("desk", 1, true, Some("desk")));
    assert!(messages[0].body.text().starts_with("[Agent \"desk\" asks you"), "{}", messages[0].body.text());
    assert_eq!(house.runs(house.talk("desk").await).await.len(), 1, "the run that asked is the one that went on");
}

#[tokio::test]
async fn what_an_agent_says_is_text_from_outside_unless_it_is_trusted() {
    let house = House::open(&[("desk", asking, &["billing"]), ("billing", answering, &[])], config()).await;
    house.say("desk", "what does it cost?").await;
    let told = house.messages(house.only_conversation("billing").await.id).await;
    assert_eq!(told[0].untrusted, [Source::new(Channel::Agent, "desk")]);
    let result = house.result("desk").await;
    assert_eq!(result.untrusted, [Source::new(Channel::Agent, "billing")], "its own name is none of an agent's sources");
    assert!(result.body.text().starts_with("Text from outside"));

    let trusting = House::open(&[("desk", asking, &["billing"]), ("billing", answering, &[])], config()).await;
    trusting.trust("desk", "billing").await;
    trusting.trust("billing", "desk").await;
    trusting.say("desk", "what does it cost?").await;
    assert!(trusting.messages(trusting.only_conversation("billing").await.id).await[0].untrusted.is_empty());
    assert!(trusting.result("desk").await.untrusted.is_empty());
    // What its writer had read goes with it, whoever trusts whom.
    let page = Source::new(Channel::Web, "evil.example");
    trusting.say_of("desk", "and now?", vec![page.clone()]).await;
    let messages = trusting.messages(trusting.only_conversation("billing").await.id).await;
    let told = messages.iter().rfind(|m| m.sender.is_some()).expect("told");
    assert_eq!(told.untrusted, std::slice::from_ref(&page));
    assert_eq!(trusting.result("desk").await.untrusted, [page]);
}

#[tokio::test]
async fn a_message_back_arrives_where_the_first_one_was_written() {
    fn desk(told: &str, since: &[String]) -> Act {
        match (told.contains("Message from agent"), since.is_empty()) {
            (false, true) => tell("billing", "find the price"),
            (true, _) => Act::Say("I have news for you.".into()),
            _ => Act::Say("I have told billing.".into()),
        }
    }
    fn billing(_: &str, since: &[String]) -> Act {
        if since.is_empty() { tell("desk", "it is 42 EUR") } else { Act::Say("Told.".into()) }
    }
    let house = House::open(&[("desk", desk, &["billing"]), ("billing", billing, &["desk"])], config()).await;
    assert_eq!(house.say("desk", "what does it cost?").await, "I have told billing.");
    let talk = house.talk("desk").await;
    house.until("the news is told", async || house.messages(talk).await.iter().any(|m| m.body.text() == "I have news for you.")).await;
    let notes: Vec<String> = house.messages(talk).await.iter().filter(|m| m.sender.is_some()).map(|m| m.body.text().to_owned()).collect();
    assert_eq!(notes, ["[Message from agent \"billing\"] it is 42 EUR"]);
    assert_eq!(house.conversations("desk").await.len(), 1);
}

/// Asks the other one, whoever it is.
fn back_and_forth(name: &'static str) -> fn(&str, &[String]) -> Act {
    fn to_pong(_: &str, since: &[String]) -> Act {
        since.first().map_or_else(|| ask("pong", "and you?"), |answer| Act::Say(answer.clone()))
    }
    fn to_ping(_: &str, since: &[String]) -> Act {
        since.first().map_or_else(|| ask("ping", "and you?"), |answer| Act::Say(answer.clone()))
    }
    if name == "ping" { to_pong } else { to_ping }
}

#[tokio::test]
async fn agents_that_always_ask_each_other_come_to_an_end() {
    let agents = [("ping", back_and_forth("ping"), &["pong"] as &[&str]), ("pong", back_and_forth("pong"), &["ping"])];
    let house = House::open(&agents, config()).await;
    let said = house.say("ping", "go").await;
    assert!(said.contains("4 agents have woken each other in a row"), "{said}");
    let depths: Vec<u32> = house.senders().await.iter().map(|s| s.depth).collect();
    assert_eq!(depths, [1, 2, 3, 4]);
    let origins: Vec<RunId> = house.senders().await.iter().map(|s| s.origin).collect();
    assert!(origins.iter().all(|origin| *origin == house.runs_of_first("ping")), "one stimulus began it all");
}

#[tokio::test]
async fn agents_that_always_tell_each_other_come_to_an_end() {
    fn ping(_: &str, since: &[String]) -> Act {
        if since.is_empty() { tell("pong", "your turn") } else { Act::Say("Done.".into()) }
    }
    fn pong(_: &str, since: &[String]) -> Act {
        if since.is_empty() { tell("ping", "your turn") } else { Act::Say("Done.".into()) }
    }
    let house = House::open(&[("ping", ping, &["pong"]), ("pong", pong, &["ping"])], config()).await;
    house.say("ping", "go").await;
    house.until("nobody is woken any more", async || house.is_quiet().await && house.senders().await.len() == 4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.senders().await.len(), 4);
    assert!(house.is_quiet().await);
}

#[tokio::test]
async fn the_messages_of_one_stimulus_are_counted() {
    fn many(told: &str, since: &[String]) -> Act {
        // Three at once, then one after the other for ever.
        if told.contains("asks you") {
            return Act::Say("yes".into());
        }
        match since.len() {
            0 => Act::Calls((0..3).map(|n| ("ask_agent", json!({"agent": "billing", "question": format!("q{n}")}))).collect()),
            n if n < 20 => ask("billing", &format!("q{n}")),
            _ => Act::Say(since.join("|")),
        }
    }
    let budget = ChainBudget { messages: 9, tokens: 1_000_000 };
    let house =
        House::open(&[("desk", many, &["billing"]), ("billing", answering, &["desk"])], EngineConfig { chain_budget: budget, ..config() })
            .await;
    let said = house.say("desk", "go").await;
    let sent = house.senders().await;
    // 9: one and four for billing, one and one, one and none, one: what billing does not use does not come back.
    assert_eq!(sent.iter().map(|s| s.left.messages).collect::<Vec<_>>(), [4, 1, 0, 0], "{said}");
    assert_eq!(sent.iter().map(|s| s.left.tokens).collect::<Vec<_>>(), [250_000, 125_000, 0, 0], "who may send no more passes on nothing");
    assert!(said.contains("used up"), "{said}");
    let runs = house.runs(house.only_conversation("billing").await.id).await;
    let given: Vec<u64> = runs.iter().map(|run| run.limits.max_tokens).collect();
    assert_eq!(given.iter().max(), Some(&250_000), "half of the first part is its reader's own, half for whom that wakes");
    let all = given.iter().sum::<u64>() + sent.iter().map(|s| s.left.tokens).sum::<u64>();
    assert!(all <= budget.tokens, "{all}: more than there was");
}

#[tokio::test]
async fn who_wakes_nobody_may_use_all_that_it_is_given() {
    let house = House::open(&[("desk", asking, &["billing"]), ("billing", answering, &[])], config()).await;
    house.say("desk", "what does it cost?").await;
    let runs = house.runs(house.only_conversation("billing").await.id).await;
    assert_eq!(runs[0].limits.max_tokens, 500_000);
    assert_eq!(house.senders().await[0].left, ChainBudget { messages: 0, tokens: 0 });
}

#[tokio::test]
async fn one_place_for_runs_is_enough_to_ask_and_be_answered() {
    let agents = [("ping", back_and_forth("ping"), &["pong"] as &[&str]), ("pong", back_and_forth("pong"), &["ping"])];
    let house = House::open(&agents, EngineConfig { max_runs: 1, max_runs_per_tenant: 1, ..config() }).await;
    assert!(house.say("ping", "go").await.contains("woken each other"));
}

#[tokio::test]
async fn who_gets_no_answer_in_time_is_told_so() {
    fn never(_: &str, _: &[String]) -> Act {
        Act::Hang
    }
    let agents = [("desk", asking as fn(&str, &[String]) -> Act, &["billing"] as &[&str]), ("billing", never, &[])];
    let house = House::open(&agents, EngineConfig { ask_timeout: Duration::from_millis(300), ..config() }).await;
    let said = house.say("desk", "what does it cost?").await;
    assert!(said.contains("`billing` has not answered within 0 s"), "{said}");
    assert!(house.result("desk").await.body.text().contains("Go on without it"));
}

#[tokio::test]
async fn only_colleagues_are_reached_and_others_are_as_if_they_were_not() {
    let house = House::open(&[("desk", asking, &["notes"]), ("billing", answering, &[]), ("notes", answering, &[])], config()).await;
    let said = house.say("desk", "what does it cost?").await;
    assert!(said.contains("`agent`: \"billing\" is not one of \"notes\""), "{said}");
    assert!(house.conversations("billing").await.is_empty());
    // By tag as well as by name; and with nobody to reach there are no tools.
    house.meet("desk", vec![AgentMatch::Tag("money".into())]).await;
    let said = house.say("desk", "and now?").await;
    assert!(said.contains("There is no tool named `ask_agent`"), "{said}");
    house.tag("billing", "money").await;
    assert!(house.say("desk", "and now?").await.contains("It is 42 EUR."));
}

#[tokio::test]
async fn a_hundred_colleagues_are_reached_at_most() {
    fn desk(told: &str, since: &[String]) -> Act {
        let name = if told.contains("the last") { "agent100" } else { "agent099" };
        since.first().map_or_else(|| ask(name, "are you there?"), |answer| Act::Say(answer.clone()))
    }
    let house = House::open(&[("desk", desk, &[]), ("billing", answering, &[])], config()).await;
    for n in 0..101 {
        let spec = AgentSpec { tags: vec!["many".into()], ..AgentSpec::new(format!("agent{n:03}"), "billing") };
        house.store.create_agent(&house.tenant, AgentId::new(), spec, vec![]).await.expect("an agent");
    }
    house.meet("desk", vec![AgentMatch::Tag("many".into())]).await;
    assert!(house.say("desk", "the one before").await.contains("It is 42 EUR."));
    assert!(!house.say("desk", "the last").await.contains("It is 42 EUR."));
}

#[tokio::test]
async fn another_users_memory_stays_another_users() {
    let house = House::open(&[("desk", asking, &["billing"]), ("billing", answering, &[])], config()).await;
    house.say("desk", "what does it cost?").await;
    let there = house.only_conversation("billing").await.id;
    let bob = house.add_user("bob").await;
    assert!(matches!(house.store.conversation(&house.as_user(bob), there).await, Err(StoreError::NotFound { .. })));
    house.say_as(bob, "desk", "and for me?").await;
    let all = house.conversations("billing").await;
    assert_eq!(all.iter().filter_map(|c| c.user).collect::<std::collections::BTreeSet<_>>().len(), 2, "{all:?}");
    assert!(house.messages(there).await.iter().all(|m| !m.body.text().contains("and for me?")));
}

#[tokio::test]
async fn erasing_a_conversation_takes_what_others_did_for_it_along() {
    let agents = [("ping", back_and_forth("ping"), &["pong"] as &[&str]), ("pong", back_and_forth("pong"), &["ping"])];
    let house = House::open(&agents, config()).await;
    house.say("ping", "go").await;
    let before = house.all_conversations().await.len();
    assert_eq!(before, 5);
    let talk = house.talk("ping").await;
    house.engine.erase(&house.ann, EraseTarget::Conversation(talk)).await.expect("erased");
    assert!(house.all_conversations().await.is_empty());
    assert!(matches!(house.store.page(&house.tenant, talk, None, sid_store::Order::Ascending, 10).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn erasing_a_conversation_takes_the_work_of_those_who_were_asked_along() {
    /// Makes a task of what it is asked, and there asks `desk`.
    fn billing(told: &str, since: &[String]) -> Act {
        match (told.contains("Objective: find it"), since.len()) {
            (false, 0) if told.contains("asks you") => Act::Call("create_task", json!({"title": "the price", "objective": "find it"})),
            (true, 0) => ask("notes", "which price?"),
            (true, 1) => Act::Call("complete_task", json!({"result": "42 EUR"})),
            _ => Act::Say("Begun.".into()),
        }
    }
    let agents = [
        ("desk", asking as fn(&str, &[String]) -> Act, &["billing"] as &[&str]),
        ("billing", billing, &["notes"]),
        ("notes", answering, &[]),
    ];
    let house = House::open(&agents, config()).await;
    house.say("desk", "what does it cost?").await;
    house.until("the task is done", async || house.is_quiet().await && house.conversations("notes").await.len() == 1).await;
    assert_eq!(house.all_conversations().await.len(), 4);
    let talk = house.talk("desk").await;
    house.engine.erase(&house.ann, EraseTarget::Conversation(talk)).await.expect("erased");
    assert_eq!(house.all_conversations().await, []);
}

#[test]
fn an_answer_is_waited_for_over_a_crash() {
    fn slow(_: &str, _: &[String]) -> Act {
        Act::SayAfter(Duration::from_millis(1_500), "It is 42 EUR.".into())
    }
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (first, second) = (runtime(), runtime());
    let config = EngineConfig { lease_ttl: Duration::from_millis(400), ..config() };
    let mut house = first.block_on(House::open(&[("desk", asking, &["billing"]), ("billing", slow, &[])], config.clone()));
    let run = first.block_on(house.begin("desk", "what does it cost?"));
    first.block_on(house.until("billing is asked", async || !house.conversations("billing").await.is_empty()));
    // Everything of the first process ends in the middle of it.
    first.shutdown_background();
    second.block_on(async {
        house.start(config);
        let said = house.end_of(run).await;
        assert!(said.contains("It is 42 EUR."), "{said}");
        assert_eq!(house.senders().await.len(), 1, "it was asked once");
    });
}
