//! What goes wrong with memory: search, passages, pages, documents, images, erasure.

use super::*;

#[async_trait]
impl MemorySearch for Planted {
    fn capability(&self) -> Capability {
        let durable = self.bug == Bug::SaysThatItIsDurable;
        Capability { durable, ..self.inner.capability() }
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let mut query = query.clone();
        if let (Bug::MixesGenerations, Some(vector)) = (self.bug, &mut query.vector) {
            vector.generation = GenerationId("the one and only".into());
        }
        let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
        let scopes: Vec<Scope> = match self.bug {
            Bug::SkipsTheTenantInSearch => tenants.iter().map(whole).collect(),
            Bug::SkipsTheUserInSearch => tenants.iter().filter(|t| t.id == scope.tenant()).map(whole).collect(),
            _ => vec![*scope],
        };
        let mut found = Candidates::default();
        for scope in scopes {
            let part = self.inner.search(&scope, &query).await?;
            let items = [found.items, part.items].concat();
            found = Candidates { items, searched: found.searched + part.searched, ..part };
        }
        Ok(found)
    }
}

#[async_trait]
impl EmbeddingIndex for Planted {
    async fn pending(&self, generation: &GenerationId, limit: usize) -> Result<Vec<sid_store::EmbedJob>, StoreError> {
        self.inner.pending(&self.generation(generation), limit).await
    }

    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<sid_store::NewVectors>) -> Result<(), StoreError> {
        self.inner.put_vectors(&self.generation(generation), vectors).await
    }

    async fn index_status(
        &self,
        scope: &Scope,
        generation: &GenerationId,
        owner: Option<Owner>,
    ) -> Result<sid_store::IndexStatus, StoreError> {
        self.inner.index_status(scope, &self.generation(generation), owner).await
    }
}

#[async_trait]
impl RecallStore for Planted {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        self.inner.append(scope, conversation, messages).await
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let from = if self.bug == Bug::PagesIncludeTheirStart && order == Order::Descending { from.map(Seq::next) } else { from };
        let page = self.inner.page(scope, conversation, from, order, limit).await;
        if self.bug == Bug::TellsForeignFromRandom && page.is_err() {
            for tenant in self.inner.tenants(&OperatorScope::grant()).await? {
                if self.inner.conversation(&whole(&tenant), conversation).await.is_ok() {
                    return Err(StoreError::Invalid("you may not read this".into()));
                }
            }
        }
        page
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        self.inner.message(scope, message).await
    }
}

#[async_trait]
impl ArchivalStore for Planted {
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError> {
        self.inner.upsert(scope, passages).await
    }

    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError> {
        match self.inner.insert(scope, passage.clone()).await {
            Err(StoreError::Exists { .. }) if self.bug == Bug::InsertsOverWhatIsThere => {
                self.inner.upsert(scope, vec![passage]).await.map(|mut stored| stored.remove(0))
            }
            done => done,
        }
    }

    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError> {
        self.inner.list(scope, owner, page).await
    }

    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError> {
        self.inner.passage(scope, passage).await
    }

    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError> {
        if self.bug == Bug::DeletesNothing { Ok(passages.len() as u64) } else { self.inner.delete(scope, passages).await }
    }
}

#[async_trait]
impl Eraser for Planted {
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError> {
        let kept = if self.bug == Bug::ErasesHalf && scope.is_tenant_wide() {
            self.inner.list(scope, Owner::Tenant, PageRequest { after: None, limit: 100 }).await?.items
        } else {
            Vec::new()
        };
        let mut timers = Vec::new();
        if self.bug == Bug::KeepsTimersOfTheErased {
            timers = self.inner.timers(scope, &PairFilter::default(), PageRequest { after: None, limit: 100 }).await?.items;
        }
        let receipt = self.inner.erase(scope, target).await?;
        for timer in timers.into_iter().rev() {
            // What is still there is not made again, and whose person is gone cannot be.
            let _ = self.inner.create_timer(scope, Timer { conversation: None, ..timer }, 100).await;
        }
        let again = |p: Passage| NewPassage { id: p.id, owner: p.owner, text: p.text, tags: p.tags, at: p.at, provenance: p.provenance };
        self.inner.upsert(scope, kept.into_iter().map(again).collect()).await?;
        Ok(receipt)
    }
}

