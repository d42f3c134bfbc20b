//! `VectorIndex` on a Qdrant cluster.

use async_trait::async_trait;
use qdrant_client::qdrant::{
    CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance, FieldType,
    HnswConfigDiffBuilder, KeywordIndexParamsBuilder, PayloadIncludeSelector, PointId, Query, QueryPointsBuilder, ScrollPointsBuilder,
    UpsertPointsBuilder, VectorParamsBuilder, WriteOrdering, WriteOrderingType, point_id::PointIdOptions, vectors_config::Config,
};
use qdrant_client::{Qdrant, QdrantError};
use sid_store::{GenerationId, PointCursor, PointFilter, PointPage, StoreError, VectorHit, VectorIndex, VectorPoint, VectorQuery};
use uuid::Uuid;

use crate::config::QdrantConfig;
use crate::error::{ALREADY_EXISTS, code, from_qdrant, not_an_address, strange, too_late};
use crate::filter;
use crate::point::{self, field};

/// Points of one call, however many are handed over at once.
const BATCH: usize = 512;

/// The field that searches, deletions and counts filter by, each with an index; the tenant has one of its own kind.
const INDEXED: [(&str, FieldType); 8] = [
    (field::PARTITION, FieldType::Integer),
    (field::RECORD, FieldType::Integer),
    (field::VERSION, FieldType::Integer),
    (field::KIND, FieldType::Integer),
    (field::CONVERSATION, FieldType::Keyword),
    (field::SEQ, FieldType::Integer),
    (field::ROLE, FieldType::Integer),
    (field::AT, FieldType::Integer),
];

/// A Qdrant cluster as a vector index: one collection per embedding generation. Cheap to clone.
#[derive(Clone)]
pub struct QdrantIndex {
    client: Qdrant,
    config: QdrantConfig,
}

impl std::fmt::Debug for QdrantIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QdrantIndex").field("config", &self.config).finish_non_exhaustive()
    }
}

impl QdrantIndex {
    /// The index of this cluster. Connects at the first call: a server starts without it, searches without it, and finds it when it is there.
    /// [`health`](VectorIndex::health) says whether it answers.
    ///
    /// Errors: `Setup` (no address of a cluster, or a prefix that no collection may have).
    pub fn new(config: QdrantConfig) -> Result<Self, StoreError> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(not_an_address(&"no http:// or https://"));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if config.prefix.is_empty() || config.prefix.len() > 64 || !config.prefix.chars().all(is_name) {
            return Err(StoreError::Setup("a prefix of collections is 1 to 64 letters, digits, `-` or `_`".into()));
        }
        let mut client = Qdrant::from_url(&config.url).timeout(config.timeout).connect_timeout(config.timeout).skip_compatibility_check();
        if let Some(key) = &config.api_key {
            client = client.api_key(key.as_str());
        }
        Ok(Self { client: client.build().map_err(from_qdrant)?, config })
    }

    /// The collection of a generation: readable, and never the same for two.
    #[must_use]
    pub fn collection(&self, generation: &GenerationId) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' };
        let slug: String = generation.0.chars().map(plain).take(48).collect();
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, generation.0.as_bytes()).simple().to_string();
        format!("{}_{slug}_{}", self.config.prefix, &hash[..12])
    }

    /// Gives a call up in time: a cluster that is gone without a word does not say so.
    async fn timely<T>(&self, patience: std::time::Duration, call: impl Future<Output = Result<T, QdrantError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer.map_err(from_qdrant),
            Err(_) => Err(too_late(patience)),
        }
    }

    async fn ask<T>(&self, call: impl Future<Output = Result<T, QdrantError>>) -> Result<T, StoreError> {
        self.timely(self.config.timeout, call).await
    }

    async fn make_indexes(&self, collection: &str) -> Result<(), StoreError> {
        // Written together with its neighbours on disk, and the graph is made inside each tenant.
        let tenant = CreateFieldIndexCollectionBuilder::new(collection, field::TENANT, FieldType::Keyword)
            .field_index_params(KeywordIndexParamsBuilder::default().is_tenant(true))
            .wait(true);
        self.ask(self.client.create_field_index(tenant)).await?;
        for (name, kind) in INDEXED {
            self.ask(self.client.create_field_index(CreateFieldIndexCollectionBuilder::new(collection, name, kind).wait(true))).await?;
        }
        Ok(())
    }
}

