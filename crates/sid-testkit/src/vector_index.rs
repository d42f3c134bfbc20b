//! The contract of [`VectorIndex`] as one check that every index passes.

use std::collections::BTreeSet;

use sid_store::{
    GenerationId, PointFilter, PointKey, QueryVector, RecordKind, RecordKinds, SearchQuery, StoreError, TimeRange, VectorIndex,
    VectorPoint, VectorQuery,
};
use sid_types::{ConversationId, Role, Seq, TenantId, Timestamp};

/// A point on the unit circle: the nearer its angle to 0, the nearer it is to [`query`].
fn at_angle(degrees: f32) -> Vec<f32> {
    let radians = degrees.to_radians();
    vec![radians.cos(), radians.sin(), 0.0]
}

fn time(minute: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + minute * 60).expect("a time")
}

fn query(generation: &GenerationId) -> SearchQuery {
    let vector = Some(QueryVector { generation: generation.clone(), values: at_angle(0.0) });
    SearchQuery { vector, ..SearchQuery::new("") }
}

struct Room<'i> {
    index: &'i dyn VectorIndex,
    generation: GenerationId,
    tenant: TenantId,
}

impl Room<'_> {
    fn key(&self, partition: i64, record: i64) -> PointKey {
        PointKey { tenant: self.tenant, partition, record, chunk: 0, version: record }
    }

    fn message(&self, partition: i64, record: i64, said: (ConversationId, u64, Role), degrees: f32) -> VectorPoint {
        let said = Some((said.0, Seq(said.1), said.2));
        let key = self.key(partition, record);
        VectorPoint { key, kind: RecordKind::Message, said, at: time(record), vector: at_angle(degrees) }
    }

    fn passage(&self, partition: i64, record: i64, degrees: f32) -> VectorPoint {
        let key = self.key(partition, record);
        VectorPoint { key, kind: RecordKind::Passage, said: None, at: time(record), vector: at_angle(degrees) }
    }

    /// Records that are found, best first.
    async fn found(&self, partitions: &[i64], query: &SearchQuery, limit: usize) -> Vec<i64> {
        let asked = VectorQuery { tenant: self.tenant, partitions, query, limit };
        let hits = self.index.search(&self.generation, &asked).await.expect("a search answers");
        assert!(hits.windows(2).all(|two| two[0].score >= two[1].score), "best first: {hits:?}");
        assert!(hits.iter().all(|hit| hit.key.tenant == self.tenant && partitions.contains(&hit.key.partition)), "{hits:?}");
        hits.iter().map(|hit| hit.key.record).collect()
    }

    async fn count(&self, which: &PointFilter) -> u64 {
        self.index.count(&self.generation, which).await.expect("a count")
    }

    async fn keys(&self, which: &PointFilter) -> BTreeSet<PointKey> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.index.scroll(&self.generation, which, after, 2).await.expect("a page");
            keys.extend(page.keys);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let each: BTreeSet<PointKey> = keys.iter().copied().collect();
        assert_eq!(each.len(), keys.len(), "each point once");
        each
    }
}

/// Checks the whole contract on an index, in generations of its own.
///
/// # Panics
/// When the index breaks it.
pub async fn check(index: &dyn VectorIndex) {
    index.health().await.expect("it answers");
    let generation = GenerationId(format!("check/{}/3", uuid::Uuid::now_v7().simple()));
    let room = Room { index, generation: generation.clone(), tenant: TenantId::new() };
    generations(&room).await;
    searches(&room).await;
    removals(&room).await;
    index.drop_generation(&generation).await.expect("dropped");
    assert_eq!(index.dimensions(&generation).await.expect("told"), None);
    index.drop_generation(&generation).await.expect("nothing to drop is no error");
}

