//! Points: ids, payloads, and back.

use std::collections::HashMap;

use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{PointStruct, Value};
use sid_store::{PointKey, RecordKind, StoreError, VectorPoint};
use sid_types::{Role, TenantId};
use uuid::Uuid;

use crate::error::strange;

/// The names of a payload's fields.
pub(crate) mod field {
    pub(crate) const TENANT: &str = "tenant";
    pub(crate) const PARTITION: &str = "part";
    pub(crate) const RECORD: &str = "record";
    pub(crate) const CHUNK: &str = "chunk";
    pub(crate) const VERSION: &str = "version";
    pub(crate) const KIND: &str = "kind";
    pub(crate) const CONVERSATION: &str = "conv";
    pub(crate) const SEQ: &str = "seq";
    pub(crate) const ROLE: &str = "role";
    pub(crate) const AT: &str = "at";
    /// What a [`PointKey`](sid_store::PointKey) is read from.
    pub(crate) const KEY: [&str; 5] = [TENANT, PARTITION, RECORD, CHUNK, VERSION];
}

/// The namespace of point ids: never changed, as ids are stored.
const POINTS: Uuid = Uuid::from_u128(0x7d8f_2a54_6c1b_4e39_9a70_51d2_c38e_b604);

pub(crate) const fn kind_number(kind: RecordKind) -> i64 {
    match kind {
        RecordKind::Message => 0,
        RecordKind::Passage => 1,
        RecordKind::Diary => 2,
    }
}

pub(crate) const fn role_number(role: Role) -> i64 {
    match role {
        Role::User => 0,
        Role::Assistant => 1,
        Role::Tool => 2,
        Role::Note => 3,
    }
}

/// The same for the same key, for ever: writing a point again, by whomever and however late, changes nothing.
pub(crate) fn id(key: &PointKey) -> Uuid {
    let mut name = Vec::with_capacity(48);
    name.extend_from_slice(key.tenant.uuid().as_bytes());
    for number in [key.partition, key.record, i64::from(key.chunk), key.version] {
        name.extend_from_slice(&number.to_be_bytes());
    }
    Uuid::new_v5(&POINTS, &name)
}

pub(crate) fn point(point: VectorPoint) -> PointStruct {
    let VectorPoint { key, kind, said, at, vector } = point;
    let mut payload: HashMap<String, Value> = HashMap::with_capacity(10);
    let mut put = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    put(field::TENANT, key.tenant.uuid().to_string().into());
    put(field::PARTITION, key.partition.into());
    put(field::RECORD, key.record.into());
    put(field::CHUNK, i64::from(key.chunk).into());
    put(field::VERSION, key.version.into());
    put(field::KIND, kind_number(kind).into());
    put(field::AT, at.as_microsecond().into());
    if let Some((conversation, seq, role)) = said {
        put(field::CONVERSATION, conversation.uuid().to_string().into());
        put(field::SEQ, i64::try_from(seq.0).unwrap_or(i64::MAX).into());
        put(field::ROLE, role_number(role).into());
    }
    PointStruct { id: Some(id(&key).to_string().into()), payload, vectors: Some(vector.into()) }
}

/// Which vector a point is.
pub(crate) fn key(payload: &HashMap<String, Value>) -> Result<PointKey, StoreError> {
    let number = |name| match payload.get(name).and_then(|v| v.kind.as_ref()) {
        Some(Kind::IntegerValue(number)) => Ok(*number),
        _ => Err(strange(name)),
    };
    let tenant = match payload.get(field::TENANT).and_then(|v| v.kind.as_ref()) {
        Some(Kind::StringValue(text)) => Uuid::parse_str(text).map_err(|_| strange(field::TENANT))?,
        _ => return Err(strange(field::TENANT)),
    };
    Ok(PointKey {
        tenant: TenantId::from_uuid(tenant),
        partition: number(field::PARTITION)?,
        record: number(field::RECORD)?,
        chunk: i32::try_from(number(field::CHUNK)?).map_err(|_| strange(field::CHUNK))?,
        version: number(field::VERSION)?,
    })
}

#[cfg(test)]
mod tests {
    use sid_types::{ConversationId, Seq, Timestamp};

    use super::*;

    fn some_key() -> PointKey {
        PointKey { tenant: TenantId::from_uuid(Uuid::from_u128(7)), partition: 3, record: 44, chunk: 1, version: 52 }
    }

    #[test]
    fn a_key_comes_back_from_its_point() {
        let said = Some((ConversationId::new(), Seq(9), Role::Assistant));
        let made = point(VectorPoint { key: some_key(), kind: RecordKind::Message, said, at: Timestamp::UNIX_EPOCH, vector: vec![1.0] });
        assert_eq!(key(&made.payload).expect("read"), some_key());
        assert!(made.payload.contains_key(field::CONVERSATION) && made.payload.len() == 10);
        let mut strange = made.payload;
        strange.remove(field::VERSION);
        assert!(matches!(key(&strange), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn ids_are_stable_and_differ_with_every_part_of_the_key() {
        // As it is stored: must never change.
        assert_eq!(id(&some_key()).to_string(), "dda03435-9cdc-5acb-a1c1-7b17a15eb4c0");
        let others = [
            PointKey { tenant: TenantId::from_uuid(Uuid::from_u128(8)), ..some_key() },
            PointKey { partition: 4, ..some_key() },
            PointKey { record: 45, ..some_key() },
            PointKey { chunk: 0, ..some_key() },
            PointKey { version: 53, ..some_key() },
        ];
        assert!(others.iter().all(|other| id(other) != id(&some_key())));
    }
}
