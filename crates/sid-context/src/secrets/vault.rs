//! The vault: secrets by name, each of an owner.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sid_store::{ItemChange, ItemFilter, ItemWrite, NewItem, PageRequest, StoreError, Whose};
use sid_types::{Item, ItemId, ItemKind, Owner, Scope, Timestamp};
use uuid::Uuid;

use super::keys::KeyWrapper;
use super::sealed::{DataKey, Sealed, SecretValue};
use crate::error::{ContextError, Result};
use crate::service::{ContextService, by, text_of};

/// Most bytes of a value.
pub const MOST_BYTES: usize = 32_768;
/// Most characters of a name.
const NAME_CHARS: usize = 128;
/// How often a value is put again when somebody else made the secret, or its owner's key, at the same moment.
const PUT_TRIES: u32 = 8;

/// What everybody may know of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its id.
    pub id: ItemId,
    /// Whose it is.
    pub owner: Owner,
    /// Its name, unique for its owner.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Counts changes, from 1.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<Item> for SecretInfo {
    fn from(item: Item) -> Self {
        let Item { id, owner, title, body, version, created_at, updated_at, .. } = item;
        Self { id, owner, name: title, description: body, version, created_at, updated_at }
    }
}

/// Seals, keeps and opens secrets.
#[derive(Clone)]
pub struct Vault {
    context: ContextService,
    keys: Arc<dyn KeyWrapper>,
}

impl Vault {
    /// A vault over the service's store.
    #[must_use]
    pub fn new(context: ContextService, keys: Arc<dyn KeyWrapper>) -> Self {
        Self { context, keys }
    }