async fn generations(room: &Room<'_>) {
    let Room { index, generation, tenant } = room;
    assert_eq!(index.dimensions(generation).await.expect("told"), None);
    let query = query(generation);
    let asked = VectorQuery { tenant: *tenant, partitions: &[1], query: &query, limit: 5 };
    assert!(matches!(index.search(generation, &asked).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(index.upsert(generation, vec![room.passage(1, 1, 0.0)]).await, Err(StoreError::NotFound { .. })));
    index.make_generation(generation, 3).await.expect("made");
    index.make_generation(generation, 3).await.expect("it is there");
    assert!(matches!(index.make_generation(generation, 4).await, Err(StoreError::Invalid(_))));
    assert_eq!(index.dimensions(generation).await.expect("told"), Some(3));
    let short = VectorPoint { vector: vec![1.0, 0.0], ..room.passage(1, 1, 0.0) };
    assert!(matches!(index.upsert(generation, vec![short]).await, Err(StoreError::Invalid(_))));
    assert!(room.found(&[1], &query, 5).await.is_empty());
}

async fn searches(room: &Room<'_>) {
    let (ours, theirs) = (ConversationId::new(), ConversationId::new());
    let foreign = Room { index: room.index, generation: room.generation.clone(), tenant: TenantId::new() };
    let points = vec![
        room.message(1, 4, (ours, 1, Role::User), 10.0),
        room.message(1, 8, (ours, 2, Role::Assistant), 20.0),
        room.message(1, 12, (theirs, 1, Role::User), 30.0),
        room.passage(1, 17, 40.0),
        room.passage(2, 21, 5.0),
        foreign.passage(1, 25, 0.0),
    ];
    for _ in 0..2 {
        // The second time changes nothing.
        room.index.upsert(&room.generation, points.clone()).await.expect("stored");
        assert_eq!(room.count(&PointFilter::partition(room.tenant, 1)).await, 4);
    }
    let all = query(&room.generation);
    assert_eq!(room.found(&[1], &all, 10).await, [4, 8, 12, 17]);
    assert_eq!(room.found(&[1, 2], &all, 10).await, [21, 4, 8, 12, 17]);
    assert_eq!(room.found(&[1, 2], &all, 2).await, [21, 4]);
    assert_eq!(foreign.found(&[1, 2], &all, 10).await, [25]);
    assert!(room.found(&[3], &all, 10).await.is_empty());
    let with = |change: &dyn Fn(&mut SearchQuery)| {
        let mut query = all.clone();
        change(&mut query);
        query
    };
    assert_eq!(room.found(&[1], &with(&|q| q.kinds = RecordKinds::PASSAGES), 10).await, [17]);
    assert_eq!(room.found(&[1], &with(&|q| q.kinds = RecordKinds::MESSAGES), 10).await, [4, 8, 12]);
    assert_eq!(room.found(&[1], &with(&|q| q.conversation = Some(ours)), 10).await, [4, 8]);
    assert_eq!(room.found(&[1], &with(&|q| q.role = Some(Role::User)), 10).await, [4, 12]);
    assert_eq!(room.found(&[1], &with(&|q| q.within = Some(TimeRange { from: time(8), to: time(17) })), 10).await, [8, 12]);
    assert_eq!(room.found(&[1], &with(&|q| q.in_prompt = Some((ours, Seq(2)))), 10).await, [4, 12, 17]);
}

async fn removals(room: &Room<'_>) {
    let Room { index, generation, tenant } = room;
    let of = |partition| PointFilter::partition(*tenant, partition);
    let all: BTreeSet<PointKey> = [4, 8, 12, 17].map(|record| room.key(1, record)).into();
    assert_eq!(room.keys(&of(1)).await, all);
    let again = VectorPoint { key: PointKey { version: 99, ..room.key(1, 17) }, ..room.passage(1, 17, 50.0) };
    index.upsert(generation, vec![again.clone()]).await.expect("another version is another point");
    let older = PointFilter { records: Some(vec![17, 12_345]), before: Some(99), ..of(1) };
    assert_eq!(room.count(&older).await, 1);
    index.delete(generation, &older).await.expect("deleted");
    assert_eq!(room.keys(&of(1)).await.into_iter().filter(|key| key.record == 17).collect::<Vec<_>>(), [again.key]);
    let conversation = room.found(&[1], &query(generation), 1).await;
    assert_eq!(conversation, [4]);
    index.delete(generation, &PointFilter { records: Some(vec![4]), ..of(1) }).await.expect("deleted");
    assert_eq!(room.found(&[1], &query(generation), 1).await, [8]);
    index.delete(generation, &of(1)).await.expect("deleted");
    assert_eq!((room.count(&of(1)).await, room.count(&of(2)).await), (0, 1));
    index.delete(generation, &of(1)).await.expect("nothing to delete is no error");
    let talk = ConversationId::new();
    index.upsert(generation, vec![room.message(1, 28, (talk, 1, Role::User), 0.0), room.passage(1, 33, 0.0)]).await.expect("stored");
    let said = PointFilter { conversation: Some(talk), ..of(1) };
    index.delete(generation, &said).await.expect("deleted");
    assert_eq!((room.count(&said).await, room.count(&of(1)).await), (0, 1));
}
