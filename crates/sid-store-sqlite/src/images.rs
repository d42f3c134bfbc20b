//! `ImageStore`: a row for each image, its bytes in it.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{
    ImageCaps, ImageStore, NO_IMAGE, Page, PageRequest, PairFilter, Right, StoreError, check_image, image_day, may_change_timers,
    may_drop_images, too_many_images,
};
use sid_types::{ConversationId, Image, ImageId, Scope};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::directory::find_user;
use crate::error::{Fault, Result, missing};
use crate::listed::listed;
use crate::visibility::{Conv, Viewer};
use crate::writer::Tx;

async fn find(conn: &mut SqliteConnection, tenant: i64, image: ImageId) -> Result<Option<Image>> {
    let row =
        sqlx::query("SELECT doc FROM images WHERE tenant = ? AND id = ?").bind(tenant).bind(image.blob()).fetch_optional(conn).await?;
    row.map(|row| row.json(0)).transpose()
}

async fn seen(conn: &mut SqliteConnection, viewer: &Viewer, image: ImageId) -> Result<Image> {
    let found = find(conn, viewer.tenant, image).await?;
    Ok(found.filter(|i| Right::to_conversation(&viewer.scope, i.agent, i.user)).ok_or(NO_IMAGE)?)
}

async fn put(tx: &mut Tx, viewer: Viewer, image: Image, bytes: Vec<u8>) -> Result<Image> {
    let conv = Conv::get(&mut tx.conn, &viewer, image.conversation).await?;
    if !may_change_timers(&viewer.scope, conv.agent, conv.user) {
        return Err(missing("conversation").into());
    }
    if let Some(known) = find(&mut tx.conn, viewer.tenant, image.id).await? {
        let is_own = known.conversation == image.conversation;
        return if is_own { Ok(known) } else { Err(StoreError::Exists { what: "image", name: image.id.to_string() }.into()) };
    }
    let image = Image { agent: conv.agent, user: conv.user, bytes: bytes.len() as u64, created_at: tx.now, ..image };
    sqlx::query("INSERT INTO images (tenant, id, agent, user, conv, created_at, doc, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(viewer.tenant)
        .bind(image.id.blob())
        .bind(image.agent.blob())
        .bind(image.user.map(Id::blob))
        .bind(image.conversation.blob())
        .bind(nanos(image.created_at))
        .bind(to_json(&image)?)
        .bind(bytes)
        .execute(&mut tx.conn)
        .await?;
    Ok(image)
}

async fn count(tx: &mut Tx, viewer: Viewer, images: i64, caps: ImageCaps) -> Result<()> {
    if viewer.tenant < 0 {
        return Err(missing("tenant").into());
    }
    let user = viewer.scope.user();
    if let Some(user) = user {
        find_user(&mut tx.conn, viewer.tenant, user).await?.ok_or(missing("user"))?;
    }
    let whose = [(Vec::new(), caps.tenant, "the tenant")].into_iter().chain(user.map(|u| (u.blob(), caps.user, "the user")));
    let day = image_day(tx.now);
    let mut counted = Vec::new();
    for (who, most, named) in whose {
        let query = sqlx::query("SELECT used FROM image_use WHERE tenant = ? AND who = ? AND day = ?");
        let row = query.bind(viewer.tenant).bind(who.clone()).bind(day).fetch_optional(&mut tx.conn).await?;
        let used = row.map_or(Ok(0), |row| row.int(0))?.saturating_add(images).max(0);
        if images > 0 && used.cast_unsigned() > most {
            return Err(too_many_images(most, named).into());
        }
        counted.push((who, used));
    }
    for (who, used) in counted {
        sqlx::query("INSERT OR REPLACE INTO image_use (tenant, who, day, used) VALUES (?, ?, ?, ?)")
            .bind(viewer.tenant)
            .bind(who)
            .bind(day)
            .bind(used)
            .execute(&mut tx.conn)
            .await?;
    }
    Ok(())
}

/// Images of a conversation that is erased.
pub(crate) async fn erase(tx: &mut Tx, tenant: i64, conversation: ConversationId) -> Result<()> {
    let query = sqlx::query("DELETE FROM images WHERE tenant = ? AND conv = ?");
    query.bind(tenant).bind(conversation.blob()).execute(&mut tx.conn).await?;
    Ok(())
}

#[async_trait]
impl ImageStore for SqliteStore {
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError> {
        check_image(&image, &bytes)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| put(tx, viewer, image, bytes).boxed()).await
    }

    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(seen(&mut *self.reader().await?, &viewer, image).await?)
    }

    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        seen(&mut conn, &viewer, image).await?;
        let query = sqlx::query("SELECT bytes FROM images WHERE tenant = ? AND id = ?").bind(viewer.tenant).bind(image.blob());
        let row = query.fetch_optional(&mut *conn).await.map_err(Fault::Sql)?.ok_or(NO_IMAGE)?;
        Ok(row.bytes(0)?)
    }

    async fn images(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Image>, StoreError> {
        Ok(listed(self, scope, "images", filter, &page, |i: &Image| (i.created_at, i.id)).await?)
    }

    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let found = find(&mut tx.conn, viewer.tenant, image).await?;
                found.filter(|i| may_drop_images(&viewer.scope, i.agent, i.user)).ok_or(NO_IMAGE)?;
                let query = sqlx::query("DELETE FROM images WHERE tenant = ? AND id = ?");
                query.bind(viewer.tenant).bind(image.blob()).execute(&mut tx.conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| count(tx, viewer, images, caps).boxed()).await
    }
}
