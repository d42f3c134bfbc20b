use std::collections::HashMap;

use sid_types::{Body, ConversationId, Message, NewMessage, Owner, Role, Seq, Timestamp};

use super::lexical::LONGEST_WALK;
use super::*;
use crate::{ChannelStats, Chunk, GenerationId, QueryVector, RecordId, RecordKinds, SearchQuery, TimeRange};

/// A small generator, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }

    fn text(&mut self, longest: usize) -> String {
        const WORDS: [&str; 16] = [
            "pickle", "train", "garden", "the", "Oslo", "violin", "seven", "bread", "river", "lamp", "fox", "paper", "stone", "cloud",
            "and", "boat",
        ];
        let n = 1 + self.roll(longest);
        // The product of two rolls makes some words common and some rare.
        (0..n).map(|_| WORDS[self.roll(4) * self.roll(4) + self.roll(4)]).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        let v: Vec<f32> = (0..dimensions).map(|_| self.roll(2_001) as f32 / 1_000.0 - 1.0).collect();
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.into_iter().map(|x| x / length).collect()
    }
}

fn generation() -> GenerationId {
    GenerationId("test/1".into())
}

fn messages(dice: &mut Dice, conversations: usize, each: usize) -> Vec<Message> {
    let mut all = Vec::new();
    for _ in 0..conversations {
        let conversation = ConversationId::new();
        for seq in 1..=each as u64 {
            let at = Timestamp::from_second(1_700_000_000 + all.len() as i64 * 3_600).expect("in range");
            let longest = if dice.roll(5) == 0 { 200 } else { 12 };
            let text = dice.text(longest);
            let mut new = if seq % 2 == 0 { NewMessage::assistant(text, at) } else { NewMessage::user(text, at) };
            new.speaker = (dice.roll(2) == 0).then(|| ["Ann", "Bob"][dice.roll(2)].to_owned());
            all.push(new.placed(conversation, Seq(seq), None));
        }
    }
    all
}

fn index_of(messages: &[Message]) -> PartitionIndex {
    let mut index = PartitionIndex::new();
    for m in messages {
        if let Some(d) = Document::of_message(m) {
            index.insert(&d);
        }
    }
    index
}

fn vectors_for(index: &mut PartitionIndex, messages: &[Message], dice: &mut Dice) -> HashMap<RecordId, Vec<Vec<f32>>> {
    let mut all = HashMap::new();
    for m in messages {
        let id = RecordId::Message(m.id);
        let vectors: Vec<Vec<f32>> = (0..1 + dice.roll(3)).map(|_| dice.vector(384)).collect();
        let chunks: Vec<Chunk> =
            vectors.iter().enumerate().map(|(i, v)| Chunk { start: i * 10, end: i * 10 + 10, vector: v.clone() }).collect();
        index.set_vectors(id, &generation(), &chunks);
        all.insert(id, vectors);
    }
    all
}

fn naive_bm25(docs: &[Vec<String>], query: &[String], b: f64) -> Vec<f64> {
    let n = docs.len() as f64;
    let average = docs.iter().map(Vec::len).sum::<usize>() as f64 / n;
    let mut scores = vec![0.0; docs.len()];
    for term in query {
        let df = docs.iter().filter(|d| d.contains(term)).count() as f64;
        let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
        for (score, doc) in scores.iter_mut().zip(docs) {
            let tf = doc.iter().filter(|t| *t == term).count() as f64;
            *score += idf * tf * 2.2 / (tf + 1.2 * (1.0 - b + b * doc.len() as f64 / average));
        }
    }
    scores
}

fn own_terms(m: &Message) -> Vec<String> {
    let mut all = m.speaker.as_deref().map(terms).unwrap_or_default();
    all.extend(terms(m.body.text()));
    all
}

