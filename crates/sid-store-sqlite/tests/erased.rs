//! What was erased is gone from the files, not only from what queries find.

mod common;

use std::fs;
use std::path::Path;

use common::{Home, now, open_at, turn};
use sid_store::{ArchivalStore, Directory, EraseTarget, Eraser, NewConversation};
use sid_store_sqlite::SqliteStore;
use sid_types::{ConversationId, NewPassage, Owner, PassageId, Provenance, User, UserId};

/// How often a word stands in the folder's files.
fn count(folder: &Path, word: &str) -> usize {
    let files = fs::read_dir(folder).expect("the folder").map(|entry| fs::read(entry.expect("an entry").path()).expect("read"));
    files.map(|bytes| bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count()).sum()
}

/// Passages of both users in turn, of sizes that make pages split, overflow and be left.
async fn fill(store: &SqliteStore, home: &Home, bob: UserId) {
    let sizes = [5, 40, 200, 1_500, 6_000];
    for step in 0..40 {
        let passages = (0..20).map(|i| {
            let (user, word) = if i % 2 == 0 { (home.user, "rutabaga") } else { (bob, "cucumber") };
            NewPassage {
                id: PassageId::new(),
                owner: Owner::User { user },
                text: format!("{word} {}", "x".repeat(sizes[(step * 7 + i * 3) % sizes.len()])),
                tags: vec![format!("tag-{word}")],
                at: now(),
                provenance: Provenance { conversation: None, run: None, user: Some(user), channel: "api".into(), ..Provenance::default() },
            }
        });
        store.upsert(&home.scope, passages.collect()).await.expect("stored");
    }
}

/// Conversations of both in turn, each with a key of its own: rows that grow, and words in indexes.
async fn talk(store: &SqliteStore, home: &Home, bob: UserId) {
    for i in 0..300 {
        let (user, word) = if i % 2 == 0 { (home.user, "rutabaga") } else { (bob, "cucumber") };
        let new = NewConversation { agent: home.agent, user: Some(user), key: Some(format!("{word}-{:x}", i * 7_919 % 1_000)) };
        let conversation = store.open_conversation(&home.scope, ConversationId::new(), new).await.expect("a conversation").0;
        let said = Home { scope: home.scope, agent: home.agent, user, conversation };
        turn(store, &said, &format!("{word} {}", "y".repeat(i * 37 % 2_000)), &format!("{word}!")).await.expect("a turn");
    }
}

#[tokio::test]
async fn no_byte_of_an_erased_person_stays_in_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    let bob =
        User { id: UserId::new(), handle: "bob".into(), display_name: "Bob".into(), timezone: None, quiet_hours: None, created_at: now() };
    let bob = store.create_user(&home.scope, bob).await.expect("a user").id;
    fill(&store, &home, bob).await;
    talk(&store, &home, bob).await;
    assert!(count(folder.path(), "rutabaga") > 400);
    let receipt = store.erase(&home.scope, EraseTarget::User(home.user)).await.expect("erased");
    assert_eq!(receipt.passages, 400);
    assert_eq!(count(folder.path(), "rutabaga"), 0);
    assert!(count(folder.path(), "cucumber") >= 800, "text and tag of each");
    assert!(store.check().await.expect("checked").is_empty());
    // The store goes on.
    let carl = User {
        id: UserId::new(),
        handle: "carl".into(),
        display_name: "Carl".into(),
        timezone: None,
        quiet_hours: None,
        created_at: now(),
    };
    store.create_user(&home.scope, carl).await.expect("a user");
}
