//! `ItemStore`: trees of titled texts, shared with others or not.

mod listing;
mod rows;
mod sharing;
mod writing;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{ItemFilter, ItemStore, ItemWrite, Page, PageRequest, SeenItem, StoreError, Written};
use sid_types::{ItemId, Scope, Share, ShareLevel, Sharee};

use crate::backend::SqliteStore;
use crate::error::missing;
use crate::visibility::Viewer;

pub(crate) use writing::erase_items;

#[async_trait]
impl ItemStore for SqliteStore {
    async fn write_items(&self, scope: &Scope, writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError> {
        let viewer = self.item_viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let mut written = Vec::with_capacity(writes.len());
                for write in writes {
                    written.push(writing::write(tx, &viewer, write).await?);
                }
                Ok(written)
            }
            .boxed()
        })
        .await
    }

    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        let viewer = self.item_viewer(scope).await?;
        Ok(rows::seen(&mut *self.reader().await?, &viewer, item).await?)
    }

    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError> {
        let viewer = self.item_viewer(scope).await?;
        listing::list(&mut *self.reader().await?, &viewer, filter, &page).await
    }

    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError> {
        let viewer = self.item_viewer(scope).await?;
        self.write(move |tx| async move { sharing::share(tx, &viewer, item, with, level).await }.boxed()).await
    }

    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError> {
        let viewer = self.item_viewer(scope).await?;
        Ok(sharing::list(&mut *self.reader().await?, &viewer, item).await?)
    }
}

impl SqliteStore {
    async fn item_viewer(&self, scope: &Scope) -> Result<Viewer, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 { Err(missing("item")) } else { Ok(viewer) }
    }
}
