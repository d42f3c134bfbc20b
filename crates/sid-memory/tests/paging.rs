//! Properties of paging: any history and any window above the floor gives a valid prompt within its room; what leaves the queue is a
//! prefix and pairs stay whole; the floor summary always fits. For each there is a planted bug that its checker catches.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;
use sid_memory::{
    Budget, Count, EvictionPlan, FifoQueue, HeadSize, Item, MESSAGE_OVERHEAD, OUTCOME_UNKNOWN, Pressure, View, count_bytes, floor_summary,
    plan_eviction, plan_half, pressure, valid_view,
};
use sid_types::{Body, Seq, Timestamp, Tokens, ToolCall};

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_741_597_200 + minutes * 60).expect("a time in range")
}

fn call(id: &str, argument: &str) -> ToolCall {
    let arguments = json!({"query": argument}).as_object().cloned().unwrap_or_default();
    ToolCall { id: id.into(), name: "conversation_search".into(), arguments, for_client: false }
}

fn count_chars(text: &str) -> Tokens {
    Tokens(text.chars().count() as u32)
}

/// A counter that does not add up: each text costs two more, words cost by length.
fn count_oddly(text: &str) -> Tokens {
    Tokens(2 + text.split(' ').map(|w| 1 + w.len() as u32 / 5).sum::<u32>())
}

const COUNTERS: [fn(&str) -> Tokens; 3] = [count_bytes, count_chars, count_oddly];

/// One step of a history, as odd as they come.
#[derive(Debug, Clone)]
enum Said {
    User(String),
    Assistant(String),
    Calls(String, Vec<(String, String)>),
    Result(String, String),
    Note(String),
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,8}( [a-zé漢]{1,8}){0,12}",
        1 => Just(String::new()),
        1 => Just(" \n ".to_owned()),
        1 => (1_usize..1_500).prop_map(|n| "word ".repeat(n)),
        1 => (1_usize..5_000).prop_map(|n| "x".repeat(n)),
    ]
}

fn call_id() -> impl Strategy<Value = String> {
    // A small pool, so that ids repeat within a message, between messages, and do not match at all.
    prop_oneof![Just("a".to_owned()), Just("b".into()), Just("c".into()), Just(String::new()), Just("i".repeat(90))]
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => words().prop_map(Said::User),
        3 => words().prop_map(Said::Assistant),
        2 => (words(), proptest::collection::vec((call_id(), words()), 1..4)).prop_map(|(t, c)| Said::Calls(t, c)),
        1 => (words(), proptest::collection::vec((call_id(), words()), 20..60)).prop_map(|(t, c)| Said::Calls(t, c)),
        4 => (call_id(), words()).prop_map(|(id, t)| Said::Result(id, t)),
        1 => words().prop_map(Said::Note),
    ]
}

fn history() -> impl Strategy<Value = Vec<Item>> {
    (proptest::collection::vec((said(), 0_i64..200, 1_u64..3), 1..60), any::<prop::sample::Index>(), 0_usize..4).prop_map(
        |(steps, stimulus, stimuli)| {
            let mut seq = 0;
            let mut minutes = 0;
            let mut items: Vec<Item> = steps
                .into_iter()
                .map(|(said, pause, gap)| {
                    seq += gap;
                    minutes += pause;
                    let at = at(minutes);
                    match said {
                        Said::User(text) => Item::user(seq, at, text),
                        Said::Assistant(text) => Item::assistant(seq, at, text),
                        Said::Calls(text, calls) => {
                            let tool_calls = calls.iter().map(|(id, words)| call(id, words)).collect();
                            Item::new(Seq(seq), at, Body::Assistant { text, reasoning: Some("hm".into()), tool_calls })
                        }
                        Said::Result(id, text) => Item::tool_result(seq, at, id, "conversation_search", text),
                        Said::Note(text) => Item::note(seq, at, text),
                    }
                })
                .collect();
            let from = stimulus.index(items.len());
            let mut left = stimuli;
            for item in &mut items[from..] {
                if left > 0 && matches!(item.body, Body::User { .. } | Body::Note { .. }) {
                    item.is_stimulus = true;
                    left -= 1;
                }
            }
            items
        },
    )
}