/// Speaker and the last 400 characters, from the next space on.
fn tail_terms(m: &Message) -> Vec<String> {
    let text = m.body.text();
    let chars: Vec<char> = text.chars().collect();
    let tail: String = chars[chars.len().saturating_sub(400)..].iter().collect();
    let tail = if chars.len() > 400 { tail[tail.find(' ').unwrap_or(0)..].to_owned() } else { tail };
    let mut all = m.speaker.as_deref().map(terms).unwrap_or_default();
    all.extend(terms(&tail));
    all
}

fn everything(text: &str) -> SearchQuery {
    SearchQuery { per_channel: 100_000, ..SearchQuery::new(text) }
}

fn agrees_with_naive(messages: &[Message], index: &PartitionIndex, query: &str) {
    let asked = terms(query);
    let own: Vec<Vec<String>> = messages.iter().map(own_terms).collect();
    let context: Vec<Vec<String>> = messages
        .iter()
        .map(|m| {
            let before = messages.iter().filter(|p| p.conversation == m.conversation && p.seq < m.seq).max_by_key(|p| p.seq);
            let mut all = before.map(tail_terms).unwrap_or_default();
            all.extend(own_terms(m));
            all
        })
        .collect();
    let (own, context) = (naive_bm25(&own, &asked, 0.75), naive_bm25(&context, &asked, 0.6));
    let hits = index.search(&everything(query));
    assert_eq!(hits.searched as usize, messages.len());
    let found: HashMap<RecordId, &IndexHit> = hits.items.iter().map(|h| (h.id, h)).collect();
    assert_eq!(found.len(), hits.items.len(), "each record once");
    for (i, m) in messages.iter().enumerate() {
        let (a, b) = found.get(&RecordId::Message(m.id)).map_or((0.0, 0.0), |h| (h.channels.bm25, h.channels.context_bm25));
        assert!((f64::from(a) - own[i]).abs() < 1e-3, "own: {a} is not {}", own[i]);
        assert!((f64::from(b) - context[i]).abs() < 1e-3, "context: {b} is not {}", context[i]);
    }
    let stats = |scores: &[f64], s: ChannelStats| {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        assert!((f64::from(s.mean) - mean).abs() < 1e-3);
        assert!((f64::from(s.max) - scores.iter().copied().fold(0.0, f64::max)).abs() < 1e-3);
    };
    stats(&own, hits.bm25);
    stats(&context, hits.context_bm25);
}

#[test]
fn both_lexical_scores_agree_with_a_naive_bm25() {
    let mut dice = Dice(7);
    for (conversations, each) in [(1, 1), (3, 40), (20, 10)] {
        let messages = messages(&mut dice, conversations, each);
        let index = index_of(&messages);
        for query in ["pickle", "violin violin garden", "the and", "Ann's boat in Oslo", "zebra"] {
            agrees_with_naive(&messages, &index, query);
        }
    }
}

#[test]
fn order_of_insertion_does_not_matter() {
    let mut dice = Dice(11);
    let messages = messages(&mut dice, 4, 30);
    let mut shuffled = messages.clone();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, dice.roll(i + 1));
    }
    agrees_with_naive(&messages, &index_of(&shuffled), "garden violin Bob");
}

#[test]
fn removed_is_never_inserted() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let messages = messages(&mut dice, 6, 60);
        let mut index = index_of(&messages);
        let vectors = vectors_for(&mut index, &messages, &mut dice);
        let mut kept = messages.clone();
        // Enough to compact more than once.
        for _ in 0..200 + dice.roll(100) {
            let gone = kept.remove(dice.roll(kept.len()));
            assert!(index.remove(RecordId::Message(gone.id)));
            assert!(!index.remove(RecordId::Message(gone.id)));
        }
        assert_eq!(index.len(), kept.len());
        agrees_with_naive(&kept, &index, "pickle garden Ann");
        let query = dice.vector(384);
        cosines_agree(&index, &kept, &vectors, &query);
        // And what comes afterwards joins as if nothing had been.
        let late = NewMessage::user("the violin of Oslo", Timestamp::UNIX_EPOCH).placed(kept[0].conversation, Seq(1_000), None);
        index.insert(&Document::of_message(&late).expect("words"));
        kept.push(late);
        agrees_with_naive(&kept, &index, "violin Oslo");
    }
}

