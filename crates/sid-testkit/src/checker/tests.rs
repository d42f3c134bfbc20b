//! Each rule is seen to fail on a dump that breaks it, and on nothing else.

use super::*;

/// Two turns, the first with a call, each with its log; a ledger, a stream, an index and an answer that fit.
fn sound() -> Dump {
    let message = |seq: u64, run: &str, role: &str, text: &str| Message {
        id: format!("msg_{seq}"),
        seq,
        run: Some(run.into()),
        role: role.into(),
        text: text.into(),
        ..Message::default()
    };
    let mut call = message(2, "run_1", "assistant", "");
    call.tool_calls = vec![Call { id: "call_1".into(), ..Call::default() }];
    let mut result = message(3, "run_1", "tool", "Done.");
    result.call_id = Some("call_1".into());
    let messages = vec![
        message(1, "run_1", "user", "first"),
        call,
        result,
        message(4, "run_1", "assistant", "one"),
        message(5, "run_2", "user", "second"),
        message(6, "run_2", "assistant", "two"),
    ];
    let one = Usage { prompt_tokens: 10, completion_tokens: 2 };
    let run = |id: &str, epoch: u64, answers: &[Message], steps: u32| {
        let mut usage = Usage::default();
        (0..steps).for_each(|_| usage += one);
        let told = answers.iter().map(|m| Event { event: "message".into(), message: Some(m.clone()), ..Event::default() });
        let stepped = (1..=steps).map(|n| Event { event: "step".into(), number: Some(n), usage: Some(one), ..Event::default() });
        let started = Event { event: "started".into(), epoch: Some(epoch), ..Event::default() };
        let done = Event { event: "done".into(), status: Some("completed".into()), usage: Some(usage), ..Event::default() };
        let events = std::iter::once(started).chain(told).chain(stepped).chain(std::iter::once(done));
        Run {
            id: id.into(),
            status: "completed".into(),
            usage,
            stimulus: vec![if id == "run_1" { "msg_1".into() } else { "msg_5".into() }],
            step_records: Some((1..=steps).map(|number| Step { number, usage: one }).collect()),
            events: Some(events.zip(1..).map(|(event, seq)| Event { seq, ..event }).collect()),
        }
    };
    let runs = vec![run("run_1", 1, &messages[1..4], 2), run("run_2", 3, &messages[5..], 1)];
    let entry = |text: &str, run: &str, sent| Entry {
        conversation: "conv_1".into(),
        text: text.into(),
        run: Some(run.into()),
        sent,
        acknowledged: sent + 1,
    };
    let events = runs[0].events.clone().unwrap_or_default();
    Dump {
        ledger: vec![entry("first", "run_1", 1), entry("second", "run_2", 3)],
        streams: vec![Stream { run: "run_1".into(), after: 2, events: events[2..].to_vec(), is_whole: true }],
        writes: [1, 1, 2, 3].map(|epoch| Write { conversation: "conv_1".into(), epoch }).into(),
        indexes: vec![Index { name: "acme".into(), searchable: 5, indexed: 5, pending: 0 }],
        effects: vec![Effect { token: "run_1/1/0".into(), times: 1 }],
        canaries: ["acme", "umbrella"].map(|tenant| Canary { tenant: tenant.into(), text: format!("secret of {tenant}") }).into(),
        answers: vec![Answer { tenant: "acme".into(), by: "search".into(), text: "the secret of acme".into() }],
        conversations: vec![Conversation { id: "conv_1".into(), messages, runs }],
    }
}

/// Breaks a sound dump; this invariant, and no other, must be violated.
#[track_caller]
fn breaks(invariant: Invariant, how: impl FnOnce(&mut Dump)) {
    let mut dump = sound();
    how(&mut dump);
    let found = check(&dump);
    assert!(!found.is_empty() && found.iter().all(|v| v.invariant == invariant), "{invariant:?}: {found:#?}");
}

fn conversation(dump: &mut Dump) -> &mut Conversation {
    &mut dump.conversations[0]
}

fn events(dump: &mut Dump, run: usize) -> &mut Vec<Event> {
    conversation(dump).runs[run].events.as_mut().expect("a sound dump has events")
}

type Break = fn(&mut Dump);

