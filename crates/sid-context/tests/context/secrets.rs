//! Secrets: sealed where they are, opened for who may, and nowhere else.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sid_context::ContextError;
use sid_context::secrets::{LocalKeys, SecretInfo, SecretValue, Vault};
use sid_store::{EraseTarget, Eraser, ItemChange, ItemFilter, ItemStore, ItemWrite, PageRequest, StoreError, Whose};
use sid_types::{ItemKind, Owner, Scope};

use crate::world::{World, is_hidden};

/// A vault whose current key is called `first`; further keys follow it.
pub(crate) fn vault(world: &World, keys: &str) -> Vault {
    let line = |id: &str| format!("{id}:{}", STANDARD.encode(format!("{id:_<32}")));
    let text: Vec<String> = keys.split(' ').map(line).collect();
    Vault::new(world.context.clone(), Arc::new(LocalKeys::parse(&text.join("\n")).expect("keys")))
}

fn ann(world: &World) -> Owner {
    Owner::User { user: world.ann }
}

pub(crate) async fn put(vault: &Vault, scope: &Scope, name: &str, value: &str) -> SecretInfo {
    let owner = Owner::User { user: scope.user().expect("a user") };
    vault.put(scope, owner, name, "for mail", &SecretValue::new(value.into()), None).await.expect("kept")
}

#[tokio::test]
async fn what_is_kept_is_sealed_and_comes_back() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    put(&vault, &world.as_ann, "mail", "hunter2").await;
    assert_eq!(vault.reveal(&world.in_editor, ann(&world), "mail").await.expect("opened").reveal(), "hunter2");
    let all = ItemFilter { bodies: true, ..ItemFilter::of(Whose::Everybody) };
    let stored = world.store.items(&world.house, &all, PageRequest { after: None, limit: 100 }).await.expect("a list");
    let text = serde_json::to_string(&stored.items.into_iter().map(|seen| seen.item).collect::<Vec<_>>()).expect("JSON");
    assert!(!text.contains("hunter2") && !text.contains(&STANDARD.encode("hunter2")), "{text}");
    let listed = vault.list(&world.on_phone, Whose::User(world.ann)).await.expect("a list");
    assert_eq!(listed.iter().map(|s| (s.name.as_str(), s.description.as_str(), s.version)).collect::<Vec<_>>(), [("mail", "for mail", 1)]);
}

#[tokio::test]
async fn nobody_else_learns_of_it() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    put(&vault, &world.as_ann, "mail", "hunter2").await;
    for stranger in [&world.as_bob, &world.bobs_editor] {
        is_hidden(vault.reveal(stranger, ann(&world), "mail").await);
        is_hidden(vault.delete(stranger, ann(&world), "mail", None).await);
        is_hidden(vault.list(stranger, Whose::User(world.ann)).await);
        is_hidden(vault.put(stranger, ann(&world), "mail", "", &SecretValue::new("x".into()), None).await);
    }
    assert_eq!(vault.reveal(&world.as_ann, ann(&world), "mail").await.expect("opened").reveal(), "hunter2");
}