fn queue_of(items: &[Item], count: &Count<'_>) -> FifoQueue {
    let mut queue = FifoQueue::default();
    for item in items {
        assert!(queue.push(item.clone(), count));
    }
    queue
}

/// The size of a view, counted anew and by other code than the crate's.
fn measure(view: &View, count: &Count<'_>) -> Tokens {
    let of = |body: &Body| match body {
        Body::Tool { call_id, name, text, .. } => count(call_id) + count(name) + count(text),
        other => {
            let calls = other.tool_calls().iter();
            let calls =
                calls.map(|c| Tokens(12) + count(&c.id) + count(&c.name) + count(&serde_json::to_string(&c.arguments).expect("json")));
            count(other.text()) + calls.sum()
        }
    };
    view.messages.iter().map(|m| MESSAGE_OVERHEAD + of(&m.body)).sum()
}

/// What is wrong with a view.
fn view_problems(items: &[Item], view: &View, room: Tokens, count: &Count<'_>) -> Vec<String> {
    let mut out: Vec<String> = view.check().err().into_iter().collect();
    let size = measure(view, count);
    if size > room {
        out.push(format!("{size} tokens in a room of {room}"));
    }
    if view.tokens < size {
        out.push(format!("says {} tokens but has {size}", view.tokens));
    }
    let shown: Vec<Seq> = view.messages.iter().filter_map(|m| m.seq).collect();
    // The last stimulus is what the model has to answer.
    if let Some(stimulus) =
        items.iter().rfind(|i| i.is_stimulus && (matches!(i.body, Body::User { .. }) || !i.body.text().trim().is_empty()))
        && !shown.contains(&stimulus.seq)
    {
        out.push(format!("the stimulus {} is not shown", stimulus.seq));
    }
    for seq in items.iter().map(|i| i.seq) {
        let places = usize::from(view.dropped.contains(&seq))
            + usize::from(view.left_out.contains(&seq))
            + shown.iter().filter(|s| **s == seq).count();
        // Results of calls that were cut away with them are only mentioned as cut.
        if places > 1 || places == 0 && !items.iter().any(|i| i.seq == seq && matches!(i.body, Body::Tool { .. })) {
            out.push(format!("message {seq} is in {places} places"));
        }
    }
    out
}

/// Call and result, by place, found the plain way.
fn pairs(items: &[Item]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (j, item) in items.iter().enumerate() {
        let Body::Tool { call_id, .. } = &item.body else { continue };
        let speaks = |b: &Body| matches!(b, Body::Assistant { text, tool_calls, .. } if !text.trim().is_empty() || !tool_calls.is_empty());
        let Some(i) = items[..j].iter().rposition(|i| speaks(&i.body)) else { continue };
        let asked = items[i].body.tool_calls().iter().filter(|c| c.id == *call_id).count();
        let answered = items[i + 1..j].iter().filter(|k| matches!(&k.body, Body::Tool { call_id: id, .. } if id == call_id)).count();
        if answered < asked {
            out.push((i, j));
        }
    }
    out
}

/// What is wrong with a plan.
fn plan_problems(items: &[Item], plan: &EvictionPlan) -> Vec<String> {
    let mut out = Vec::new();
    if plan.count == 0 || plan.count > items.len() || items[0].seq != plan.first || items[plan.count - 1].seq != plan.last {
        return vec![format!("{plan:?} is no prefix")];
    }
    if items.get(plan.count).is_some_and(|next| next.seq != plan.queue_start) {
        out.push(format!("the queue would start at {} instead", plan.queue_start));
    }
    for (i, j) in pairs(items) {
        if (i < plan.count) != (j < plan.count) {
            out.push(format!("call {i} and result {j} are parted at {}", plan.count));
        }
    }
    if let Some(stimulus) = items[..plan.count].iter().find(|i| i.is_stimulus) {
        out.push(format!("the stimulus {} leaves", stimulus.seq));
    }
    out
}