    /// Keeps a value under a name, in place of the one that is there. With `expected_version`, only in place of that one; 0 = only if there
    /// is none.
    pub async fn put(
        &self,
        scope: &Scope,
        owner: Owner,
        name: &str,
        description: &str,
        value: &SecretValue,
        expected_version: Option<u64>,
    ) -> Result<SecretInfo> {
        check_name(name)?;
        let size = value.reveal().len();
        if size > MOST_BYTES {
            let (size, limit) = (size as u64, MOST_BYTES as u64);
            return Err(StoreError::TooLarge { what: "secret (bytes)", size, limit }.into());
        }
        // Whoever names no version writes last: two at once must not refuse one of them.
        let mut tries = 0;
        loop {
            match self.put_once(scope, owner, (name, description), value, expected_version).await {
                Err(ContextError::Store(StoreError::Conflict { .. } | StoreError::Exists { .. }))
                    if expected_version.is_none() && tries < PUT_TRIES =>
                {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn put_once(
        &self,
        scope: &Scope,
        owner: Owner,
        (name, description): (&str, &str),
        value: &SecretValue,
        expected_version: Option<u64>,
    ) -> Result<SecretInfo> {
        let id = secret_id(scope, owner, name);
        let key = self.data_key(scope, owner).await?;
        let sealed = key.seal(value.reveal().as_bytes(), &place(scope, owner, id))?;
        let mut data = Map::new();
        sealed.write(&mut data);
        let known = match self.context.items.item(scope, id).await {
            Ok(seen) => Some(seen.item),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let found = known.as_ref().map_or(0, |item| item.version);
        if let Some(expected) = expected_version.filter(|v| *v != found) {
            return Err(StoreError::Conflict { expected, found }.into());
        }
        let write = if known.is_some() {
            let change =
                ItemChange { body: Some(description.into()), data: Some(data), provenance: by(scope, "api"), ..ItemChange::default() };
            ItemWrite::Change { item: id, expected_version, change: Box::new(change) }
        } else {
            let new =
                NewItem { id, body: description.into(), data, provenance: by(scope, "api"), ..NewItem::new(ItemKind::Secret, owner, name) };
            ItemWrite::Make(Box::new(new))
        };
        Ok(self.context.write_one(scope, write).await?.into())
    }

    /// Names and descriptions, never values: the last changed first.
    pub async fn list(&self, scope: &Scope, whose: Whose) -> Result<Vec<SecretInfo>> {
        let filter = ItemFilter { bodies: true, ..ItemFilter::of(whose).kind(ItemKind::Secret) };
        Ok(self.context.all(scope, &filter, 10_000).await?.into_iter().map(|seen| seen.item.into()).collect())
    }

    /// The value. Whoever asks for it must have been allowed to, and it must have been written down who did.
    pub async fn reveal(&self, scope: &Scope, owner: Owner, name: &str) -> Result<SecretValue> {
        let id = secret_id(scope, owner, name);
        let item = self.context.items.item(scope, id).await.map_err(as_secret)?.item;
        self.open(scope, &item).await
    }

    /// Deletes a secret.
    pub async fn delete(&self, scope: &Scope, owner: Owner, name: &str, expected_version: Option<u64>) -> Result<()> {
        let item = secret_id(scope, owner, name);
        self.context.items.write_items(scope, vec![ItemWrite::Delete { item, expected_version }]).await.map_err(as_secret)?;
        Ok(())
    }

    /// Puts values where a text of `arguments` says `{{secret:NAME}}`: for the moment in which a tool's call leaves the house. The result
    /// goes there and nowhere else.
    ///
    /// Errors: `NotFound` (no such secret of this owner).
    pub async fn resolve(&self, scope: &Scope, owner: Owner, arguments: &Value) -> Result<Value> {
        Ok(match arguments {
            Value::String(text) => Value::String(self.resolve_text(scope, owner, text).await?),
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for item in items {
                    resolved.push(Box::pin(self.resolve(scope, owner, item)).await?);
                }
                Value::Array(resolved)
            }
            Value::Object(fields) => {
                let mut resolved = Map::new();
                for (name, value) in fields {
                    resolved.insert(name.clone(), Box::pin(self.resolve(scope, owner, value)).await?);
                }
                Value::Object(resolved)
            }
            plain => plain.clone(),
        })
    }

    async fn resolve_text(&self, scope: &Scope, owner: Owner, text: &str) -> Result<String> {
        const MARK: &str = "{{secret:";
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(MARK) {
            let Some((name, behind)) = after.split_once("}}") else { break };
            resolved.push_str(before);
            // A value that reads like a reference is a value: it is not looked at again.
            resolved.push_str(self.reveal(scope, owner, name.trim()).await?.reveal());
            rest = behind;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// Seals a value for somebody who keeps it elsewhere, with the owner's data key. It opens with the same `what` only.
    pub async fn seal(&self, scope: &Scope, owner: Owner, what: &str, value: &SecretValue) -> Result<Map<String, Value>> {
        let key = self.data_key(scope, owner).await?;
        let mut data = Map::new();
        key.seal(value.reveal().as_bytes(), &place_elsewhere(scope, owner, what))?.write(&mut data);
        Ok(data)
    }

    /// Opens what [`Vault::seal`] has sealed. Errors: `Sealed`.
    pub async fn unseal(&self, scope: &Scope, owner: Owner, what: &str, data: &Map<String, Value>) -> Result<SecretValue> {
        let key = self.context.items.item(scope, key_id(scope, owner)).await;
        let key = key.map_err(|error| match error {
            StoreError::NotFound { .. } => ContextError::Sealed("its data key is gone"),
            other => other.into(),
        })?;
        let key = self.unwrapped(scope, &key.item).await?;
        let plain = key.open(&Sealed::read(data)?, &place_elsewhere(scope, owner, what))?;
        let value = std::str::from_utf8(&plain).map_err(|_| ContextError::Sealed("its record is damaged"))?;
        Ok(SecretValue::new(value.to_owned()))
    }

    /// Seals all of a tenant's data keys with the current key-encryption key; answers how many were sealed anew. For the tenant's application or the operator. Reads
    /// and writes go on meanwhile; when it has answered 0, the older keys may be taken away.
    pub async fn rewrap(&self, house: &Scope) -> Result<u64> {
        let filter = ItemFilter::of(Whose::Everybody).kind(ItemKind::DataKey);
        let mut rewrapped = 0;
        let mut after = None;
        loop {
            let page = self.context.items.items(house, &filter, PageRequest { after, limit: 200 }).await?;
            for item in page.items.into_iter().map(|seen| seen.item) {
                if text_of(&item.data, "kek") != self.keys.current() {
                    let key = self.unwrapped(house, &item).await?;
                    let data = self.wrapped(house, item.owner, item.id, &key).await?;
                    let change = ItemChange { data: Some(data), provenance: by(house, "rotate"), ..ItemChange::default() };
                    let write = ItemWrite::Change { item: item.id, expected_version: Some(item.version), change: Box::new(change) };
                    match self.context.items.write_items(house, vec![write]).await {
                        Ok(_) => rewrapped += 1,
                        // Another process is at it, or its owner was erased.
                        Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(rewrapped);
            }
        }
    }

    async fn open(&self, scope: &Scope, item: &Item) -> Result<SecretValue> {
        let key_item = self.context.items.item(scope, key_id(scope, item.owner)).await;
        let key_item = key_item.map_err(|error| match error {
            StoreError::NotFound { .. } => ContextError::Sealed("its data key is gone"),
            other => other.into(),
        })?;
        let key = self.unwrapped(scope, &key_item.item).await?;
        let plain = key.open(&Sealed::read(&item.data)?, &place(scope, item.owner, item.id))?;
        let value = std::str::from_utf8(&plain).map_err(|_| ContextError::Sealed("its record is damaged"))?;
        Ok(SecretValue::new(value.to_owned()))
    }

    /// The owner's data key, made if there is none.
    async fn data_key(&self, scope: &Scope, owner: Owner) -> Result<DataKey> {
        let id = key_id(scope, owner);
        match self.context.items.item(scope, id).await {
            Ok(seen) => return self.unwrapped(scope, &seen.item).await,
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let key = DataKey::random();
        let data = self.wrapped(scope, owner, id, &key).await?;
        let new = NewItem { id, data, provenance: by(scope, "api"), ..NewItem::new(ItemKind::DataKey, owner, "data key") };
        match self.context.items.write_items(scope, vec![ItemWrite::Make(Box::new(new))]).await {
            Ok(_) => Ok(key),
            // Somebody else has just made it.
            Err(StoreError::Exists { .. }) => self.unwrapped(scope, &self.context.items.item(scope, id).await?.item).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn wrapped(&self, scope: &Scope, owner: Owner, id: ItemId, key: &DataKey) -> Result<Map<String, Value>> {
        let mut data = Map::new();
        data.insert("kek".into(), json!(self.keys.current()));
        self.keys.wrap(key, &place(scope, owner, id)).await?.write(&mut data);
        Ok(data)
    }

    async fn unwrapped(&self, scope: &Scope, item: &Item) -> Result<DataKey> {
        self.keys.unwrap(text_of(&item.data, "kek"), &Sealed::read(&item.data)?, &place(scope, item.owner, item.id)).await
    }
}

/// Where something sealed belongs: it opens nowhere else.
fn place(scope: &Scope, owner: Owner, item: ItemId) -> Vec<u8> {
    let owner = serde_json::to_string(&owner).unwrap_or_default();
    format!("sid/items.data/1\0{}\0{owner}\0{item}", scope.tenant()).into_bytes()
}

/// The same for what is kept elsewhere than in an item.
fn place_elsewhere(scope: &Scope, owner: Owner, what: &str) -> Vec<u8> {
    let owner = serde_json::to_string(&owner).unwrap_or_default();
    format!("sid/elsewhere/1\0{}\0{owner}\0{what}", scope.tenant()).into_bytes()
}

fn derived(scope: &Scope, owner: Owner, what: &str) -> ItemId {
    let owner = serde_json::to_string(&owner).unwrap_or_default();
    ItemId::from_uuid(Uuid::new_v5(&scope.tenant().uuid(), format!("{owner}\0{what}").as_bytes()))
}

/// One secret of a name for each owner: its id says so.
fn secret_id(scope: &Scope, owner: Owner, name: &str) -> ItemId {
    derived(scope, owner, &format!("secret\0{name}"))
}

fn key_id(scope: &Scope, owner: Owner) -> ItemId {
    derived(scope, owner, "data key")
}

fn as_secret(error: StoreError) -> ContextError {
    match error {
        StoreError::NotFound { .. } => StoreError::NotFound { what: "secret" }.into(),
        other => other.into(),
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_fine = (1..=NAME_CHARS).contains(&name.chars().count())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    if is_fine {
        Ok(())
    } else {
        Err(ContextError::Invalid(format!("the name of a secret is 1 to {NAME_CHARS} letters, digits, `-`, `_`, `.` and `/`")))
    }
}
