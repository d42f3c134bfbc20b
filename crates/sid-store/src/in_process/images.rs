//! `ImageStore`.

use async_trait::async_trait;
use sid_types::{Image, ImageId, Scope};

use super::directory::paged;
use super::room::Room;
use super::{InProcess, missing};
use crate::images::too_many_images;
use crate::{
    ImageCaps, ImageStore, NO_IMAGE, Order, Page, PageRequest, PairFilter, Right, StoreError, check_image, image_day, may_change_timers,
    may_drop_images,
};

/// An image with its bytes.
pub(super) struct ImageRow {
    pub(super) image: Image,
    bytes: Vec<u8>,
}

impl Room {
    fn seen_image(&self, scope: &Scope, id: ImageId) -> Result<&ImageRow, StoreError> {
        let row = self.images.get(&id).filter(|row| Right::to_conversation(scope, row.image.agent, row.image.user));
        row.ok_or(NO_IMAGE)
    }
}

#[async_trait]
impl ImageStore for InProcess {
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError> {
        check_image(&image, &bytes)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "conversation")?;
            let thread = room.thread(scope, image.conversation)?;
            let (agent, user) = (thread.conversation.agent, thread.conversation.user);
            if !may_change_timers(scope, agent, user) {
                return Err(missing("conversation"));
            }
            if let Some(row) = room.images.get(&image.id) {
                let is_own = row.image.conversation == image.conversation;
                return if is_own { Ok(row.image.clone()) } else { Err(StoreError::Exists { what: "image", name: image.id.to_string() }) };
            }
            let image = Image { agent, user, bytes: bytes.len() as u64, created_at: now, ..image };
            room.images.insert(image.id, ImageRow { image: image.clone(), bytes });
            Ok(image)
        })
    }

    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError> {
        Ok(self.read().room(scope, "image")?.seen_image(scope, image)?.image.clone())
    }

    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError> {
        Ok(self.read().room(scope, "image")?.seen_image(scope, image)?.bytes.clone())
    }

    async fn images(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Image>, StoreError> {
        let state = self.read();
        let images = state.room(scope, "tenant")?.images.values().map(|row| &row.image);
        let is_asked = |i: &&Image| Right::to_conversation(scope, i.agent, i.user) && filter.takes(i.agent, i.user, Some(i.conversation));
        paged(images.filter(is_asked), Order::Descending, &page, |i| (i.created_at, i.id))
    }

    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "image")?;
            let row = room.images.get(&image).filter(|row| may_drop_images(scope, row.image.agent, row.image.user));
            row.ok_or(NO_IMAGE)?;
            room.images.remove(&image);
            Ok(())
        })
    }

    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "tenant")?;
            let day = image_day(now);
            if scope.user().is_some_and(|user| !room.users.contains_key(&user)) {
                return Err(missing("user"));
            }
            let whose = [(None, caps.tenant, "the tenant")].into_iter().chain(scope.user().map(|u| (Some(u), caps.user, "the user")));
            let mut counted = Vec::new();
            for (who, most, named) in whose {
                let used = room.image_use.get(&who).filter(|(of, _)| *of == day).map_or(0, |(_, used)| *used);
                let used = used.saturating_add_signed(images);
                if images > 0 && used > most {
                    return Err(too_many_images(most, named));
                }
                counted.push((who, (day, used)));
            }
            room.image_use.extend(counted);
            Ok(())
        })
    }
}
