//! `ItemStore`: trees of titled texts, shared with others or not.

mod listing;
mod rows;
mod sharing;
mod writing;

use async_trait::async_trait;
use sid_store::{ItemFilter, ItemStore, ItemWrite, Page, PageRequest, SeenItem, StoreError, Written};
use sid_types::{ItemId, Scope, Share, ShareLevel, Sharee};

use crate::backend::PgStore;
use crate::error::{Fault, Result};

pub(crate) use writing::{drop_rows, remove_passages};

/// How often writes are tried that meet others in an unlucky order.
const ATTEMPTS: usize = 5;

#[async_trait]
impl ItemStore for PgStore {
    async fn write_items(&self, scope: &Scope, writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError> {
        let mut attempt = 1;
        loop {
            let mut tx = self.begin_long(scope.tenant()).await?;
            let outcome: Result<Vec<Written>> = async {
                self.check_tenant(&mut tx, scope.tenant(), "item").await?;
                let mut written = Vec::with_capacity(writes.len());
                for write in &writes {
                    written.push(writing::write(self, &mut tx, &self.viewer(scope), write.clone()).await?);
                }
                Ok(written)
            }
            .await;
            if attempt == ATTEMPTS || !outcome.as_ref().is_err_and(Fault::is_collision) {
                return tx.finish(outcome).await;
            }
            attempt += 1;
        }
    }

    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(rows::seen(&mut tx, &self.viewer(scope), item).await?)
    }

    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "item").await?;
        listing::list(&mut tx, &self.viewer(scope), filter, &page).await
    }

    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = sharing::share(&mut tx, &self.viewer(scope), item, with, level).await;
        tx.finish(outcome).await
    }

    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(sharing::list(&mut tx, &self.viewer(scope), item).await?)
    }
}
