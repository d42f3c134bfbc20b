//! `ImageStore`: a row for each image, its bytes in it.

use async_trait::async_trait;
use sid_store::{
    ImageCaps, ImageStore, NO_IMAGE, Page, PageRequest, PairFilter, Right, StoreError, check_image, image_day, may_change_timers,
    may_drop_images, too_many_images,
};
use sid_types::{Image, ImageId, Scope};
use sqlx::Row as _;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, to_json};
use crate::directory::find_user;
use crate::error::{Fault, Result, missing};
use crate::listed::listed;
use crate::rows::Conv;
use crate::tx::Tx;
use crate::visibility::Viewer;

async fn find(tx: &mut Tx, image: ImageId) -> Result<Option<Image>> {
    let query = tx.query("SELECT doc FROM sid.images WHERE tenant = $1 AND id = $2");
    let row = query.bind(tx.tenant).bind(image.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(|row| row.json(0)).transpose()
}

async fn put(tx: &mut Tx, viewer: &Viewer, image: Image, bytes: Vec<u8>) -> Result<Image> {
    let conv = Conv::get(tx, viewer, image.conversation).await?;
    if !may_change_timers(&viewer.scope, conv.agent, conv.user) {
        return Err(missing("conversation").into());
    }
    // Whoever erases it waits, or has erased it before: then there is no row to hold.
    let query = tx.query("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR KEY SHARE");
    query.bind(tx.tenant).bind(conv.id.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("conversation"))?;
    let image = Image { agent: conv.agent, user: conv.user, bytes: bytes.len() as u64, created_at: tx.now, ..image };
    let query = tx.query(
        "INSERT INTO sid.images (tenant, id, agent_id, user_id, conv, created_at, doc, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant, id) DO NOTHING",
    );
    let query = query.bind(tx.tenant).bind(image.id.uuid()).bind(image.agent.uuid()).bind(image.user.map(Id::raw));
    let query = query.bind(image.conversation.uuid()).bind(At(image.created_at)).bind(to_json(&image)?);
    if query.bind(bytes).execute(tx.conn()).await?.rows_affected() == 1 {
        return Ok(image);
    }
    let known = find(tx, image.id).await?.ok_or(NO_IMAGE)?;
    let is_own = known.conversation == image.conversation;
    if is_own { Ok(known) } else { Err(StoreError::Exists { what: "image", name: image.id.to_string() }.into()) }
}

async fn count(tx: &mut Tx, scope: &Scope, images: i64, caps: ImageCaps) -> Result<()> {
    let user = scope.user();
    if let Some(user) = user {
        find_user(tx, user).await?.ok_or(missing("user"))?;
        let query = tx.query("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR KEY SHARE");
        query.bind(tx.tenant).bind(user.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("user"))?;
    }
    // The tenant's first, always: two that count wait for each other in one order.
    let whose = [(Uuid::nil(), caps.tenant, "the tenant")].into_iter().chain(user.map(|u| (u.raw(), caps.user, "the user")));
    for (who, most, named) in whose {
        let query = tx.query(
            "INSERT INTO sid.image_use AS u (tenant, who, day, used) VALUES ($1, $2, $3, greatest($4, 0)) ON CONFLICT (tenant, who)
             DO UPDATE SET day = excluded.day, used = greatest(CASE WHEN u.day = excluded.day THEN u.used ELSE 0 END + $4, 0) RETURNING used",
        );
        let day = image_day(tx.now);
        let row = query.bind(tx.tenant).bind(who).bind(day).bind(images).fetch_one(tx.conn()).await?;
        if images > 0 && row.count(0)? > most {
            return Err(too_many_images(most, named).into());
        }
    }
    Ok(())
}

#[async_trait]
impl ImageStore for PgStore {
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError> {
        check_image(&image, &bytes)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = put(&mut tx, &self.viewer(scope), image, bytes).await;
        tx.finish(outcome).await
    }

    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let found = find(&mut tx, image).await?;
        found.filter(|i| Right::to_conversation(scope, i.agent, i.user)).ok_or(NO_IMAGE)
    }

    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let found = find(&mut tx, image).await?;
        found.filter(|i| Right::to_conversation(scope, i.agent, i.user)).ok_or(NO_IMAGE)?;
        let query = tx.query("SELECT bytes FROM sid.images WHERE tenant = $1 AND id = $2");
        let row = query.bind(tx.tenant).bind(image.uuid()).fetch_optional(tx.conn()).await.map_err(Fault::Sql)?.ok_or(NO_IMAGE)?;
        Ok(row.try_get(0).map_err(Fault::Sql)?)
    }

    async fn images(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Image>, StoreError> {
        Ok(listed(self, scope, "images", filter, &page, |i: &Image| (i.created_at, i.id)).await?)
    }

    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = async {
            let found = find(&mut tx, image).await?;
            found.filter(|i| may_drop_images(scope, i.agent, i.user)).ok_or(NO_IMAGE)?;
            let query = tx.query("DELETE FROM sid.images WHERE tenant = $1 AND id = $2");
            query.bind(tx.tenant).bind(image.uuid()).execute(tx.conn()).await?;
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }

    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let outcome = count(&mut tx, scope, images, caps).await;
        tx.finish(outcome).await
    }
}
