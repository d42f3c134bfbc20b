use sid_store::index::{Document, WordStatistics};
use sid_store::{Record, RecordId, SearchQuery};
use sid_types::{ConversationId, Message, NewMessage, Seq, Timestamp};

use super::{IndexChange, Partitions, Shelf};

fn message(seq: u64, text: &str) -> Message {
    NewMessage::user(text, Timestamp::UNIX_EPOCH).placed(ConversationId::from_uuid(uuid::Uuid::nil()), Seq(seq), None)
}

fn put(rid: i64, message: &Message) -> IndexChange {
    IndexChange::Put { rid, record: Box::new(Record::Message(message.clone())) }
}

fn shelf_of(messages: &[(i64, &Message)]) -> Shelf {
    let mut shelf = Shelf::default();
    for (rid, message) in messages {
        let document = Document::of_message(message).expect("searchable");
        shelf.index.insert(&document);
        shelf.order.push_back((*rid, document.id));
    }
    shelf
}

async fn found(partitions: &Partitions, part: i64, word: &str) -> usize {
    let (entry, _) = partitions.get(part);
    let looked = entry.search(&SearchQuery::new(word), WordStatistics::default(), 100).await.expect("a look");
    looked.items.iter().filter(|h| h.channels.bm25 > 0.0).count()
}

#[tokio::test]
async fn what_is_committed_while_a_partition_loads_is_found() {
    let partitions = Partitions::new(usize::MAX);
    let (early, late) = (message(1, "pickled gherkins"), message(2, "a gherkin"));
    let (entry, is_mine) = partitions.get(7);
    assert!(is_mine);
    // One that the loader reads as well, one that it does not.
    partitions.note(7, put(4, &early));
    partitions.note(7, put(8, &late));
    entry.finish(shelf_of(&[(4, &early)]));
    assert_eq!(found(&partitions, 7, "gherkins").await, 2);
    partitions.note(7, IndexChange::Remove(RecordId::Message(late.id)));
    assert_eq!(found(&partitions, 7, "gherkins").await, 1);
}

#[tokio::test]
async fn the_oldest_leave_memory_when_it_is_full() {
    let partitions = Partitions::new(usize::MAX);
    let (entry, _) = partitions.get(1);
    entry.finish(Shelf::default());
    for i in 0..300_i64 {
        partitions.note(1, put(i * 4, &message(i as u64 + 1, &format!("word{i} gherkins"))));
    }
    let looked = entry.search(&SearchQuery::new("gherkins"), WordStatistics::default(), 100).await.expect("a look");
    assert!((100..=107).contains(&looked.searched), "{}", looked.searched);
    assert!(entry.lowest() >= 4 * (300 - 107) && entry.lowest() <= 4 * 200, "{}", entry.lowest());
    assert_eq!(found(&partitions, 1, "word299").await, 1);
    assert_eq!(found(&partitions, 1, "word5").await, 0);
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let partitions = Partitions::new(1);
    for part in 1..=3 {
        let (entry, _) = partitions.get(part);
        entry.finish(shelf_of(&[(4, &message(1, "pickled gherkins"))]));
    }
    partitions.fit(2);
    assert_eq!(partitions.len(), 1, "only the one in use stays");
    assert!(!partitions.get(2).1);
    assert!(partitions.get(1).1, "dropped, to be loaded again");
}

#[tokio::test]
async fn a_passage_that_is_replaced_while_its_partition_loads_stays() {
    let passage = |text: &str| sid_types::Passage {
        id: sid_types::PassageId::from_uuid(uuid::Uuid::nil()),
        owner: sid_types::Owner::Tenant,
        text: text.into(),
        tags: Vec::new(),
        at: Timestamp::UNIX_EPOCH,
        provenance: sid_types::Provenance::default(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let partitions = Partitions::new(usize::MAX);
    let new = passage("pickled gherkins");
    let (entry, _) = partitions.get(7);
    partitions.note(7, IndexChange::Remove(RecordId::Passage(new.id)));
    partitions.note(7, IndexChange::Put { rid: 9, record: Box::new(Record::Passage(new.clone())) });
    // The loader has read the new row already.
    let mut shelf = Shelf::default();
    shelf.index.insert(&Document::of_passage(&new));
    shelf.order.push_back((9, RecordId::Passage(new.id)));
    entry.finish(shelf);
    assert_eq!(found(&partitions, 7, "gherkins").await, 1);
}
