//! What a run reads first, in one round trip (ADR 0038): what `sid.load` tells, and the look that its first search would ask for. The
//! write that begins the run goes with them, if a worker of this process begins it.

use std::time::Instant;

use sid_types::TenantId;
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{Columns, to_json};
use crate::error::Result;
use crate::glance::{self, Inquiry};
use crate::payload::{Payload, Start};

const BEGIN: &str = "SELECT * FROM sid.begin_run($1, $2, $3::jsonb, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
/// The column with what `sid.load` tells.
const LOADED: usize = 9;

/// What was read, and not looked into yet.
pub(crate) struct Begun {
    /// When the statement was sent.
    pub(crate) began: Instant,
    loaded: PgRow,
    look: Option<(Inquiry, Vec<PgRow>)>,
}

/// Reads, and writes before that, if there is something to write. `None`: the conversation is not as it was read, and nothing was written.
pub(crate) async fn begin(store: &PgStore, tenant: TenantId, start: &Start, payload: Option<&Payload>) -> Result<Option<Begun>> {
    let began = Instant::now();
    let call = store
        .call(BEGIN)
        .bind(tenant.uuid())
        .bind(store.clock())
        .bind(payload.map(to_json).transpose()?)
        .bind(payload.map(|p| p.texts.clone()))
        .bind(start.conv)
        .bind(start.run.uuid())
        .bind(start.rev);
    let mut rows = store.timely(Inquiry::bind(start.look.as_ref(), store, call).fetch_all()).await?.into_iter();
    let Some(loaded) = rows.next() else { return Ok(None) };
    Ok(Some(Begun { began, loaded, look: start.look.clone().map(|inquiry| (inquiry, rows.collect())) }))
}

impl Begun {
    /// What `sid.load` told; `None`: the conversation is not there.
    pub(crate) fn loaded<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>> {
        self.loaded.maybe_json(LOADED)
    }

    /// Takes in what the look told: the run's first search follows it.
    pub(crate) async fn take_in(self, store: &PgStore) -> Result<()> {
        match self.look {
            Some((inquiry, rows)) => glance::take_in(store, inquiry, self.began, &rows).await,
            None => Ok(()),
        }
    }
}