fn medium() -> WriteOrdering {
    WriteOrdering { r#type: WriteOrderingType::Medium.into() }
}

/// The fields that a key is read from.
fn of_key() -> PayloadIncludeSelector {
    PayloadIncludeSelector::new(field::KEY.map(str::to_owned).to_vec())
}

#[async_trait]
impl VectorIndex for QdrantIndex {
    async fn health(&self) -> Result<(), StoreError> {
        self.ask(self.client.health_check()).await.map(drop)
    }

    async fn dimensions(&self, generation: &GenerationId) -> Result<Option<usize>, StoreError> {
        let answer = match self.ask(self.client.collection_info(self.collection(generation))).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let config =
            answer.result.and_then(|info| info.config).and_then(|c| c.params).and_then(|p| p.vectors_config).and_then(|v| v.config);
        match config {
            Some(Config::Params(params)) => Ok(Some(usize::try_from(params.size).unwrap_or_default())),
            _ => Err(strange("vector without a name")),
        }
    }

    async fn make_generation(&self, generation: &GenerationId, dimensions: usize) -> Result<(), StoreError> {
        let collection = self.collection(generation);
        let QdrantConfig { graph_edges, tenant_graph_edges, replicas, .. } = self.config;
        let create = CreateCollectionBuilder::new(collection.clone())
            .vectors_config(VectorParamsBuilder::new(dimensions as u64, Distance::Cosine))
            .hnsw_config(HnswConfigDiffBuilder::default().m(graph_edges).payload_m(tenant_graph_edges))
            .replication_factor(replicas)
            .write_consistency_factor(replicas / 2 + 1);
        match tokio::time::timeout(self.config.timeout, self.client.create_collection(create)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if code(&error) == Some(ALREADY_EXISTS) || error.to_string().contains("already exists") => {
                let found = self.dimensions(generation).await?.unwrap_or(dimensions);
                if found != dimensions {
                    return Err(StoreError::Invalid(format!(
                        "collection `{collection}` has {found} dimensions, the vectors of `{}` have {dimensions}: use another prefix, or drop it",
                        generation.0
                    )));
                }
            }
            Ok(Err(error)) => return Err(from_qdrant(error)),
            Err(_) => return Err(too_late(self.config.timeout)),
        }
        // Also of a collection that is there: whoever made it may not have come so far.
        self.make_indexes(&collection).await
    }

    async fn drop_generation(&self, generation: &GenerationId) -> Result<(), StoreError> {
        match self.ask(self.client.delete_collection(self.collection(generation))).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn upsert(&self, generation: &GenerationId, points: Vec<VectorPoint>) -> Result<(), StoreError> {
        let collection = self.collection(generation);
        let points: Vec<_> = points.into_iter().map(point::point).collect();
        for batch in points.chunks(BATCH) {
            let upsert = UpsertPointsBuilder::new(collection.clone(), batch.to_vec()).wait(true).ordering(medium());
            self.ask(self.client.upsert_points(upsert)).await?;
        }
        Ok(())
    }

    async fn search(&self, generation: &GenerationId, asked: &VectorQuery<'_>) -> Result<Vec<VectorHit>, StoreError> {
        let Some(vector) = &asked.query.vector else { return Ok(Vec::new()) };
        let query = QueryPointsBuilder::new(self.collection(generation))
            .query(Query::new_nearest(vector.values.clone()))
            .filter(filter::of_query(asked))
            .limit(asked.limit as u64)
            .with_payload(of_key());
        let answer = self.timely(self.config.search_timeout, Box::pin(self.client.query(query))).await?;
        answer.result.into_iter().map(|hit| Ok(VectorHit { key: point::key(&hit.payload)?, score: hit.score })).collect()
    }

    async fn delete(&self, generation: &GenerationId, which: &PointFilter) -> Result<(), StoreError> {
        let delete = DeletePointsBuilder::new(self.collection(generation)).points(filter::of_points(which)).wait(true).ordering(medium());
        self.ask(self.client.delete_points(delete)).await.map(drop)
    }

    async fn count(&self, generation: &GenerationId, which: &PointFilter) -> Result<u64, StoreError> {
        let count = CountPointsBuilder::new(self.collection(generation)).filter(filter::of_points(which)).exact(true);
        Ok(self.ask(self.client.count(count)).await?.result.map_or(0, |result| result.count))
    }

    async fn scroll(
        &self,
        generation: &GenerationId,
        which: &PointFilter,
        after: Option<PointCursor>,
        limit: usize,
    ) -> Result<PointPage, StoreError> {
        let mut scroll = ScrollPointsBuilder::new(self.collection(generation))
            .filter(filter::of_points(which))
            .limit(u32::try_from(limit).unwrap_or(u32::MAX))
            .with_payload(of_key())
            .with_vectors(false);
        if let Some(PointCursor(id)) = after {
            scroll = scroll.offset(PointId::from(id));
        }
        let answer = self.ask(self.client.scroll(scroll)).await?;
        let keys = answer.result.iter().map(|found| point::key(&found.payload)).collect::<Result<_, _>>()?;
        let next = match answer.next_page_offset.and_then(|id| id.point_id_options) {
            Some(PointIdOptions::Uuid(id)) => Some(PointCursor(id)),
            Some(PointIdOptions::Num(_)) => return Err(strange("UUID as its id")),
            None => None,
        };
        Ok(PointPage { keys, next })
    }
}