/// The shortest way to break each invariant.
const ONE_OF_EACH: [(Invariant, Break); 9] = [
    (Invariant::I1, |d| d.ledger[0].text = "said, acknowledged, and not there".into()),
    (Invariant::I2, |d| conversation(d).runs[1].stimulus.insert(0, "msg_9".into())),
    (Invariant::I3, |d| conversation(d).runs[0].status = "queued".into()),
    (Invariant::I4, |d| d.writes.push(Write { conversation: "conv_1".into(), epoch: 1 })),
    (Invariant::I5, |d| conversation(d).runs[0].usage.prompt_tokens += 1),
    (Invariant::I6, |d| d.indexes[0].pending = 1),
    (Invariant::I7, |d| drop(d.streams[0].events.remove(0))),
    (Invariant::I8, |d| d.answers[0].text = "the secret of umbrella".into()),
    (Invariant::I9, |d| d.effects[0].times = 2),
];

/// A new invariant needs its line above: a rule that never failed is no evidence.
#[test]
fn each_invariant_has_been_seen_to_fail() {
    assert_eq!(ONE_OF_EACH.map(|(invariant, _)| invariant), Invariant::ALL);
    for (invariant, how) in ONE_OF_EACH {
        breaks(invariant, how);
    }
}

#[test]
fn a_sound_dump_passes() {
    assert_eq!(check(&sound()), []);
}

#[test]
fn what_is_not_known_is_not_checked() {
    let mut dump = sound();
    for run in &mut conversation(&mut dump).runs {
        (run.step_records, run.events) = (None, None);
    }
    assert_eq!(check(&dump), []);
    conversation(&mut dump).runs.clear();
    assert_eq!(check(&dump), []);
}

#[test]
fn i1_lost() {
    breaks(Invariant::I1, |d| d.ledger[1].text = "third".into());
    breaks(Invariant::I1, |d| d.ledger[1].conversation = "conv_2".into());
}

#[test]
fn i1_doubled() {
    breaks(Invariant::I1, |d| conversation(d).messages[4].text = "first".into());
    // Acknowledged or not.
    breaks(Invariant::I1, |d| {
        d.ledger.clear();
        conversation(d).messages[4].text = "first".into();
    });
}

#[test]
fn i1_under_another_run() {
    breaks(Invariant::I1, |d| d.ledger[1].run = Some("run_1".into()));
}

#[test]
fn i1_out_of_order() {
    breaks(Invariant::I1, |d| (d.ledger[0].sent, d.ledger[0].acknowledged) = (5, 6));
    // Sent while the other was under way: either order is right.
    let mut dump = sound();
    (dump.ledger[0].sent, dump.ledger[0].acknowledged) = (3, 6);
    assert_eq!(check(&dump), []);
}

#[test]
fn i2_not_dense() {
    let dense = |d: &mut Dump| {
        conversation(d).messages[5].seq = 7;
        let told = events(d, 1).iter_mut().find_map(|e| e.message.as_mut()).expect("a message is told");
        told.seq = 7;
    };
    breaks(Invariant::I2, dense);
}

#[test]
fn i2_the_same_message_twice() {
    breaks(Invariant::I2, |d| {
        conversation(d).messages[5].id = "msg_4".into();
        events(d, 1).iter_mut().filter_map(|e| e.message.as_mut()).for_each(|m| m.id = "msg_4".into());
    });
}

#[test]
fn i2_turns_interleaved() {
    breaks(Invariant::I2, |d| {
        let last = conversation(d).messages.len() - 1;
        for m in [4, last] {
            conversation(d).messages.swap(3, m);
        }
        let messages = &mut conversation(d).messages;
        messages.iter_mut().zip(1..).for_each(|(m, seq)| m.seq = seq);
        let placed = messages.clone();
        for run in 0..2 {
            for told in events(d, run).iter_mut().filter_map(|e| e.message.as_mut()) {
                *told = placed.iter().find(|m| m.id == told.id).expect("it is there").clone();
            }
        }
        d.streams.clear();
    });
}

#[test]
fn i2_the_stimulus_is_not_first() {
    breaks(Invariant::I2, |d| conversation(d).runs[1].stimulus = vec!["msg_9".into()].into_iter().chain(["msg_5".into()]).collect());
}

#[test]
fn i2_a_message_of_no_run() {
    breaks(Invariant::I2, |d| drop(conversation(d).runs.remove(1)));
}

#[test]
fn i2_an_ended_run_without_messages() {
    breaks(Invariant::I2, |d| {
        let lost = Run { id: "run_9".into(), status: "cancelled".into(), stimulus: vec!["msg_9".into()], ..Run::default() };
        conversation(d).runs.push(lost);
    });
}

