//! Search: who is found, in which channel, and who is not. Never how high.

use std::collections::BTreeSet;

use sid_store::{Candidate, Effect, QueryVector, Record, RecordId, RecordKinds, SearchQuery, TimeRange};
use sid_types::{Body, Message, NewMessage, NewPassage, Owner, Role, Scope, Seq, Timestamp};

use super::World;
use super::world::{call, calling, result};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

async fn candidate(w: &World, scope: &Scope, query: &SearchQuery, text: &str) -> Option<Candidate> {
    w.store.search(scope, query).await.expect("a search answers").items.into_iter().find(|c| c.record.text() == text)
}

/// A message is found the moment its commit has returned: the stimulus when it is placed, the answer when it is committed.
pub async fn messages_are_found_at_once(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "I adore gherkins").await;
    assert_eq!(w.find(&w.ours.scope, "gherkins").await, ["I adore gherkins"]);
    w.commit(&lease, vec![Effect::Append(vec![NewMessage::assistant("So does the walrus", w.now())])]).await;
    assert!(w.find(&w.ours.scope, "walrus").await.contains(&"So does the walrus".to_owned()));
    w.store
        .append(&w.ours.scope, w.talk(&w.ours.bob).await.id, vec![NewMessage::user("an imported zebra", w.now())])
        .await
        .expect("imported");
    assert_eq!(w.find(&w.ours.scope, "zebra").await, ["an imported zebra"]);
}

/// Passages are found at once, whether the application or a turn stores them.
pub async fn passages_are_found_at_once(w: World) {
    w.keep(&w.ours, Owner::Tenant, "the office is in Lisbon").await;
    assert_eq!(w.find(&w.ours.scope, "Lisbon").await, ["the office is in Lisbon"]);
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "remember this").await;
    w.commit(&lease, vec![Effect::InsertPassage(w.passage(w.ours.pair(), "her sister lives in Porto"))]).await;
    assert_eq!(w.find(&w.ours.scope, "Porto").await, ["her sister lives in Porto"]);
}

/// Another form of a word is found, in lower or upper case.
pub async fn words_are_found_in_other_forms(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "My dentist appointments were cancelled", "Sorry to hear that").await;
    for words in ["appointment", "APPOINTMENTS", "cancelling", "dentists?"] {
        assert!(w.find(&w.ours.scope, words).await.iter().any(|t| t.starts_with("My dentist")), "{words}");
    }
    assert!(w.find(&w.ours.scope, "helicopter").await.is_empty());
}

/// Tool results, notes and empty messages are never found: recalled text must not be recalled again.
pub async fn tool_results_and_notes_are_never_found(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "look for the rhubarb").await;
    let asked = call("c1", "conversation_search");
    let note = NewMessage::of(Body::Note { text: "note: rhubarb".into() }, w.now());
    let messages = vec![calling(&asked, w.now()), result(&asked, "result: rhubarb", &[], w.now()), note];
    w.commit(&lease, vec![Effect::Append(messages)]).await;
    assert_eq!(w.find(&w.ours.scope, "rhubarb").await, ["look for the rhubarb"]);
    let found = w.store.search(&w.ours.scope, &SearchQuery::new("rhubarb")).await.expect("a search answers");
    assert_eq!(found.searched, 1, "they are not even looked at");
}