#[async_trait]
impl DiaryStore for Planted {
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        self.inner.diary(scope, owner, query).await
    }

    async fn diary_work(&self, now: Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError> {
        self.inner.diary_work(now, limit).await
    }

    async fn redo_diary(&self, work: &DiaryWork, not_before: Timestamp) -> Result<(), StoreError> {
        if self.bug == Bug::TriesPagesOnce { Ok(()) } else { self.inner.redo_diary(work, not_before).await }
    }

    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<Message>, StoreError> {
        self.inner.day_messages(scope, owner, day).await
    }

    async fn put_diary(&self, scope: &Scope, mut entry: DiaryEntry) -> Result<(), StoreError> {
        if self.bug == Bug::ForgetsSourcesOfPages {
            entry.untrusted.clear();
        }
        self.inner.put_diary(scope, entry).await
    }
}

#[async_trait]
#[async_trait]
impl DocumentStore for Planted {
    async fn put_document(&self, scope: &Scope, mut new: NewDocument, most: u64) -> Result<Document, StoreError> {
        if self.bug == Bug::KeepsTheSameBytesTwice {
            new.digest = new.id.to_string();
        }
        self.inner.put_document(scope, new, most).await
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError> {
        let whole = whole_of(scope);
        self.inner.document(if self.bug == Bug::TellsOthersOfDocuments { &whole } else { scope }, document).await
    }

    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError> {
        let whole = whole_of(scope);
        self.inner.documents(if self.bug == Bug::TellsOthersOfDocuments { &whole } else { scope }, filter, page).await
    }

    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError> {
        self.inner.document_content(scope, document).await
    }

    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError> {
        self.inner.drop_document(scope, document).await
    }

    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError> {
        self.inner.take_documents(want, if self.bug == Bug::TakesWhatIsHeld { Duration::ZERO } else { hold }).await
    }

    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError> {
        let known = self.inner.document(scope, document).await?;
        if self.bug == Bug::SettlesAnyVersion && version != known.version {
            return Ok(known);
        }
        let old = if self.bug == Bug::KeepsOldParts { known.part_ids().collect() } else { Vec::new() };
        let mut kept = Vec::new();
        for part in old {
            kept.extend(self.inner.passage(scope, part).await.ok());
        }
        let settled = self.inner.settle_document(scope, document, version, reading).await?;
        let again = |p: Passage| {
            let provenance = Provenance { channel: "api".into(), ..p.provenance };
            NewPassage { id: PassageId::new(), owner: p.owner, text: p.text, tags: p.tags, at: p.at, provenance }
        };
        self.inner.upsert(scope, kept.into_iter().map(again).collect()).await?;
        Ok(settled)
    }
}

#[async_trait]
impl ImageStore for Planted {
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError> {
        let kept = self.inner.put_image(scope, image, bytes.clone()).await?;
        self.pictures.lock().insert(kept.id, bytes);
        Ok(kept)
    }

    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError> {
        self.inner.image(scope, image).await
    }

    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError> {
        let there = self.inner.image_bytes(scope, image).await;
        let is_open = match self.bug {
            Bug::ShowsImagesToAnybody => true,
            Bug::KeepsImagesOfTheErased => scope.is_tenant_wide(),
            _ => false,
        };
        let known = self.pictures.lock().get(&image).cloned();
        if is_open { there.or_else(|error| known.ok_or(error)) } else { there }
    }

    async fn images(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Image>, StoreError> {
        self.inner.images(scope, filter, page).await
    }

    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError> {
        self.inner.drop_image(scope, image).await?;
        self.pictures.lock().remove(&image);
        Ok(())
    }

    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError> {
        let most = ImageCaps { user: u64::MAX, tenant: u64::MAX };
        self.inner.count_images(scope, images, if self.bug == Bug::CountsImagesBlindly { most } else { caps }).await
    }
}