fn budgets() -> impl Strategy<Value = Budget> {
    (prop_oneof![512_u32..2_000, 2_000_u32..20_000], proptest::option::of(1_u32..30_000), any::<bool>()).prop_map(
        |(window, output, fit)| {
            let budget = Budget::new(Tokens(window), output.map(Tokens));
            if fit { budget.fitted(&HeadSize { instructions: Tokens(60), summary: budget.summary, ..HeadSize::default() }) } else { budget }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_history_gives_a_valid_view_within_the_budget(items in history(), budget in budgets(), counter in 0_usize..3) {
        let count = COUNTERS[counter];
        let view = valid_view(&queue_of(&items, &count), &budget, &count);
        prop_assert_eq!(view_problems(&items, &view, budget.queue, &count), Vec::<String>::new());
    }

    #[test]
    fn what_leaves_is_a_prefix_and_pairs_stay_whole(items in history(), budget in budgets(), counter in 0_usize..3) {
        let count = COUNTERS[counter];
        let mut queue = queue_of(&items, &count);
        let mut rest = items;
        while let Some(plan) = plan_eviction(&queue, &budget) {
            prop_assert_eq!(plan_problems(&rest, &plan), Vec::<String>::new());
            let evicted = queue.page_out(&plan, &count);
            prop_assert_eq!(&evicted[..], &rest[..plan.count]);
            rest.drain(..plan.count);
            prop_assert_eq!(queue.items().cloned().collect::<Vec<_>>(), rest.clone());
        }
        // It ends below the flush mark, or where nothing more may leave.
        if pressure(&queue, &budget) == Pressure::Flush {
            prop_assert!(plan_half(&queue, &budget).is_none());
        }
        let view = valid_view(&queue, &budget, &count);
        prop_assert_eq!(view_problems(&rest, &view, budget.queue, &count), Vec::<String>::new());
    }

    #[test]
    fn a_page_out_takes_a_large_step(sizes in proptest::collection::vec(1_usize..60, 2..80), window in 600_u32..8_000) {
        let items: Vec<Item> = sizes.iter().enumerate().map(|(n, size)| Item::user(n as u64 + 1, at(n as i64), "word ".repeat(*size))).collect();
        let budget = Budget::for_window(Tokens(window));
        let mut queue = queue_of(&items, &count_bytes);
        if let Some(plan) = plan_eviction(&queue, &budget) {
            queue.page_out(&plan, &count_bytes);
            // Half, and the date marker that the new first message gets.
            prop_assert!(queue.tokens_capped(budget.message()) <= budget.queue.share(1, 2) + Tokens(8) || queue.len() == 1);
        }
    }

    #[test]
    fn a_room_below_the_floor_still_gives_a_valid_view(items in history(), room in 0_u32..96) {
        // A head over its caps takes from the queue; what is left may be next to nothing.
        let budget = Budget { queue: Tokens(room), ..Budget::for_window(Tokens(512)) };
        let view = valid_view(&queue_of(&items, &count_bytes), &budget, &count_bytes);
        prop_assert_eq!(view.check(), Ok(()));
    }

    #[test]
    fn appending_changes_nothing_before(items in history(), more in proptest::collection::vec(words(), 1..6), window in 2_000_u32..60_000) {
        let budget = Budget::for_window(Tokens(window));
        let mut queue = queue_of(&items, &count_bytes);
        let before = valid_view(&queue, &budget, &count_bytes);
        let last = items.last().expect("at least one");
        for (n, text) in more.iter().enumerate() {
            queue.push(Item::user(last.seq.0 + 1 + n as u64, last.at, text.clone()), &count_bytes);
        }
        let after = valid_view(&queue, &budget, &count_bytes);
        if after.left_out.is_empty() {
            prop_assert_eq!(&after.messages[..before.messages.len()], &before.messages[..]);
        }
    }

    #[test]
    fn the_floor_summary_always_fits_and_never_grows(
        rounds in proptest::collection::vec(history(), 1..5), old in words(), limit in 0_u32..300, counter in 0_usize..3,
    ) {
        let count = COUNTERS[counter];
        let mut text = old;
        for items in rounds {
            text = floor_summary(&text, &items, Tokens(limit), &TimeZone::UTC, &count);
            prop_assert!(text.is_empty() || count(&text) <= Tokens(limit), "{} of {limit}: {text}", count(&text));
        }
    }
}

/// A history in which every rule can be broken: a pair in the middle, a stimulus at the end.
fn sample() -> Vec<Item> {
    let mut items: Vec<Item> = (1..=20).map(|n| Item::user(n, at(n as i64), format!("message {n} {}", "word ".repeat(20)))).collect();
    items[9] = Item::calls(10, at(10), vec![call("a", "x"), call("b", "y")]);
    items[10] = Item::tool_result(11, at(11), "a", "conversation_search", "found");
    items[11] = Item::tool_result(12, at(12), "b", "conversation_search", "found");
    items[19].is_stimulus = true;
    items
}

#[test]
fn fails_on_planted_bug_in_eviction() {
    let items = sample();
    let queue = queue_of(&items, &count_bytes);
    let budget = Budget::for_window(Tokens(1_200));
    let good = plan_eviction(&queue, &budget).expect("it is too large");
    assert_eq!(plan_problems(&items, &good), Vec::<String>::new());

    let cut_at = |n: usize| EvictionPlan { count: n, last: items[n - 1].seq, queue_start: Seq(n as u64 + 1), ..good };
    // An eviction that stops between a call and its second result.
    assert_eq!(plan_problems(&items, &cut_at(11)), ["call 9 and result 11 are parted at 11"]);
    // One that takes the stimulus along.
    assert_eq!(plan_problems(&items, &cut_at(20)), ["the stimulus 20 leaves"]);
    // One that leaves the oldest message in.
    assert!(!plan_problems(&items, &EvictionPlan { first: Seq(2), ..good }).is_empty());
    // One that forgets to move the queue's start.
    assert!(!plan_problems(&items, &EvictionPlan { queue_start: Seq(1), ..good }).is_empty());
}

#[test]
fn fails_on_planted_bug_in_view() {
    let items = sample();
    let queue = queue_of(&items, &count_bytes);
    let budget = Budget::for_window(Tokens(8_000));
    let good = valid_view(&queue, &budget, &count_bytes);
    let problems = |view: &View, room: Tokens| view_problems(&items, view, room, &count_bytes);
    assert_eq!(problems(&good, budget.queue), Vec::<String>::new());
    assert_eq!(good.messages.len(), 20);

    // No repair at all: a result is lost, a call stays open.
    let mut bad = good.clone();
    bad.messages.remove(11);
    assert!(problems(&bad, budget.queue)[0].contains("comes before the result of call `b`"));
    // A result whose call has left.
    let mut bad = good.clone();
    bad.messages.remove(9);
    assert!(problems(&bad, budget.queue)[0].contains("which is not open"));
    // The same id twice.
    let mut bad = good.clone();
    let pair: Vec<_> = bad.messages[9..12].to_vec();
    bad.messages.extend(pair);
    assert!(problems(&bad, budget.queue)[0].contains("twice or empty"));
    // An empty answer.
    let mut bad = good.clone();
    bad.messages[3].body = Body::Assistant { text: " ".into(), reasoning: None, tool_calls: Vec::new() };
    assert!(problems(&bad, budget.queue)[0].contains("empty assistant"));
    // Nothing is cut: too large for a small room.
    assert!(problems(&good, Tokens(200))[0].contains("in a room of 200"));
    // The stimulus is left out.
    let mut bad = good.clone();
    bad.messages.pop();
    assert!(problems(&bad, budget.queue)[0].contains("the stimulus 20 is not shown"));
}

#[test]
fn fails_on_planted_bug_in_prefix_stability() {
    // A renderer that dates every message by its age from the newest one: appending changes what was sent.
    let render = |queue: &FifoQueue| -> Vec<String> {
        let newest = queue.items().next_back().map(|i| i.at).expect("not empty");
        queue.items().map(|i| format!("[{} ago] {}", newest.duration_since(i.at).as_mins(), i.body.text())).collect()
    };
    let mut queue = queue_of(&sample(), &count_bytes);
    let before = render(&queue);
    queue.push(Item::user(21, at(90), "more"), &count_bytes);
    assert_ne!(&render(&queue)[..before.len()], &before[..], "the comparison of the property sees it");
}

#[test]
fn fails_on_planted_bug_in_floor_summary() {
    // A floor that appends without ever dropping.
    let naive = |old: &str, items: &[Item]| format!("{old}\n{}", items.iter().map(|i| i.body.text()).collect::<Vec<_>>().join("\n"));
    let (mut good, mut bad) = (String::new(), String::new());
    for _ in 0..5 {
        good = floor_summary(&good, &sample(), Tokens(80), &TimeZone::UTC, &count_bytes);
        bad = naive(&bad, &sample());
    }
    assert!(count_bytes(&good) <= Tokens(80) && !good.is_empty());
    assert!(count_bytes(&bad) > Tokens(80));
}

#[test]
fn missing_results_are_unknown_and_late_ones_are_moved_up() {
    let items = vec![
        Item::user(1, at(0), "hi"),
        Item::calls(2, at(1), vec![call("a", "x"), call("b", "y"), call("a", "z")]),
        Item::user(3, at(2), "still there?"),
        Item::tool_result(4, at(3), "b", "conversation_search", "late"),
        Item::tool_result(5, at(4), "zzz", "conversation_search", "orphan"),
        Item::assistant(6, at(5), "yes"),
        Item::tool_result(7, at(6), "a", "conversation_search", "far too late"),
    ];
    let view = valid_view(&queue_of(&items, &count_bytes), &Budget::for_window(Tokens(4_000)), &count_bytes);
    let shown: Vec<(Option<u64>, String)> = view.messages.iter().map(|m| (m.seq.map(|s| s.0), m.body.text().to_owned())).collect();
    let expected = [
        (Some(1), "[2025-03-10 Mon 09:00] hi"),
        (Some(2), ""),
        (None, OUTCOME_UNKNOWN),
        (Some(4), "late"),
        (None, OUTCOME_UNKNOWN),
        (Some(3), "still there?"),
        (Some(6), "yes"),
    ];
    assert_eq!(shown, expected.map(|(seq, text)| (seq, text.to_owned())));
    assert_eq!(view.dropped, [Seq(5), Seq(7)]);
    let ids: Vec<&str> = view.messages[1].body.tool_calls().iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "call_2_2"]);
}