/// Kinds, role, conversation, span of time and owners: each filter alone.
pub async fn filters_leave_out_the_rest(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let bobs = w.talk(&w.ours.bob).await;
    w.turn(&one, "plum one", "plum answer").await;
    w.wait(86_400);
    let later = w.now();
    w.turn(&two, "plum two", "quince").await;
    w.turn(&bobs, "plum of bob", "quince").await;
    w.keep(&w.ours, w.ours.pair(), "plum passage").await;
    w.keep(&w.ours, Owner::Tenant, "plum of all").await;
    let find = async |query: SearchQuery| -> BTreeSet<String> {
        let found = w.find_with(&w.ours.scope, &query).await;
        found.into_iter().filter(|t| t.contains("plum")).collect()
    };
    let set = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let query = || SearchQuery::new("plum");
    assert_eq!(find(query()).await, set(&["plum one", "plum answer", "plum two", "plum of bob", "plum passage", "plum of all"]));
    assert_eq!(find(SearchQuery { kinds: RecordKinds::PASSAGES, ..query() }).await, set(&["plum passage", "plum of all"]));
    let messages = set(&["plum one", "plum answer", "plum two", "plum of bob"]);
    assert_eq!(find(SearchQuery { kinds: RecordKinds::MESSAGES, ..query() }).await, messages);
    assert_eq!(find(SearchQuery { role: Some(Role::Assistant), ..query() }).await, set(&["plum answer"]));
    assert_eq!(find(SearchQuery { conversation: Some(two.id), ..query() }).await, set(&["plum two"]));
    let within = Some(TimeRange { from: later, to: later + jiff::SignedDuration::from_secs(1) });
    assert_eq!(find(SearchQuery { within, ..query() }).await, set(&["plum two", "plum of bob", "plum passage", "plum of all"]));
    let within = Some(TimeRange { from: Timestamp::UNIX_EPOCH, to: later });
    assert_eq!(find(SearchQuery { within, ..query() }).await, set(&["plum one", "plum answer"]), "the end is excluded");
    let owners = Some(vec![w.ours.pair()]);
    assert_eq!(find(SearchQuery { owners, ..query() }).await, set(&["plum one", "plum answer", "plum two", "plum passage"]));
    assert_eq!(find(SearchQuery { owners: Some(vec![]), ..query() }).await, set(&[]));
}

/// Owners that the scope does not see are cut from the query, in silence.
pub async fn asking_for_foreign_owners_finds_nothing(w: World) {
    let bobs = Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id };
    w.keep(&w.ours, bobs, "bob's melon").await;
    w.keep(&w.ours, w.ours.pair(), "ann's melon").await;
    let theirs = w.theirs.pair();
    w.keep(&w.theirs, theirs, "their melon").await;
    let query = SearchQuery { owners: Some(vec![bobs, theirs, w.ours.pair()]), ..SearchQuery::new("melon") };
    assert_eq!(w.find_with(&w.ours.as_user(&w.ours.ann), &query).await, ["ann's melon"]);
    assert_eq!(w.find_with(&w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann)), &query).await, ["ann's melon"]);
    assert_eq!(w.find_with(&w.ours.scope, &query).await, ["ann's melon", "bob's melon"]);
}

/// What is in the prompt already is left out, from the given place on and in that conversation only.
pub async fn what_is_in_the_prompt_is_left_out(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.turn(&one, "fig a", "fig b").await;
    w.turn(&one, "fig c", "fig d").await;
    w.turn(&two, "fig e", "fig f").await;
    let query = SearchQuery { in_prompt: Some((one.id, Seq(3))), ..SearchQuery::new("fig") };
    assert_eq!(w.find_with(&w.ours.scope, &query).await, ["fig a", "fig b", "fig e", "fig f"]);
}

/// A span that the query names brings what was said in it, though no word fits; and it filters nothing.
pub async fn named_times_bring_what_was_said_then(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let said = |text: &str, when: &str| NewMessage::user(text, at(when));
    let imported = vec![
        said("we moved house", "2025-05-10T10:00:00Z"),
        said("the boxes are everywhere", "2025-05-11T10:00:00Z"),
        said("nothing much", "2025-07-01T10:00:00Z"),
        said("what happened was a surprise", "2025-09-01T10:00:00Z"),
    ];
    w.store.append(&w.ours.scope, talk.id, imported).await.expect("imported");
    let may = TimeRange { from: at("2025-05-01T00:00:00Z"), to: at("2025-06-01T00:00:00Z") };
    let query = SearchQuery { named_times: vec![may], ..SearchQuery::new("what happened in May?") };
    let found = w.find_with(&w.ours.scope, &query).await;
    for expected in ["we moved house", "the boxes are everywhere", "what happened was a surprise"] {
        assert!(found.iter().any(|t| t == expected), "{expected} is not in {found:?}");
    }
}

