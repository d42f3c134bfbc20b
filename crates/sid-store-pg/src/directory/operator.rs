//! Tenants and keys: above every tenant, so reached through functions of the schema alone.

use sid_types::{ApiKey, KeyId, Tenant, TenantId, Timestamp};
use sqlx::postgres::PgRow;

use super::rows::key;
use super::{check_name, taken};
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean, to_json, word};
use crate::error::{Result, missing};

pub(super) async fn create_tenant(store: &PgStore, name: &str) -> Result<Tenant> {
    check_name("tenant", name)?;
    let tenant = Tenant { id: TenantId::new(), name: name.to_owned(), created_at: store.now().await? };
    store
        .call("SELECT sid.make_tenant($1, $2, $3)")
        .bind(tenant.id.uuid())
        .bind(clean(name).into_owned())
        .bind(At(tenant.created_at))
        .fetch_all()
        .await
        .map_err(|e| taken(e, "tenant", name))?;
    Ok(tenant)
}

pub(super) async fn tenants(store: &PgStore) -> Result<Vec<Tenant>> {
    let rows = store.call("SELECT o_id, o_name, o_at FROM sid.all_tenants()").fetch_all().await?;
    rows.iter().map(tenant).collect()
}

pub(super) async fn find_tenant(store: &PgStore, name_or_id: &str) -> Result<Option<Tenant>> {
    let id = name_or_id.parse::<TenantId>().ok();
    let call =
        store.call("SELECT o_id, o_name, o_at FROM sid.find_tenant($1, $2)").bind(id.map(Id::raw)).bind(clean(name_or_id).into_owned());
    call.fetch_optional().await?.as_ref().map(tenant).transpose()
}

fn tenant(row: &PgRow) -> Result<Tenant> {
    Ok(Tenant { id: row.id(0)?, name: row.text(1)?, created_at: row.time(2)? })
}

pub(super) async fn put_key(store: &PgStore, key: ApiKey) -> Result<()> {
    let row = store
        .call("SELECT sid.put_key($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(key.id.uuid())
        .bind(clean(&key.hash).into_owned())
        .bind(clean(&key.name).into_owned())
        .bind(to_json(&key.role)?)
        .bind(key.role.tenant().map(Id::raw))
        .bind(key.role.user().map(Id::raw))
        .bind(key.role.agent().map(Id::raw))
        .bind(word(&key.access)?)
        .bind(key.scopes.as_ref().map(to_json).transpose()?)
        .bind(At(key.created_at))
        .bind(key.expires_at.map(At))
        .bind(key.revoked_at.map(At))
        .fetch_one()
        .await
        .map_err(|e| taken(e, "key", &key.name))?;
    if row.flag(0)? { Ok(()) } else { Err(missing("tenant, user or agent of the key").into()) }
}

const KEY: &str = "SELECT o_id, o_name, o_role, o_hash, o_created, o_expires, o_revoked, o_access, o_scopes FROM sid.known_keys($1, $2)";

pub(super) async fn key_by_hash(store: &PgStore, hash: &str) -> Result<Option<ApiKey>> {
    let row = store.call(KEY).bind(Some(clean(hash).into_owned())).bind(None::<uuid::Uuid>).fetch_optional().await?;
    row.as_ref().map(key).transpose()
}

pub(super) async fn keys(store: &PgStore, tenant: Option<TenantId>) -> Result<Vec<ApiKey>> {
    let rows = store.call(KEY).bind(None::<String>).bind(tenant.map(Id::raw)).fetch_all().await?;
    rows.iter().map(key).collect()
}

pub(super) async fn revoke_key(store: &PgStore, id: KeyId) -> Result<ApiKey> {
    let now = store.now().await?;
    end_key(store, id, None, Some(now)).await
}

pub(super) async fn expire_key(store: &PgStore, id: KeyId, at: Timestamp) -> Result<ApiKey> {
    end_key(store, id, Some(at), None).await
}

async fn end_key(store: &PgStore, id: KeyId, expires: Option<Timestamp>, revoked: Option<Timestamp>) -> Result<ApiKey> {
    let row = store
        .call(
            "SELECT o_id, o_name, o_role, o_hash, o_created, o_expires, o_revoked, o_access, o_scopes
             FROM sid.end_key($1, $2, $3)",
        )
        .bind(id.uuid())
        .bind(expires.map(At))
        .bind(revoked.map(At))
        .fetch_optional()
        .await?;
    key(&row.ok_or(missing("key"))?)
}
