//! Options of the Qdrant index.

use std::time::Duration;

/// Options of [`QdrantIndex`](crate::QdrantIndex).
///
/// ```
/// use sid_store_qdrant::QdrantConfig;
/// let config = QdrantConfig { api_key: Some("secret".into()), ..QdrantConfig::new("https://qdrant.example:6334") };
/// assert_eq!(config.prefix, "sid");
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct QdrantConfig {
    /// The cluster's gRPC address, as `http://host:6334` or `https://host:6334`.
    pub url: String,
    /// What is shown to a cluster that asks for a key. Default: none.
    pub api_key: Option<String>,
    /// How long a write, a count or a page may take. Default 10 s.
    pub timeout: Duration,
    /// How long a search may take before it goes on without the index. Default 1 s.
    pub search_timeout: Duration,
    /// What the names of collections begin with: one for each database that shares the cluster. Default `sid`.
    pub prefix: String,
    /// Edges per node of the graph over a whole collection. Default 0: no graph is needed that no search walks, as every search is one tenant's.
    pub graph_edges: u64,
    /// Edges per node of the graphs inside one tenant. Default 16.
    pub tenant_graph_edges: u64,
    /// Copies of each shard, in a cluster of several nodes. A write waits for most of them. Default 1.
    pub replicas: u32,
}

impl QdrantConfig {
    /// The defaults, on this cluster.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            timeout: Duration::from_secs(10),
            search_timeout: Duration::from_secs(1),
            prefix: "sid".into(),
            graph_edges: 0,
            tenant_graph_edges: 16,
            replicas: 1,
        }
    }
}

impl std::fmt::Debug for QdrantConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        f.debug_struct("QdrantConfig").field("url", &self.url).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
