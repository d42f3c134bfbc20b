//! The prompt, as text, for fixed states: reviewed in the diff whenever it changes.

use jiff::tz::TimeZone;
use sid_core::{PrefixParts, Tail, assemble, clock_line, render_prefix};
use sid_memory::{Budget, FifoQueue, Item, count_bytes, valid_view};
use sid_types::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn agent() -> Agent {
    let mut spec = AgentSpec::new("helper", "m");
    spec.instructions = "You help with the household. Be brief.".into();
    Agent { id: AgentId::new(), spec, teams: vec![], created_at: Timestamp::UNIX_EPOCH, updated_at: Timestamp::UNIX_EPOCH }
}

fn user() -> User {
    User {
        id: UserId::new(),
        handle: "ann".into(),
        display_name: "Ann".into(),
        timezone: None,
        quiet_hours: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn block(label: &str, value: &str) -> Block {
    Block {
        id: BlockId::new(),
        owner: Owner::Tenant,
        label: label.into(),
        description: format!("What is known of the {label}."),
        value: value.into(),
        limit_chars: 2_000,
        access: BlockAccess::Write,
        version: 1,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

fn prefix(window: u32, blocks: &[Block], diary: &str, summary: &str) -> String {
    let (agent, user) = (agent(), user());
    let team = |name: &str, parent| Team { id: TeamId::new(), name: name.into(), parent, created_at: Timestamp::UNIX_EPOCH };
    let crew = team("crew", None);
    let kitchen = team("kitchen", Some(crew.id));
    let is = |team, is_direct| Membership { team, user: user.clone(), role: TeamRole::Lead, is_direct };
    let summary = RecursiveSummary { text: summary.into(), through: Seq(40), is_floor: false, untrusted: Vec::new() };
    let parts = PrefixParts {
        agent: &agent,
        user: Some(&user),
        teams: &[is(crew, false), is(kitchen, true)],
        blocks,
        diary,
        summary: &summary,
        has_tools: true,
    };
    render_prefix(&parts, &Budget::for_window(Tokens(window)), &count_bytes)
}

#[test]
fn a_whole_prompt() {
    let blocks = [block("human", "Loves pickles.\nAllergic to peanuts."), block("persona", "")];
    let prefix = prefix(8_000, &blocks, "2025-05-19 Mon: Ann moved the desk to floor 9.", "Ann is setting up a new flat.");
    let mut queue = FifoQueue::default();
    let call = ToolCall {
        id: "call_1".into(),
        name: "conversation_search".into(),
        arguments: serde_json::json!({"query": "bread"}).as_object().cloned().expect("an object"),
        for_client: false,
    };
    for item in [
        Item::user(41, at("2025-05-19T18:00:00Z"), "Which bread did I like?"),
        Item::calls(42, at("2025-05-19T18:00:01Z"), vec![call]),
        Item::tool_result(43, at("2025-05-19T18:00:01Z"), "call_1", "conversation_search", "[2025-03-02 Sun] user: I like rye bread."),
        Item::assistant(44, at("2025-05-19T18:00:02Z"), "Rye bread."),
        Item::user(45, at("2025-05-20T09:00:00Z"), "Order me a sandwich.").stimulus(),
    ] {
        queue.push(item, &count_bytes);
    }
    let tail = Tail {
        clock: clock_line(at("2025-05-20T09:00:00Z"), Some("Europe/Berlin"), Some(at("2025-05-11T09:00:00Z"))),
        recalled: vec!["[2025-03-03 Mon] user: I love pickles on everything.".into()],
        changed_blocks: vec![("human".into(), "Loves pickles.".into())],
        tasks: Vec::new(),
        warning: Some("Memory pressure: save what matters.".into()),
    };
    let view = valid_view(&queue, &Budget::for_window(Tokens(8_000)), &count_bytes);
    for (name, system_anywhere) in [("folded_tail", false), ("system_tail", true)] {
        let messages = assemble(&prefix, &view, &tail.render(), system_anywhere);
        let text: Vec<String> = messages
            .iter()
            .map(|m| match m {
                sid_llm::ChatMessage::System { text } => format!("--- system\n{text}"),
                sid_llm::ChatMessage::User { text } => format!("--- user\n{text}"),
                sid_llm::ChatMessage::Assistant { text, tool_calls } => {
                    format!("--- assistant\n{text}{}", serde_json::to_string(tool_calls).expect("serialises"))
                }
                sid_llm::ChatMessage::Tool { call_id, text, .. } => format!("--- tool {call_id}\n{text}"),
            })
            .collect();
        insta::assert_snapshot!(name, text.join("\n"));
    }
}

#[test]
fn caps_hold_in_small_windows() {
    let blocks = [block("human", &"Ann has many things to tell about herself. ".repeat(60)), block("persona", "Short.")];
    let long = "Something happened on a day, and it was told at length. ".repeat(100);
    for window in [512, 800, 2_000] {
        let text = prefix(window, &blocks, "", &long);
        let budget = Budget::for_window(Tokens(window));
        let most = budget.instructions + budget.blocks + budget.summary + budget.margin;
        assert!(count_bytes(&text) <= most, "{} of {most} at {window}", count_bytes(&text));
        // At the floor a long block has room for its label only; from 800 tokens on for its beginning.
        let shows_values = text.contains("(cut: too long for this window)") && text.contains("Short.");
        assert!(shows_values || window < 800, "{window}: {text}");
    }
    insta::assert_snapshot!("small_window_prefix", prefix(800, &blocks, "", &long));
}

#[test]
fn the_zone_of_the_queue_decides_its_markers() {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let mut queue = FifoQueue::in_zone(zone);
    queue.push(Item::user(1, at("2025-05-20T23:30:00Z"), "late").stimulus(), &count_bytes);
    let view = valid_view(&queue, &Budget::for_window(Tokens(8_000)), &count_bytes);
    let messages = assemble("p", &view, "", false);
    assert!(format!("{:?}", messages[1]).contains("[2025-05-21 Wed 01:30] late"));
}
