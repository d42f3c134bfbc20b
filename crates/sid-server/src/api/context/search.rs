//! Search among items: the same hybrid search as in memory.

use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sid_core::SearchRequest;
use sid_store::{RecordId, RecordKinds};
use sid_types::ItemId;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::names::check_text;
use super::user_of;
use super::wire::{ItemJson, ItemKindJson};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Json;

/// How many hits are looked at for one that is wanted: passages that are no items, and items of other kinds, are among them.
const LOOKED_AT: usize = 5;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search_items))
}

const fn ten() -> usize {
    10
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchItems {
    /// Natural language, dates included.
    query: String,
    /// Most hits, 1 to 100. Default 10.
    #[serde(default = "ten")]
    k: usize,
    /// Only these kinds; all when left out.
    #[serde(default)]
    kinds: Vec<ItemKindJson>,
    /// Wait this long at most until all that was written before has its vectors. Default 0.
    #[serde(default)]
    wait_for_index_ms: u64,
}

/// A found item.
#[derive(Debug, Serialize, ToSchema)]
struct FoundJson {
    /// The part that answers best.
    excerpt: String,
    /// Larger is better; comparable inside one answer only.
    score: f32,
    /// Without its body.
    item: ItemJson,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
struct FoundItems {
    /// Best first.
    hits: Vec<FoundJson>,
}

/// Finds items of the user, of its teams and of the tenant, by words and by meaning.
#[utoipa::path(post, path = "/context/search", tag = "context", request_body = SearchItems, responses((status = 200, description = "What was found, best first", body = FoundItems)))]
async fn search_items(State(app): State<App>, caller: Caller, body: Json<SearchItems>) -> Result<axum::Json<FoundItems>, ApiError> {
    let SearchItems { query, k, kinds, wait_for_index_ms } = body.value;
    check_text("query", &query, 100_000)?;
    if query.trim().is_empty() {
        return Err(ApiError::bad_request("`query` must not be empty"));
    }
    if !(1..=100).contains(&k) {
        return Err(ApiError::bad_request(format!("`k` must be 1 to 100, not {k}")));
    }
    // All of a user's assistants read what one of them keeps: so it is looked for as the user. What comes out is read as the caller.
    let as_user = caller.scope_of_user(user_of(&caller)?)?;
    let request = SearchRequest {
        k: (k * LOOKED_AT).min(200),
        kinds: RecordKinds::PASSAGES,
        wait_for_index: Duration::from_millis(wait_for_index_ms.min(60_000)),
        ..SearchRequest::new(query)
    };
    let found = app.engine().search(&as_user, &request).await?;
    let scope = caller.scope()?;
    let mut hits = Vec::with_capacity(k);
    for hit in found.hits {
        let RecordId::Passage(passage) = hit.id else { continue };
        let Some(seen) = app.context().found(&scope, ItemId::from_uuid(passage.uuid())).await? else { continue };
        if kinds.is_empty() || ItemKindJson::of(seen.item.kind).is_some_and(|kind| kinds.contains(&kind)) {
            hits.push(FoundJson { excerpt: hit.excerpt, score: hit.score, item: ItemJson::head(seen) });
        }
        if hits.len() == k {
            break;
        }
    }
    Ok(axum::Json(FoundItems { hits }))
}
