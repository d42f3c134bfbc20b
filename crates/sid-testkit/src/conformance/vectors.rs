//! Vectors: made in the background, kept per generation.

use std::collections::BTreeSet;

use sid_store::{Candidates, Chunk, EmbedJob, GenerationId, IndexStatus, NewVectors, QueryVector, RecordId, SearchQuery, StoreError};
use sid_types::{NewMessage, NewPassage, Owner, PassageId, Principal, Scope};

use super::World;
use super::world::assert_error;

fn generation(name: &str) -> GenerationId {
    GenerationId(format!("test/{name}"))
}

/// Green things point one way, everything else another.
fn embed(text: &str) -> Vec<f32> {
    if ["cucumber", "gherkin", "green"].iter().any(|w| text.contains(w)) { vec![1.0, 0.0, 0.0] } else { vec![0.0, 1.0, 0.0] }
}

/// A query that no word of fits, with a green vector.
fn green(generation: &GenerationId) -> SearchQuery {
    let vector = Some(QueryVector { generation: generation.clone(), values: vec![1.0, 0.0, 0.0] });
    SearchQuery { vector, ..SearchQuery::new("xyzzy") }
}

async fn search(w: &World, scope: &Scope, query: &SearchQuery) -> Candidates {
    w.store.search(scope, query).await.expect("a search answers")
}

/// Texts with a high dense score.
async fn near(w: &World, scope: &Scope, query: &SearchQuery) -> BTreeSet<String> {
    let found = search(w, scope, query).await;
    found.items.iter().filter(|c| c.channels.dense > 0.9).map(|c| c.record.text().to_owned()).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn vectors_for(job: &EmbedJob, vector: Vec<f32>) -> NewVectors {
    NewVectors { scope: job.scope, record: job.record, chunks: vec![Chunk { start: 0, end: job.text.len(), vector }] }
}

/// Whatever search can find waits for a vector, oldest first, across tenants, with the text to embed and a scope.
pub async fn records_wait_for_vectors_oldest_first(w: World) {
    let g = generation("a");
    assert!(w.store.pending(&g, 10).await.expect("listed").is_empty());
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "one", "two").await;
    w.keep(&w.theirs, Owner::Tenant, "three").await;
    let named = NewMessage { speaker: Some("Melanie".into()), ..NewMessage::user("four", w.now()) };
    w.store.append(&w.ours.scope, talk.id, vec![named]).await.expect("imported");
    let jobs = w.store.pending(&g, 10).await.expect("listed");
    assert_eq!(jobs.iter().map(|j| j.text.as_str()).collect::<Vec<_>>(), ["one", "two", "three", "Melanie: four"]);
    assert_eq!(jobs.iter().map(|j| j.scope.tenant()).collect::<BTreeSet<_>>().len(), 2);
    assert!(matches!(jobs[2].record, RecordId::Passage(_)) && jobs[2].scope.tenant() == w.theirs.tenant.id);
    let first = w.store.pending(&g, 2).await.expect("listed");
    assert_eq!(first, jobs[..2]);
    w.store.put_vectors(&g, vec![vectors_for(&jobs[0], embed("one"))]).await.expect("stored");
    assert_eq!(w.store.pending(&g, 10).await.expect("listed"), jobs[1..]);
}

/// A stored vector is compared; the rest of the index says how far it has come.
pub async fn vectors_are_compared(w: World) {
    let g = generation("a");
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "I like cucumber salad", "and I like bread").await;
    let status = async |owner| w.store.index_status(&w.ours.scope, &g, owner).await.expect("visible");
    assert_eq!(status(None).await, IndexStatus { indexed: 0, pending: 2 });
    assert!(near(&w, &w.ours.scope, &green(&g)).await.is_empty());
    assert_eq!(w.embed_all(&g, embed).await, 2);
    assert_eq!(status(None).await, IndexStatus { indexed: 2, pending: 0 });
    assert_eq!(near(&w, &w.ours.scope, &green(&g)).await, set(&["I like cucumber salad"]));
    let found = search(&w, &w.ours.scope, &green(&g)).await;
    assert!(found.dense.max > 0.9 && found.bm25.max == 0.0);
    assert_eq!(w.embed_all(&g, embed).await, 0);
    w.keep(&w.ours, Owner::Tenant, "green beans").await;
    assert_eq!(status(None).await, IndexStatus { indexed: 2, pending: 1 });
    assert_eq!(status(Some(Owner::Tenant)).await, IndexStatus { indexed: 0, pending: 1 });
    assert_eq!(status(Some(w.ours.pair())).await, IndexStatus { indexed: 2, pending: 0 });
}