#[test]
fn a_conversation_leaves_as_a_whole() {
    let messages = messages(&mut Dice(3), 3, 50);
    let mut index = index_of(&messages);
    assert_eq!(index.remove_conversation(messages[0].conversation), 50);
    assert_eq!(index.remove_conversation(messages[0].conversation), 0);
    agrees_with_naive(&messages[50..], &index, "garden lamp Bob");
}

#[test]
fn an_emptied_index_is_small() {
    let messages = messages(&mut Dice(5), 2, 2_000);
    let mut index = index_of(&messages);
    vectors_for(&mut index, &messages, &mut Dice(6));
    let full = index.bytes();
    for m in &messages {
        index.remove(RecordId::Message(m.id));
    }
    assert!(index.is_empty());
    assert!(index.bytes() * 5 < full, "{} of {full}", index.bytes());
}

fn cosines_agree(index: &PartitionIndex, messages: &[Message], vectors: &HashMap<RecordId, Vec<Vec<f32>>>, query: &[f32]) {
    let exact = |id: RecordId| {
        let cosine = |v: &Vec<f32>| v.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
        vectors[&id].iter().map(cosine).fold(f32::MIN, f32::max)
    };
    let asked = SearchQuery { vector: Some(QueryVector { generation: generation(), values: query.to_vec() }), ..SearchQuery::new("") };
    let hits = index.search(&SearchQuery { per_channel: 20, ..asked.clone() });
    for hit in &hits.items {
        assert!((hit.channels.dense - exact(hit.id)).abs() < 1e-4, "{} is not {}", hit.channels.dense, exact(hit.id));
    }
    let mut all: Vec<(f32, RecordId)> = messages.iter().map(|m| (exact(RecordId::Message(m.id)), RecordId::Message(m.id))).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, id) in &all[..20.min(all.len())] {
        assert!(hits.items.iter().any(|h| h.id == *id), "{id} with {score} is missing");
    }
    let mean = all.iter().map(|(s, _)| s).sum::<f32>() / all.len() as f32;
    assert!((hits.dense.mean - mean).abs() < 2e-3);
    assert!((hits.dense.max - all[0].0).abs() < 1e-4);
}

#[test]
fn the_best_cosines_are_found_and_exact() {
    let mut dice = Dice(13);
    let messages = messages(&mut dice, 5, 300);
    let mut index = index_of(&messages);
    let vectors = vectors_for(&mut index, &messages, &mut dice);
    for _ in 0..10 {
        let query = dice.vector(384);
        cosines_agree(&index, &messages, &vectors, &query);
    }
}

#[test]
fn generations_never_mix() {
    let messages = messages(&mut Dice(1), 1, 10);
    let mut index = index_of(&messages);
    vectors_for(&mut index, &messages, &mut Dice(2));
    let other = QueryVector { generation: GenerationId("other/1".into()), values: Dice(3).vector(384) };
    let hits = index.search(&SearchQuery { vector: Some(other), ..SearchQuery::new("") });
    assert_eq!((hits.items.len(), hits.embedded), (0, 0));
    // Another length is no vector of this generation either.
    index.set_vectors(RecordId::Message(messages[0].id), &generation(), &[Chunk { start: 0, end: 1, vector: vec![1.0; 8] }]);
    assert_eq!(index.embedded(&generation()), 9);
    index.drop_generation(&generation());
    assert!(!index.has_vectors(RecordId::Message(messages[1].id), &generation()));
}