/// The best hits bring their neighbours, and every hit names its own: the searchable messages beside it.
pub async fn neighbours_come_along(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let before = w.turn(&talk, "who is coming?", "let me think").await;
    let lease = w.begin(&talk, "hm").await;
    let asked = call("c", "look");
    let effects = vec![calling(&asked, w.now()), result(&asked, "a list", &[], w.now()), NewMessage::assistant("Aunt Petunia", w.now())];
    let answer = w.commit(&lease, vec![Effect::Append(effects)]).await.messages.remove(2);
    w.commit(&lease, vec![super::world::finish(sid_types::StopReason::EndTurn)]).await;
    let after = w.turn(&talk, "and her dog?", "of course").await;
    let query = SearchQuery::new("Petunia");
    let found = w.store.search(&w.ours.scope, &query).await.expect("a search answers");
    let by_id = |m: &Message| found.items.iter().find(|c| c.record.id() == RecordId::Message(m.id));
    let hit = by_id(&answer).expect("found");
    let messages = w.messages(&talk).await;
    let hm = messages.iter().find(|m| m.body.text() == "hm").expect("said");
    assert_eq!(hit.neighbours, (Some(RecordId::Message(hm.id)), Some(RecordId::Message(after[0].id))), "calls and results are passed over");
    assert!(by_id(hm).is_some() && by_id(&after[0]).is_some(), "the best hit's neighbours are candidates");
    assert!(by_id(&before[0]).is_none(), "further ones are not");
    let last = candidate(&w, &w.ours.scope, &SearchQuery::new("of course"), "of course").await.expect("found");
    assert_eq!(last.neighbours.1, None);
}

/// The channels: words of the message itself in one, those of the message before it in the other.
pub async fn the_context_channel_knows_the_message_before(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "where did you put the parsnips?", "in the cellar").await;
    w.turn(&talk, "thanks a lot", "you are welcome").await;
    let query = SearchQuery::new("parsnips");
    let asked = candidate(&w, &w.ours.scope, &query, "where did you put the parsnips?").await.expect("found");
    assert!(asked.channels.bm25 > 0.0 && asked.channels.context_bm25 > 0.0);
    let answer = candidate(&w, &w.ours.scope, &query, "in the cellar").await.expect("found by its context");
    assert!(answer.channels.bm25 == 0.0 && answer.channels.context_bm25 > 0.0, "{:?}", answer.channels);
    assert!(candidate(&w, &w.ours.scope, &query, "you are welcome").await.is_none());
    assert!(asked.channels.dense == 0.0, "nobody gave a vector");
}

/// The context ends at the border of the conversation.
pub async fn the_context_stays_in_its_conversation(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    w.turn(&one, "an answer", "the parsnips are blue").await;
    w.turn(&two, "an unrelated start", "go on").await;
    assert!(!w.find(&w.ours.scope, "parsnips").await.contains(&"an unrelated start".to_owned()));
}

/// A message is found by its speaker's name.
pub async fn speakers_are_found(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let said = |speaker: &str, text: &str| NewMessage { speaker: Some(speaker.into()), ..NewMessage::user(text, w.now()) };
    let group = vec![said("Melanie", "I ran a marathon"), said("Caroline", "I went to the library")];
    w.store.append(&w.ours.scope, talk.id, group).await.expect("imported");
    let found = candidate(&w, &w.ours.scope, &SearchQuery::new("What did Melanie do?"), "I ran a marathon").await.expect("found");
    assert!(found.channels.bm25 > 0.0);
    assert!(matches!(&found.record, Record::Message(m) if m.speaker.as_deref() == Some("Melanie")));
}

