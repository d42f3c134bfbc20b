//! Images: made by a service that a tenant names, counted and kept in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_assistant::{Gallery, GenerateImage, ImageApi, ImageModel, Picture};
use sid_fetch::{FetchError, Fetcher, Policy};
use sid_store::{ImageCaps, Store};
use sid_tools::http::Connection;
use sid_tools::{Tool, ToolContext};
use sid_types::{Image, ImageId, Principal};
use tracing::warn;
use utoipa::ToSchema;
use uuid::Uuid;

use super::make::connection;
use crate::config::Config;

/// What a service that makes images speaks.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ImagesApi {
    /// `/images/generations`, as at OpenAI and the servers of open models.
    #[default]
    OpenAi,
    /// Google's Gemini API, Imagen included.
    Gemini,
}

/// A function that makes images.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImagesSource {
    #[serde(default)]
    pub(crate) api: ImagesApi,
    /// Where the service is, its version included, such as `https://api.openai.com/v1` or `https://generativelanguage.googleapis.com/v1beta`.
    pub(crate) url: String,
    /// The model's name there.
    pub(crate) model: String,
    /// The name of the secret that is the service's key: of the user for whom the call is made or, where they have none of the name, of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Sizes that may be asked for, `WIDTHxHEIGHT`, the usual one first. For Gemini the nearest shape is taken.
    #[serde(default = "sizes")]
    pub(crate) sizes: Vec<String>,
    /// Most images of one call, 1 to 10.
    #[serde(default = "one")]
    pub(crate) most_at_once: u32,
    /// Further fields of the request as the service names them, such as `{"quality": "low"}`. Not for keys.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub(crate) fields: Map<String, Value>,
    /// Most milliseconds of one request; the server's limit (`images.timeout_ms`) when left out, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

fn sizes() -> Vec<String> {
    vec!["1024x1024".into()]
}

const fn one() -> u32 {
    1
}

/// What all functions that make images have in common.
pub(super) struct Images {
    connection: Connection,
    gallery: Arc<Shelf>,
    most_bytes: usize,
}

impl Images {
    /// Errors: the client cannot be built.
    pub(super) fn new(store: Arc<dyn Store>, base: &Connection, config: &Config) -> Result<Self, FetchError> {
        let images = &config.images;
        // Painting takes longer than any other call, and its answers are larger.
        let policy = Policy {
            timeout: Duration::from_millis(images.timeout_ms),
            max_body_bytes: (images.most_bytes / 3 * 4).saturating_mul(10) + (64 << 10),
            ..base.fetcher().policy().clone()
        };
        let caps = ImageCaps { user: images.per_user_day, tenant: images.per_tenant_day };
        let home = config.server.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
        let connection = base.clone().through(Fetcher::new(policy)?);
        Ok(Self { connection, gallery: Arc::new(Shelf { store, caps, home }), most_bytes: images.most_bytes })
    }

    /// Errors: what does not fit, in words for who put it.
    pub(super) fn tool(&self, name: &str, source: ImagesSource) -> Result<Arc<dyn Tool>, String> {
        let ImagesSource { api, url, model, key, sizes, most_at_once, fields, timeout_ms } = source;
        let api = match api {
            ImagesApi::OpenAi => ImageApi::OpenAi,
            ImagesApi::Gemini => ImageApi::Gemini,
        };
        let model = ImageModel { api, url, model, key, sizes, most_at_once, most_bytes: self.most_bytes, fields };
        let connection = connection(&self.connection, BTreeMap::new(), BTreeMap::new(), timeout_ms);
        Ok(Arc::new(GenerateImage::new(name, model, connection, self.gallery.clone())?))
    }
}

/// The store's images.
struct Shelf {
    store: Arc<dyn Store>,
    caps: ImageCaps,
    /// Stands before links; empty if it is not known how clients reach this server.
    home: String,
}

#[async_trait]
impl Gallery for Shelf {
    async fn take(&self, context: &ToolContext, images: u32) -> Result<(), String> {
        self.store.count_images(&context.scope, images.into(), self.caps).await.map_err(|e| e.to_string())
    }

    async fn give_back(&self, context: &ToolContext, images: u32) {
        if let Err(error) = self.store.count_images(&context.scope, -i64::from(images), self.caps).await {
            warn!(%error, "images that were not made stay counted for today");
        }
    }

    async fn keep(&self, context: &ToolContext, n: u32, prompt: &str, model: &str, picture: Picture) -> Result<String, String> {
        let Principal::Turn { agent, user } = context.scope.principal() else { return Err("images belong to an agent's turn".into()) };
        let image = Image {
            id: ImageId::from_uuid(Uuid::new_v5(&context.token, format!("image {n}").as_bytes())),
            agent,
            user,
            conversation: context.conversation,
            prompt: prompt.to_owned(),
            model: model.to_owned(),
            format: picture.format,
            bytes: picture.bytes.len() as u64,
            created_at: context.now,
        };
        let kept = self.store.put_image(&context.scope, image, picture.bytes).await.map_err(|e| e.to_string())?;
        Ok(format!("{}/api/v1/images/{}", self.home, kept.id))
    }
}