/// The status counts what the scope sees, and nothing else.
pub async fn the_status_counts_what_the_scope_sees(w: World) {
    let g = generation("a");
    let (anns, bobs) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    w.turn(&anns, "one", "two").await;
    w.embed_all(&g, embed).await;
    w.turn(&bobs, "three", "four").await;
    let theirs = w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await;
    w.turn_in(&w.theirs, &theirs, "five", "six").await;
    let status = async |scope: Scope| w.store.index_status(&scope, &g, None).await.expect("visible");
    assert_eq!(status(w.ours.scope).await, IndexStatus { indexed: 2, pending: 2 });
    assert_eq!(status(w.ours.as_user(&w.ours.ann)).await, IndexStatus { indexed: 2, pending: 0 });
    assert_eq!(status(w.ours.as_turn(&w.ours.agent, Some(&w.ours.bob))).await, IndexStatus { indexed: 0, pending: 2 });
    assert_eq!(status(w.theirs.scope).await, IndexStatus { indexed: 0, pending: 2 });
    assert_error!(w.store.index_status(&w.ours.as_user(&w.ours.bob), &g, Some(w.ours.pair())).await, StoreError::NotFound { .. });
}

/// Two generations never mix: neither in what waits, nor in what is compared, nor in their dimensions.
pub async fn generations_never_mix(w: World) {
    let (old, new) = (generation("old"), generation("new"));
    w.keep(&w.ours, Owner::Tenant, "cucumber").await;
    w.embed_all(&old, embed).await;
    assert_eq!(w.store.pending(&new, 10).await.expect("listed").len(), 1, "it has no vector in the new generation");
    assert!(near(&w, &w.ours.scope, &green(&new)).await.is_empty());
    // In the new generation green is the second axis, of four.
    w.embed_all(&new, |text| if text.contains("cucumber") { vec![0.0, 1.0, 0.0, 0.0] } else { vec![1.0, 0.0, 0.0, 0.0] }).await;
    let vector = |values: &[f32]| Some(QueryVector { generation: new.clone(), values: values.to_vec() });
    let query = |values: &[f32]| SearchQuery { vector: vector(values), ..SearchQuery::new("xyzzy") };
    assert!(near(&w, &w.ours.scope, &query(&[1.0, 0.0, 0.0, 0.0])).await.is_empty());
    assert_eq!(near(&w, &w.ours.scope, &query(&[0.0, 1.0, 0.0, 0.0])).await, set(&["cucumber"]));
    assert_eq!(near(&w, &w.ours.scope, &green(&old)).await, set(&["cucumber"]), "the old one is as it was");
}

/// Vectors of another length than the generation's are refused, with everything that came with them.
pub async fn vectors_have_their_generations_length(w: World) {
    let g = generation("a");
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "one", "two").await;
    let jobs = w.store.pending(&g, 10).await.expect("listed");
    w.store.put_vectors(&g, vec![vectors_for(&jobs[0], embed("one"))]).await.expect("the first one sets the length");
    w.keep(&w.ours, Owner::Tenant, "three").await;
    let jobs = w.store.pending(&g, 10).await.expect("listed");
    let mixed = vec![vectors_for(&jobs[0], embed("two")), vectors_for(&jobs[1], vec![1.0, 0.0])];
    assert_error!(w.store.put_vectors(&g, mixed).await, StoreError::Invalid(_));
    assert_eq!(w.store.pending(&g, 10).await.expect("listed"), jobs, "none was stored");
    let vector = Some(QueryVector { generation: g.clone(), values: vec![1.0, 0.0] });
    let short = SearchQuery { vector, ..SearchQuery::new("one") };
    assert_error!(w.store.search(&w.ours.scope, &short).await, StoreError::Invalid(_));
}