/// Candidates come once each, with their owner; everything that was looked at is counted, found or not.
pub async fn candidates_come_once_and_are_counted(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for n in 0..20 {
        w.turn(&talk, &format!("apple number {n}"), "an apple a day").await;
    }
    w.keep(&w.ours, Owner::Tenant, "apple pie").await;
    w.keep(&w.ours, Owner::Tenant, "nothing of the kind").await;
    let query = SearchQuery::new("apple");
    let found = w.store.search(&w.ours.scope, &query).await.expect("a search answers");
    let ids: BTreeSet<RecordId> = found.items.iter().map(|c| c.record.id()).collect();
    assert_eq!(ids.len(), found.items.len());
    assert_eq!((ids.len(), found.searched), (41, 42));
    assert!(found.bm25.max > found.bm25.mean && found.bm25.mean > 0.0);
    assert_eq!((found.dense.mean, found.dense.max), (0.0, 0.0));
    for candidate in &found.items {
        let owner = if matches!(candidate.record, Record::Passage(_)) { Owner::Tenant } else { w.ours.pair() };
        assert_eq!(candidate.owner, owner);
        assert!(candidate.channels.bm25 <= found.bm25.max);
    }
    let few = w.store.search(&w.ours.scope, &SearchQuery { per_channel: 4, kinds: RecordKinds::MESSAGES, ..query }).await;
    let few = few.expect("a search answers");
    assert!((4..=16).contains(&few.items.len()), "{} candidates for four of each channel and neighbours", few.items.len());
    assert_eq!(few.searched, 40);
}

/// Any text is a query: operators, quotes, other scripts, nothing at all.
pub async fn any_text_is_a_query(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "the word is fennel", "noted").await;
    let long = "fennel ".repeat(5_000);
    for text in [
        "",
        "   ",
        "\"",
        "' OR 1=1 --",
        "fennel AND NOT (",
        "NEAR(fennel, 2)",
        "text:fennel*",
        "^fennel",
        "-fennel",
        "%_fennel",
        "茴香 \u{1F952} é",
        "\u{0}fennel",
        "?!.,;",
        &long,
    ] {
        let found = w.store.search(&w.ours.scope, &SearchQuery::new(text)).await;
        let found = found.unwrap_or_else(|e| panic!("{:?} is not an error: {e}", &text[..text.len().min(30)]));
        if text.contains("fennel") && text != "\u{0}fennel" {
            assert!(found.items.iter().any(|c| c.record.text() == "the word is fennel"), "{:?}", &text[..text.len().min(30)]);
        }
    }
}

/// Words of any script are found.
pub async fn other_scripts_are_found(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "Моя бабушка живёт в Одессе", "Une très belle ville, n'est-ce pas ?").await;
    assert!(w.find(&w.ours.scope, "бабушка").await.iter().any(|t| t.starts_with("Моя")));
    assert!(w.find(&w.ours.scope, "très").await.iter().any(|t| t.starts_with("Une")));
}

/// A vector of a generation that nobody has filled finds nothing, and is no error.
pub async fn an_unknown_generation_compares_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "salsify", "noted").await;
    let vector = Some(QueryVector { generation: sid_store::GenerationId("nobody/0".into()), values: vec![1.0, 0.0] });
    let found = candidate(&w, &w.ours.scope, &SearchQuery { vector, ..SearchQuery::new("salsify") }, "salsify").await.expect("found");
    assert!(found.channels.dense == 0.0 && found.channels.bm25 > 0.0);
}

/// Passages and messages come back whole.
pub async fn found_records_are_whole(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let messages = w.turn(&talk, "celery message", "ok").await;
    let passage = NewPassage { tags: vec!["veg".into()], ..w.passage(w.ours.pair(), "celery passage") };
    let stored = w.store.upsert(&w.ours.scope, vec![passage]).await.expect("stored").remove(0);
    let query = SearchQuery::new("celery");
    let message = candidate(&w, &w.ours.scope, &query, "celery message").await.expect("found");
    assert_eq!(message.record, Record::Message(messages[0].clone()));
    let passage = candidate(&w, &w.ours.scope, &query, "celery passage").await.expect("found");
    assert_eq!((passage.record, passage.neighbours), (Record::Passage(stored), (None, None)));
}
