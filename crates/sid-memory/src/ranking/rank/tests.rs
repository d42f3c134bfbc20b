//! One test per signal: two candidates that differ in nothing else.

use jiff::Zoned;
use sid_types::{ConversationId, Role, Seq, Timestamp};

use super::*;
use crate::ranking::{Channels, Shape, merge_hops, render_excerpt, second_hop_query};

const SHAPE: Shape = Shape { mean: 0.2, max: 1.0 };

fn at(day: i64) -> Timestamp {
    // 2023-11-14T22:13:20Z and so many days later.
    Timestamp::from_second(1_700_000_000 + day * 86_400).expect("in range")
}

/// A user's message of the first day with average scores.
fn said(id: u32, text: &str) -> Candidate<'_, u32> {
    Candidate {
        id,
        text,
        speaker: None,
        role: Some(Role::User),
        at: at(0),
        place: None,
        channels: Channels { bm25: 0.2, context_bm25: 0.2, dense: 0.2 },
        best_chunk: None,
        neighbours: (None, None),
    }
}

fn found<'a>(items: Vec<Candidate<'a, u32>>) -> Candidates<'a, u32> {
    Candidates { items, bm25: SHAPE, context_bm25: SHAPE, dense: SHAPE }
}

fn ranked(question: &str, items: Vec<Candidate<'_, u32>>) -> Vec<Ranked<u32>> {
    let now: Zoned = "2023-12-25T12:00:00Z[UTC]".parse().expect("a time");
    rank(&RankQuery::new(question, Some(now)), &found(items))
}

/// The order of ids, and that the parts of each hit sum up to its score.
fn order(question: &str, items: Vec<Candidate<'_, u32>>) -> Vec<u32> {
    let hits = ranked(question, items);
    for hit in &hits {
        let sum: f32 = hit.parts.iter().map(|p| p.1).sum();
        assert!((sum - hit.score).abs() < 1e-4, "{:?} is not {}", hit.parts, hit.score);
    }
    hits.into_iter().map(|h| h.id).collect()
}

fn part(hits: &[Ranked<u32>], id: u32, name: &str) -> f32 {
    let hit = hits.iter().find(|h| h.id == id).expect("ranked");
    hit.parts.iter().find(|p| p.0 == name).map_or(0.0, |p| p.1)
}

#[test]
fn each_channel_counts() {
    for channels in [
        Channels { bm25: 0.9, context_bm25: 0.2, dense: 0.2 },
        Channels { bm25: 0.2, context_bm25: 0.9, dense: 0.2 },
        Channels { bm25: 0.2, context_bm25: 0.2, dense: 0.9 },
    ] {
        let better = Candidate { channels, ..said(2, "two words here") };
        assert_eq!(order("zebra", vec![said(1, "some other words"), better]), [2, 1]);
    }
}

#[test]
fn a_record_without_a_vector_is_an_average_one() {
    let none = Candidate { channels: Channels { dense: 0.0, ..said(0, "").channels }, ..said(1, "not embedded yet") };
    let poor = Candidate { channels: Channels { dense: -0.1, ..said(0, "").channels }, ..said(2, "far from everything") };
    let good = Candidate { channels: Channels { dense: 0.5, ..said(0, "").channels }, ..said(3, "rather near to it") };
    assert_eq!(order("zebra", vec![none, poor, good]), [3, 1, 2]);
}

#[test]
fn a_named_speaker_counts_if_only_one_is_named() {
    let by = |id, text, speaker| Candidate { speaker: Some(speaker), ..said(id, text) };
    let items = || vec![by(1, "went to the sea once", "Bob"), by(2, "stayed at home then", "Ann Smith")];
    assert_eq!(order("Where did Ann go?", items()), [2, 1]);
    assert_eq!(part(&ranked("What do Ann and Bob share?", items()), 2, "speaker"), 0.0);
    assert_eq!(part(&ranked("Who likes the sea?", items()), 1, "speaker"), 0.0);
}

#[test]
fn named_dates_count() {
    let later = Candidate { at: at(30), ..said(2, "said some words then") };
    assert_eq!(order("What did I say on 15 December 2023?", vec![said(1, "said other words there"), later.clone()]), [2, 1]);
    assert_eq!(order("What did I say two weeks ago?", vec![said(1, "said other words there"), later]), [2, 1]);
}

#[test]
fn a_good_neighbour_helps() {
    let conversation = ConversationId::new();
    let placed = |id, text, seq, neighbours| Candidate { place: Some((conversation, Seq(seq))), neighbours, ..said(id, text) };
    let strong = Candidate {
        channels: Channels { bm25: 1.0, context_bm25: 1.0, dense: 1.0 },
        ..placed(1, "which fiddle was it", 1, (None, Some(2)))
    };
    let next = placed(2, "an old brown one", 2, (Some(1), None));
    let far = placed(3, "a new green one", 9, (None, None));
    assert_eq!(order("zebra", vec![far, next, strong]), [1, 2, 3]);
}