#[test]
fn a_chunk_is_a_range_of_the_text_without_its_speaker() {
    let mut new = NewMessage::user("First sentence. Second sentence.", Timestamp::UNIX_EPOCH);
    new.speaker = Some("Caroline".into());
    let message = new.placed(ConversationId::new(), Seq(1), None);
    let embedded = embedded_text_of_message(&message);
    assert_eq!(embedded, "Caroline: First sentence. Second sentence.");
    let mut index = index_of(std::slice::from_ref(&message));
    let second = embedded.find("Second").expect("there");
    let chunks =
        [Chunk { start: 0, end: second - 1, vector: vec![1.0, 0.0] }, Chunk { start: second, end: embedded.len(), vector: vec![0.0, 1.0] }];
    index.set_vectors(RecordId::Message(message.id), &generation(), &chunks);
    let vector = Some(QueryVector { generation: generation(), values: vec![0.0, 1.0] });
    let hit = index.search(&SearchQuery { vector, ..SearchQuery::new("") }).items[0];
    let (start, end) = hit.best_chunk.expect("several chunks");
    assert_eq!(&message.body.text()[start..end], "Second sentence.");
}

#[test]
fn filters_hold() {
    let messages = messages(&mut Dice(17), 3, 40);
    let index = index_of(&messages);
    let ids = |query: SearchQuery| -> Vec<RecordId> { index.search(&query).items.iter().map(|h| h.id).collect() };
    let base = || everything("pickle garden violin train fox river Ann Bob");
    let of = |id: &RecordId| messages.iter().find(|m| RecordId::Message(m.id) == *id).expect("known");
    let conversation = messages[50].conversation;
    let found = ids(SearchQuery { conversation: Some(conversation), ..base() });
    assert!(!found.is_empty() && found.iter().all(|id| of(id).conversation == conversation));
    let found = ids(SearchQuery { role: Some(Role::Assistant), ..base() });
    assert!(!found.is_empty() && found.iter().all(|id| of(id).body.role() == Role::Assistant));
    let within = TimeRange { from: messages[10].at, to: messages[20].at };
    let found = ids(SearchQuery { within: Some(within), ..base() });
    assert!(!found.is_empty() && found.iter().all(|id| within.contains(of(id).at)));
    let found = ids(SearchQuery { in_prompt: Some((conversation, Seq(5))), ..base() });
    assert!(found.iter().all(|id| of(id).conversation != conversation || of(id).seq < Seq(5)));
    assert!(found.iter().any(|id| of(id).conversation == conversation));
    assert!(ids(SearchQuery { kinds: RecordKinds::PASSAGES, ..base() }).is_empty());
    let foreign = SearchQuery { conversation: Some(ConversationId::new()), ..base() };
    assert_eq!(index.search(&foreign), IndexHits::default());
}