#[tokio::test]
async fn changes_are_counted_and_checked() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    put(&vault, &world.as_ann, "mail", "one").await;
    assert_eq!(put(&vault, &world.as_ann, "mail", "two").await.version, 2);
    let late = vault.put(&world.as_ann, ann(&world), "mail", "", &SecretValue::new("x".into()), Some(1)).await;
    assert!(matches!(late, Err(ContextError::Store(StoreError::Conflict { expected: 1, found: 2 }))), "{late:?}");
    vault.delete(&world.as_ann, ann(&world), "mail", Some(2)).await.expect("deleted");
    is_hidden(vault.reveal(&world.as_ann, ann(&world), "mail").await);
    let value = SecretValue::new("x".repeat(40_000));
    let large = vault.put(&world.as_ann, ann(&world), "mail", "", &value, None).await;
    assert!(matches!(large, Err(ContextError::Store(StoreError::TooLarge { .. }))), "{large:?}");
    for name in ["", "a b", "a\nb", "ä", "{{secret:x}}"] {
        let odd = vault.put(&world.as_ann, ann(&world), name, "", &SecretValue::new("x".into()), None).await;
        assert!(matches!(odd, Err(ContextError::Invalid(_))), "{name}: {odd:?}");
    }
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_row_only() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    let a = put(&vault, &world.as_ann, "a", "alpha").await;
    let b = put(&vault, &world.as_ann, "b", "beta").await;
    let c = put(&vault, &world.as_bob, "a", "gamma").await;
    let data = async |id| world.store.item(&world.house, id).await.expect("a row").item.data;
    let swap = async |to, data| {
        let change = Box::new(ItemChange { data: Some(data), ..ItemChange::default() });
        world.store.write_items(&world.house, vec![ItemWrite::Change { item: to, expected_version: None, change }]).await.expect("written");
    };
    let own = data(a.id).await;
    for other in [b.id, c.id] {
        swap(a.id, data(other).await).await;
        let opened = vault.reveal(&world.as_ann, ann(&world), "a").await;
        assert!(matches!(opened, Err(ContextError::Sealed(_))), "{opened:?}");
    }
    swap(a.id, own).await;
    assert_eq!(vault.reveal(&world.as_ann, ann(&world), "a").await.expect("opened").reveal(), "alpha");
}

#[tokio::test]
async fn keys_are_rotated_while_values_are_read() {
    let world = World::new().await;
    let old = vault(&world, "one");
    put(&old, &world.as_ann, "mail", "hunter2").await;
    put(&old, &world.as_bob, "mail", "hunter3").await;
    // Both keys are known for a while; the new one seals.
    let both = vault(&world, "two one");
    assert_eq!(both.reveal(&world.as_ann, ann(&world), "mail").await.expect("opened").reveal(), "hunter2");
    let reader = async {
        for _ in 0..200 {
            assert_eq!(both.reveal(&world.as_ann, ann(&world), "mail").await.expect("opened").reveal(), "hunter2");
            tokio::task::yield_now().await;
        }
    };
    let (rewrapped, ()) = tokio::join!(both.rewrap(&world.house), reader);
    assert_eq!(rewrapped.expect("rewrapped"), 2);
    assert_eq!(both.rewrap(&world.house).await.expect("rewrapped"), 0);
    // The old key is no longer needed, and no longer enough.
    assert_eq!(vault(&world, "two").reveal(&world.as_ann, ann(&world), "mail").await.expect("opened").reveal(), "hunter2");
    let closed = old.reveal(&world.as_ann, ann(&world), "mail").await;
    assert!(matches!(closed, Err(ContextError::Sealed(_))), "{closed:?}");
}

#[tokio::test]
async fn erasing_a_person_shreds_the_key() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    let secret = put(&vault, &world.as_ann, "mail", "hunter2").await;
    let ciphertext = world.store.item(&world.house, secret.id).await.expect("a row").item.data;
    let receipt = world.store.erase(&world.house, EraseTarget::User(world.ann)).await.expect("erased");
    assert_eq!(receipt.items, 2);
    let keys = ItemFilter::of(Whose::Everybody).kind(ItemKind::DataKey);
    assert!(world.store.items(&world.house, &keys, PageRequest { after: None, limit: 10 }).await.expect("a list").items.is_empty());
    assert!(ciphertext.contains_key("sealed"), "what a copy would still hold opens with no key that is left");
}

#[tokio::test]
async fn references_are_resolved_where_a_call_leaves_the_house() {
    let world = World::new().await;
    let vault = vault(&world, "one");
    put(&vault, &world.as_ann, "mail", "{{secret:other}}").await;
    let arguments = json!({ "header": ["Bearer {{secret:mail}}!"], "n": 1, "plain": "{{secret:", "nothing": null });
    let resolved = vault.resolve(&world.in_editor, ann(&world), &arguments).await.expect("resolved");
    assert_eq!(resolved, json!({ "header": ["Bearer {{secret:other}}!"], "n": 1, "plain": "{{secret:", "nothing": null }));
    is_hidden(vault.resolve(&world.in_editor, ann(&world), &Value::String("{{secret:none}}".into())).await);
    is_hidden(vault.resolve(&world.bobs_editor, ann(&world), &arguments).await);
}