#[test]
fn a_message_larger_than_the_window_is_cut_and_says_where_the_rest_is() {
    let items = vec![Item::assistant(1, at(0), "Hello"), Item::user(2, at(1), "Ann's notes. ".repeat(50_000)).stimulus()];
    let budget = Budget::for_window(Tokens(800));
    let view = valid_view(&queue_of(&items, &count_bytes), &budget, &count_bytes);
    assert_eq!(view.cut, [Seq(2)]);
    let text = view.messages[1].body.text();
    assert!(text.starts_with("[2025-03-10 Mon 09:01] Ann's notes. Ann's notes."), "{text}");
    assert!(text.ends_with("characters in all; read on: conversation_search \"#2\"]"), "{text}");
    assert!(view.tokens <= budget.queue);
}

#[test]
fn a_run_of_many_steps_keeps_its_stimulus_and_its_last_steps() {
    let mut items = vec![Item::user(1, at(0), "Find all of it.").stimulus()];
    for n in 0..50_u64 {
        items.push(Item::calls(2 + 2 * n, at(1), vec![call("same", &format!("query {n}"))]));
        items.push(Item::tool_result(3 + 2 * n, at(1), "same", "conversation_search", format!("result {n} {}", "word ".repeat(30))));
    }
    let budget = Budget::for_window(Tokens(6_000));
    let mut moved = 0;
    let mut first_shown = None;
    for n in 1..=items.len() {
        let part = &items[..n];
        let queue = queue_of(part, &count_bytes);
        assert!(plan_eviction(&queue, &budget).is_none(), "nothing of the present run leaves");
        let view = valid_view(&queue, &budget, &count_bytes);
        assert_eq!(view_problems(part, &view, budget.queue, &count_bytes), Vec::<String>::new());
        assert_eq!(view.messages[0].seq, Some(Seq(1)));
        // Where the shown steps begin moves in large steps only.
        let begin = view.messages.iter().filter_map(|m| m.seq).nth(1);
        moved += usize::from(first_shown.is_some() && begin != first_shown);
        first_shown = begin.or(first_shown);
    }
    assert!((1..=25).contains(&moved), "the beginning moved {moved} times in 100 messages");
}