#[test]
fn named_times_are_found_without_a_word_in_common() {
    let messages = messages(&mut Dice(19), 1, 100);
    let index = index_of(&messages);
    let named = TimeRange { from: messages[40].at, to: messages[43].at };
    let hits = index.search(&SearchQuery { named_times: vec![named], ..SearchQuery::new("zebra") });
    let mut found: Vec<RecordId> = hits.items.iter().map(|h| h.id).collect();
    found.sort();
    let mut expected: Vec<RecordId> = messages[40..43].iter().map(|m| RecordId::Message(m.id)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_best_bring_their_neighbours() {
    let conversation = ConversationId::new();
    let texts = ["What did you buy?", "A violin.", "Nice!", "Something else.", "Entirely else."];
    let messages: Vec<Message> = texts
        .iter()
        .enumerate()
        .map(|(i, t)| NewMessage::user(*t, Timestamp::UNIX_EPOCH).placed(conversation, Seq(i as u64 * 2 + 1), None))
        .collect();
    let index = index_of(&messages);
    let hits = index.search(&SearchQuery { per_channel: 1, ..SearchQuery::new("violin") });
    let found = |i: usize| hits.items.iter().find(|h| h.id == RecordId::Message(messages[i].id));
    assert!(found(0).is_some() && found(2).is_some() && found(4).is_none());
    let id = |i: usize| Some(RecordId::Message(messages[i].id));
    assert_eq!(found(1).expect("the hit").neighbours, (id(0), id(2)));
    assert_eq!(found(0).expect("its neighbour").neighbours, (None, id(1)));
}

#[test]
fn a_replaced_record_has_its_new_words_only() {
    let conversation = ConversationId::new();
    let mut message = NewMessage::user("pickles", Timestamp::UNIX_EPOCH).placed(conversation, Seq(1), None);
    let mut index = index_of(std::slice::from_ref(&message));
    message.body = Body::User { text: "violins".into() };
    index.insert(&Document::of_message(&message).expect("words"));
    assert_eq!(index.len(), 1);
    assert!(index.search(&SearchQuery::new("pickle")).items.is_empty());
    assert_eq!(index.search(&SearchQuery::new("violin")).items.len(), 1);
}

#[test]
fn a_word_that_is_everywhere_costs_a_bounded_walk() {
    let conversation = ConversationId::new();
    let mut index = PartitionIndex::new();
    let count = LONGEST_WALK as u64 + 5_000;
    for seq in 1..=count {
        let text = if seq == 3 { "common needle" } else { "common straw" };
        let message = NewMessage::user(text, Timestamp::UNIX_EPOCH).placed(conversation, Seq(seq), None);
        index.insert(&Document::of_message(&message).expect("words"));
    }
    let hits = index.search(&SearchQuery { per_channel: count as usize, ..SearchQuery::new("common") });
    assert_eq!(hits.searched, count);
    assert!(hits.items.len() <= LONGEST_WALK + 2, "only the newest part was walked: {}", hits.items.len());
    // Rare words are found wherever they stand.
    let hits = index.search(&SearchQuery { per_channel: 5, ..SearchQuery::new("common needle") });
    assert!(hits.items[0].channels.bm25 > 5.0);
}

#[test]
fn partitions_are_merged_by_weight() {
    let hits = |searched, embedded, mean, max| IndexHits {
        searched,
        embedded,
        bm25: ChannelStats { mean, max },
        dense: ChannelStats { mean, max },
        ..IndexHits::default()
    };
    let merged =
        merge(vec![(Owner::Tenant, hits(30, 0, 1.0, 4.0)), (Owner::Tenant, hits(10, 5, 3.0, 3.5)), (Owner::Tenant, hits(0, 0, 0.0, 0.0))]);
    assert_eq!(merged.searched, 40);
    assert_eq!(merged.bm25, ChannelStats { mean: 1.5, max: 4.0 });
    assert_eq!(merged.dense, ChannelStats { mean: 3.0, max: 3.5 });
}

#[test]
fn terms_table() {
    let check = |text: &str, expected: &[&str]| assert_eq!(terms(text), expected, "{text}");
    check("", &[]);
    check("The and of", &[]);
    check("Don't it's I'm", &[]);
    check("You're ill, aren't you? Let's go", &["ill", "go"]);
    check("RUNNING runs runner", &["run", "run", "runner"]);
    check("Caroline’s café, Zürich", &["carolin", "cafe", "zurich"]);
    check("cafe\u{301}", &["cafe"]);
    check("user_id=42; v0.6.2", &["user", "id", "42", "v0", "6", "2"]);
    check("'quoted' words'", &["quot", "word"]);
    check("私は猫が好き", &["私は", "は猫", "猫が", "が好", "好き"]);
    check("猫 cat", &["猫", "cat"]);
    check("cat猫", &["cat", "猫"]);
    check("안녕하세요", &["안녕", "녕하", "하세", "세요"]);
    check("Привет мир", &["привет", "мир"]);
    check(&"x".repeat(500), &[&"x".repeat(40)]);
}