#[test]
fn users_know_about_themselves_unless_the_assistant_is_asked() {
    let items = || vec![Candidate { role: Some(Role::Assistant), ..said(1, "try the blue paint") }, said(2, "took the green paint")];
    assert_eq!(order("Which paint is it?", items()), [2, 1]);
    assert_eq!(part(&ranked("Which paint did you recommend?", items()), 2, "role"), 0.0);
    // Between named people a role says nothing.
    let named = Candidate { speaker: Some("Ann"), ..said(3, "took the red paint") };
    assert_eq!(part(&ranked("Which paint is it?", vec![named]), 3, "role"), 0.0);
}

#[test]
fn short_questions_are_weak_evidence() {
    assert_eq!(order("violin", vec![said(1, "where is the violin?"), said(2, "there is the violin.")]), [2, 1]);
}

#[test]
fn when_and_how_many_want_times_and_numbers() {
    assert_eq!(order("When did it happen?", vec![said(1, "went there with them"), said(2, "went there last Friday")]), [2, 1]);
    assert_eq!(order("How many were there?", vec![said(1, "saw all of them"), said(2, "saw seven of them")]), [2, 1]);
    let hits = ranked("Who was there?", vec![said(1, "saw seven of them last Friday")]);
    assert_eq!((part(&hits, 1, "tells when"), part(&hits, 1, "number")), (0.0, 0.0));
}

#[test]
fn people_tell_of_themselves_and_lay_down_rules() {
    assert_eq!(order("gardens", vec![said(1, "gardens can be nice"), said(2, "my garden is nice")]), [2, 1]);
    assert_eq!(order("recipes", vec![said(1, "wrote down some recipes"), said(2, "Always give recipes in grams")]), [2, 1]);
    let by_assistant = Candidate { role: Some(Role::Assistant), ..said(3, "Always stir the soup") };
    assert_eq!(part(&ranked("soup", vec![by_assistant]), 3, "instruction"), 0.0);
}

#[test]
fn the_present_state_is_the_newest() {
    let items = || vec![said(1, "lives beside the lake"), Candidate { at: at(20), ..said(2, "moved behind the hill") }];
    assert_eq!(order("Where do they currently live?", items()), [2, 1]);
    assert_eq!(part(&ranked("Where did they live?", items()), 2, "recent"), 0.0);
}

#[test]
fn words_around_a_message_count() {
    let conversation = ConversationId::new();
    let placed = |id, text, seq, neighbours| Candidate { place: Some((conversation, Seq(seq))), neighbours, ..said(id, text) };
    let items = vec![
        placed(1, "The violin was stolen in Porto.", 1, (None, Some(2))),
        placed(2, "The thief wore yellow.", 2, (Some(1), None)),
        placed(3, "The singer wore yellow.", 9, (None, None)),
    ];
    let hits = ranked("Who stole the yellow violin in Porto?", items);
    assert!(part(&hits, 2, "coverage") > part(&hits, 3, "coverage"));
}

#[test]
fn neighbouring_words_count() {
    let hits = ranked("the red panda house", vec![said(1, "a red panda lives there"), said(2, "a panda saw something red")]);
    assert!(part(&hits, 1, "pairs") > 0.0 && part(&hits, 2, "pairs") == 0.0);
}

#[test]
fn long_texts_pay_for_their_length() {
    let long = "words of no use ".repeat(200);
    let hits = ranked("zebra", vec![said(1, &long), said(2, "words of no use")]);
    assert!(part(&hits, 1, "length") < -0.1 && part(&hits, 2, "length") == 0.0);
}

#[test]
fn the_newer_version_is_never_dropped() {
    let better = Candidate { channels: Channels { bm25: 1.0, context_bm25: 1.0, dense: 1.0 }, ..said(1, "The gym locker code is 4471") };
    let newer = Candidate { at: at(20), ..said(2, "The gym locker code is now 9020") };
    let mut stale: Vec<Candidate<'_, u32>> = (10..16).map(|i| Candidate { id: i, at: at(i64::from(i) - 10), ..better.clone() }).collect();
    stale.push(newer);
    let ids = order("What is the gym locker code?", stale);
    assert_eq!(ids[..2], [2, 15], "the new value, then one copy of the old one");
}

#[test]
fn equal_scores_put_the_newer_first_and_the_limit_holds() {
    let items: Vec<Candidate<'_, u32>> = (0..9).map(|i| Candidate { at: at(i64::from(i)), ..said(i, "ok then") }).collect();
    let query = RankQuery { limit: 3, ..RankQuery::new("zebra", None) };
    let ids: Vec<u32> = rank(&query, &found(items)).into_iter().map(|h| h.id).collect();
    assert_eq!(ids, [8, 7, 6]);
}