#[test]
fn i2_calls_and_results() {
    // No result; a second result; a result of nothing.
    let retell = |d: &mut Dump| {
        d.streams.clear();
        let placed = conversation(d).messages.clone();
        let mut told = placed.into_iter().filter(|m| m.run.as_deref() == Some("run_1") && m.role != "user");
        events(d, 0).iter_mut().filter_map(|e| e.message.as_mut()).for_each(|m| *m = told.next().expect("as many"));
    };
    breaks(Invariant::I2, |d| {
        conversation(d).messages[2].role = "assistant".into();
        retell(d);
    });
    breaks(Invariant::I2, |d| {
        conversation(d).messages[2].call_id = Some("call_9".into());
        retell(d);
    });
    breaks(Invariant::I2, |d| {
        let twice = Message { role: "tool".into(), call_id: Some("call_1".into()), ..conversation(d).messages[3].clone() };
        conversation(d).messages[3] = twice;
        retell(d);
    });
}

#[test]
fn i2_a_clients_call_may_be_passed_over_and_is_never_answered_late() {
    let call = |id: &str, for_client| Message {
        role: "assistant".into(),
        tool_calls: vec![Call { id: id.into(), for_client }],
        ..Message::default()
    };
    let tool = |id: &str| Message { role: "tool".into(), call_id: Some(id.into()), ..Message::default() };
    let user = || Message { role: "user".into(), ..Message::default() };
    let broken = |messages: Vec<Message>| {
        let mut found = super::rules::Found::default();
        super::rules::calls(&super::records::Conversation { messages, ..Default::default() }, &mut found);
        found.list.len()
    };
    assert_eq!(broken(vec![call("c", true), user(), call("d", true), tool("d"), user(), call("e", true)]), 0);
    assert_eq!(broken(vec![call("c", true), user(), tool("c")]), 1, "too late");
    assert_eq!(broken(vec![call("c", true), tool("c"), tool("c")]), 1, "twice");
    assert_eq!(broken(vec![call("c", false), user()]), 1, "the server's own is always answered");
}

#[test]
fn i3_not_terminal() {
    breaks(Invariant::I3, |d| conversation(d).runs[1].status = "running".into());
}

#[test]
fn i3_the_log_does_not_end() {
    breaks(Invariant::I3, |d| drop(events(d, 1).pop()));
    breaks(Invariant::I3, |d| {
        let again = Event { seq: 5, ..events(d, 1).last().expect("done").clone() };
        events(d, 1).push(again);
    });
    breaks(Invariant::I3, |d| events(d, 1).last_mut().expect("done").status = Some("failed".into()));
}

#[test]
fn i4_an_epoch_falls() {
    // In a run, and from one turn to the next.
    breaks(Invariant::I4, |d| {
        let list = events(d, 1);
        list.insert(1, Event { seq: 0, event: "started".into(), epoch: Some(2), ..Event::default() });
        list.iter_mut().zip(1..).for_each(|(e, seq)| e.seq = seq);
    });
    breaks(Invariant::I4, |d| events(d, 1)[0].epoch = Some(1));
    breaks(Invariant::I4, |d| d.writes.push(Write { conversation: "conv_1".into(), epoch: 2 }));
}

#[test]
fn i5_usage() {
    breaks(Invariant::I5, |d| conversation(d).runs[0].step_records.as_mut().expect("steps").truncate(1));
    breaks(Invariant::I5, |d| conversation(d).runs[0].step_records.as_mut().expect("steps")[1].number = 3);
    breaks(Invariant::I5, |d| events(d, 1)[2].usage = None);
    breaks(Invariant::I5, |d| events(d, 1)[3].usage = Some(Usage::default()));
}

#[test]
fn i6_the_index_lags() {
    breaks(Invariant::I6, |d| d.indexes[0].pending = 1);
    breaks(Invariant::I6, |d| d.indexes[0].indexed = 4);
}

#[test]
fn i7_gaps_and_repeats() {
    breaks(Invariant::I7, |d| drop(d.streams[0].events.remove(1)));
    breaks(Invariant::I7, |d| {
        let again = d.streams[0].events[1].clone();
        d.streams[0].events.insert(1, again);
    });
    breaks(Invariant::I7, |d| drop(d.streams[0].events.pop()));
    breaks(Invariant::I7, |d| d.streams[0].events[1].text = Some("something else".into()));
    breaks(Invariant::I7, |d| events(d, 1)[1].seq = 9);
    breaks(Invariant::I7, |d| conversation(d).messages[5].text = "2".into());
    // A client that left early has seen a part.
    let mut dump = sound();
    dump.streams[0].events.pop();
    dump.streams[0].is_whole = false;
    assert_eq!(check(&dump), []);
}

#[test]
fn i8_a_foreign_canary() {
    breaks(Invariant::I8, |d| d.answers[0].tenant = "umbrella".into());
}

#[test]
fn i9_a_call_made_twice() {
    breaks(Invariant::I9, |d| d.effects[0].times = 2);
}