/// A record that is gone by now is left out in silence, and stays gone.
pub async fn vectors_of_the_gone_are_dropped(w: World) {
    let g = generation("a");
    let id = w.keep(&w.ours, Owner::Tenant, "green tea").await;
    w.keep(&w.ours, Owner::Tenant, "green grass").await;
    let jobs = w.store.pending(&g, 10).await.expect("listed");
    w.store.delete(&w.ours.scope, &[id]).await.expect("deleted");
    let mut vectors: Vec<NewVectors> = jobs.iter().map(|j| vectors_for(j, embed(&j.text))).collect();
    let random = RecordId::Passage(PassageId::new());
    vectors.push(NewVectors { record: random, ..vectors[0].clone() });
    w.store.put_vectors(&g, vectors).await.expect("silent");
    assert_eq!(near(&w, &w.ours.scope, &green(&g)).await, set(&["green grass"]));
    let status = w.store.index_status(&w.ours.scope, &g, None).await.expect("visible");
    assert_eq!(status, IndexStatus { indexed: 1, pending: 0 });
}

/// A deleted record's vector is not compared any more.
pub async fn deleted_vectors_are_not_compared(w: World) {
    let g = generation("a");
    let id = w.keep(&w.ours, Owner::Tenant, "green tea").await;
    w.embed_all(&g, embed).await;
    w.store.delete(&w.ours.scope, &[id]).await.expect("deleted");
    let found = search(&w, &w.ours.scope, &green(&g)).await;
    assert!(found.items.is_empty());
    assert_eq!(w.store.index_status(&w.ours.scope, &g, None).await.expect("visible"), IndexStatus::default());
}

/// Nobody writes vectors into another tenant, whatever the record's id.
pub async fn vectors_stay_in_their_tenant(w: World) {
    let g = generation("a");
    w.keep(&w.ours, Owner::Tenant, "brown bread").await;
    let job = w.store.pending(&g, 1).await.expect("listed").remove(0);
    let forged = NewVectors { scope: w.theirs.scope, ..vectors_for(&job, vec![1.0, 0.0, 0.0]) };
    w.store.put_vectors(&g, vec![forged]).await.expect("silent");
    assert!(near(&w, &w.ours.scope, &green(&g)).await.is_empty());
    assert_eq!(w.store.pending(&g, 10).await.expect("listed").len(), 1, "it still waits for its own");
}

/// A text that cannot be embedded has no chunk, is not asked for again, and is still found by its words.
pub async fn texts_without_a_vector_are_done(w: World) {
    let g = generation("a");
    w.keep(&w.ours, Owner::Tenant, "???? cucumber").await;
    let job = w.store.pending(&g, 1).await.expect("listed").remove(0);
    w.store.put_vectors(&g, vec![NewVectors { scope: job.scope, record: job.record, chunks: vec![] }]).await.expect("stored");
    assert!(w.store.pending(&g, 10).await.expect("listed").is_empty());
    assert!(near(&w, &w.ours.scope, &green(&g)).await.is_empty());
    assert_eq!(w.find(&w.ours.scope, "cucumber").await.len(), 1);
    assert_eq!(w.store.index_status(&w.ours.scope, &g, None).await.expect("visible").pending, 0);
}

/// A replaced text needs a new vector; the old one is not compared any more.
pub async fn a_replaced_text_is_embedded_anew(w: World) {
    let g = generation("a");
    let id = w.keep(&w.ours, Owner::Tenant, "green tea").await;
    w.embed_all(&g, embed).await;
    let new = NewPassage { id, ..w.passage(Owner::Tenant, "black tea") };
    w.store.upsert(&w.ours.scope, vec![new]).await.expect("replaced");
    assert!(near(&w, &w.ours.scope, &green(&g)).await.is_empty());
    let jobs = w.store.pending(&g, 10).await.expect("listed");
    assert_eq!(jobs.iter().map(|j| j.text.as_str()).collect::<Vec<_>>(), ["black tea"]);
}