#[test]
fn nothing_found_is_nothing_ranked() {
    assert!(ranked("anything", Vec::new()).is_empty());
    assert!(ranked("", vec![said(1, "words")]).len() == 1);
}

#[test]
fn long_texts_come_back_as_excerpts() {
    let text = format!("{} My niece is called Saoirse. {}", "Some talk about nothing. ".repeat(30), "More of it follows. ".repeat(30));
    let hits = ranked("What is my niece called?", vec![said(1, &text)]);
    let shown = render_excerpt(&text, &hits[0].excerpt);
    assert!(shown.contains("My niece is called Saoirse.") && shown.len() < EXCERPT_BYTES + 30, "{shown}");
}

#[test]
fn a_second_hop_follows_names() {
    let question = "What could I give my niece for her birthday?";
    let query = RankQuery::new(question, None);
    let strong = Channels { bm25: 1.0, context_bm25: 1.0, dense: 1.0 };
    let first = found(vec![Candidate { channels: strong, ..said(1, "My niece Saoirse visits us in June.") }, said(2, "It rained again.")]);
    let hits = rank(&query, &first);
    let next = second_hop_query(&query, &first, &hits).expect("a name");
    assert!(next.contains("Saoirse"), "{next}");

    let second = found(vec![
        Candidate { channels: strong, ..said(3, "Saoirse is mad about axolotls.") },
        Candidate { channels: strong, ..said(1, "My niece Saoirse visits us in June.") },
    ]);
    let hop = rank(&RankQuery::new(&next, None), &second);
    let merged = merge_hops(hits, hop);
    let ids: Vec<u32> = merged.iter().map(|h| h.id).collect();
    assert_eq!(ids, [1, 3, 2], "before what is only average, behind what the question itself has found");
    assert_eq!(merged.iter().map(|h| h.hop).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn what_only_a_name_leads_to_is_not_buried() {
    // Twenty middling hits that the second search does not find.
    let middling: Vec<Candidate<'_, u32>> = (100..120).map(|i| Candidate { at: at(i64::from(i)), ..said(i, "my day was long") }).collect();
    let query = RankQuery::new("What could I give my niece?", None);
    let strong = Channels { bm25: 1.0, context_bm25: 1.0, dense: 1.0 };
    let mut items = vec![Candidate { channels: strong, ..said(1, "My niece Saoirse visits us.") }];
    items.extend(middling);
    let second =
        found(vec![Candidate { channels: Channels { dense: 0.0, ..strong }, role: None, ..said(3, "Saoirse is mad about axolotls.") }]);
    let merged = merge_hops(rank(&query, &found(items)), rank(&RankQuery::new("Saoirse", None), &second));
    let place = merged.iter().position(|h| h.id == 3).expect("merged");
    assert!(place <= 2, "{place}");
    for hit in &merged {
        let sum: f32 = hit.parts.iter().map(|p| p.1).sum();
        assert!((sum - hit.score).abs() < 1e-4, "{:?} is not {}", hit.parts, hit.score);
    }
}

#[test]
fn automatic_recall_brings_what_is_meant_without_the_words() {
    // Noise that shares an idle word; the preference shares nothing but its meaning.
    let noise: Vec<String> = (10..30).map(|i| format!("the order has item{i} and part{i} from shop{i}")).collect();
    let channels = Channels { bm25: 1.0, context_bm25: 0.9, dense: 0.6 };
    let mut items: Vec<Candidate<'_, u32>> =
        (10..30).zip(&noise).map(|(i, text)| Candidate { at: at(i64::from(i)), channels, ..said(i, text) }).collect();
    items.push(Candidate { channels: Channels { bm25: 0.0, context_bm25: 0.0, dense: 1.0 }, ..said(1, "I love pickles") });
    let question = "Please order me a sandwich.";
    let place = |query: &RankQuery<'_>| rank(query, &found(items.clone())).iter().position(|h| h.id == 1).expect("ranked");
    let plain = RankQuery::new(question, None);
    let associative = RankQuery { associative: true, ..plain.clone() };
    assert_eq!((place(&plain), place(&associative)), (20, 2));
    let scores: Vec<f32> = rank(&associative, &found(items.clone())).iter().map(|h| h.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "scores keep the order");
}

#[test]
fn no_second_hop_without_a_name_or_a_rare_word() {
    let query = RankQuery::new("What does Ann like?", None);
    let first = found(vec![Candidate { speaker: Some("Ann"), ..said(1, "I like it") }]);
    assert_eq!(second_hop_query(&query, &first, &rank(&query, &first)), None);
    assert_eq!(second_hop_query(&query, &found(Vec::new()), &[]), None);
}