/// Vectors that are stored again replace the earlier ones.
pub async fn vectors_are_replaced(w: World) {
    let g = generation("a");
    w.keep(&w.ours, Owner::Tenant, "tea").await;
    let job = w.store.pending(&g, 1).await.expect("listed").remove(0);
    for (vector, is_near) in [(vec![1.0, 0.0, 0.0], true), (vec![0.0, 0.0, 1.0], false), (vec![1.0, 0.0, 0.0], true)] {
        w.store.put_vectors(&g, vec![vectors_for(&job, vector)]).await.expect("stored");
        assert_eq!(near(&w, &w.ours.scope, &green(&g)).await.len(), usize::from(is_near));
    }
}

/// Of a long text the best chunk counts, and search says which it was, in bytes of the record's own text.
pub async fn the_best_chunk_is_told(w: World) {
    let g = generation("a");
    let talk = w.talk(&w.ours.ann).await;
    let text = "a long story about bread. and one about a gherkin.";
    let split = text.find("and").expect("there");
    let named = NewMessage { speaker: Some("Ann".into()), ..NewMessage::user(text, w.now()) };
    w.store.append(&w.ours.scope, talk.id, vec![named]).await.expect("imported");
    let job = w.store.pending(&g, 1).await.expect("listed").remove(0);
    let prefix = job.text.len() - text.len();
    let chunk = |start: usize, end: usize| Chunk { start, end, vector: embed(&job.text[start..end]) };
    let chunks = vec![chunk(0, prefix + split), chunk(prefix + split, job.text.len())];
    w.store.put_vectors(&g, vec![NewVectors { scope: job.scope, record: job.record, chunks }]).await.expect("stored");
    let found = search(&w, &w.ours.scope, &green(&g)).await;
    let hit = found.items.iter().find(|c| c.record.text() == text).expect("found by its vector");
    assert!(hit.channels.dense > 0.9);
    let (start, end) = hit.best_chunk.expect("one of two");
    assert_eq!(&text[start..end], "and one about a gherkin.");
}

/// The scope decides who is compared, as it decides who is found by words.
pub async fn vectors_are_compared_within_the_scope(w: World) {
    let g = generation("a");
    let bobs = Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id };
    w.keep(&w.ours, bobs, "bob's cucumber").await;
    w.keep(&w.ours, w.ours.pair(), "ann's cucumber").await;
    w.keep(&w.theirs, Owner::Tenant, "their cucumber").await;
    w.embed_all(&g, embed).await;
    assert_eq!(near(&w, &w.ours.as_user(&w.ours.ann), &green(&g)).await, set(&["ann's cucumber"]));
    assert_eq!(near(&w, &w.ours.as_turn(&w.ours.agent, Some(&w.ours.bob)), &green(&g)).await, set(&["bob's cucumber"]));
    assert_eq!(near(&w, &w.theirs.scope, &green(&g)).await, set(&["their cucumber"]));
}

/// A job's scope sees its record.
pub async fn a_jobs_scope_sees_its_record(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "one", "two").await;
    for owner in
        [Owner::Tenant, Owner::Team { team: w.ours.team.id }, Owner::User { user: w.ours.bob.id }, Owner::Agent { agent: w.ours.agent.id }]
    {
        w.keep(&w.ours, owner, "three").await;
    }
    for job in w.store.pending(&generation("a"), 100).await.expect("listed") {
        match job.record {
            RecordId::Message(id) => drop(w.store.message(&job.scope, id).await.expect("visible")),
            RecordId::Passage(id) => drop(w.store.passage(&job.scope, id).await.expect("visible")),
            RecordId::Diary(_) => {}
        }
        assert!(
            !matches!(job.record, RecordId::Message(_)) || !matches!(job.scope.principal(), Principal::Tenant { .. }),
            "no wider than needed"
        );
    }
}
