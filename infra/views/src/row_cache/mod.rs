//! Row cache: answers frequent queries by key without the row store.
//!
//! A cached row carries the checkpoint at which it was read and the time at which the read began. It is served for at
//! most `row_cache_ms`, even if the row notice of its change was lost, and only while the log has the history in which it
//! was read. A query with `minPosition` bypasses the cache.
//! The cache holds rows of all owners: after the lookup, a row is kept only if it matches the filters of the query and the
//! owner to whom the caller is restricted. Personal fields are sealed in the cache as they are in the store.

mod histories;
mod invalidation;
mod key_lookup;
mod redis_store;
mod store;

pub use invalidation::invalidate_changed_rows;
pub use redis_store::RedisRowCache;
pub use store::{CachedRow, MemoryRowCache, RowCacheKey, RowCacheStore};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edge::redis::Redis;
use platform::clock::now;
use projections::kernel::{Column, Key, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{CellPage, CellPages, Cells, Cursor, Page, QueryError, Row, RowQuery};
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::store::PgReader;
use histories::Histories;
use key_lookup::KeyLookup;

/// Upper bound of the setting `row_cache_ms`.
pub const TTL_MS_MOST: u32 = 60_000;

/// Size above which a row is not cached.
const ROW_BYTES_MOST: usize = 8 * 1024;

/// Answers queries by key from the cache where it has the rows, and all others from the row store.
#[derive(Clone)]
pub struct RowCache {
    store: Arc<dyn RowCacheStore>,
    ttl: Duration,
    histories: Histories,
}

impl RowCache {
    /// Creates a cache in Redis, or in the memory of this process if there is no Redis.
    pub fn new(redis: Option<Redis>, ttl: Duration) -> Self {
        let store: Arc<dyn RowCacheStore> = match redis {
            Some(redis) => Arc::new(RedisRowCache::new(redis, ttl)),
            None => Arc::new(MemoryRowCache::default()),
        };
        Self { store, ttl, histories: Histories::default() }
    }

    /// The memory or Redis that holds the cached rows, for their invalidation.
    pub fn store(&self) -> Arc<dyn RowCacheStore> {
        self.store.clone()
    }

    /// Follows the histories of the lanes until `stop`. Before it begins, no cached row is served.
    pub fn follow_histories(&self, pool: PgPool, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        self.histories.clone().follow(pool, stop)
    }

    /// Returns the rows that match a query, by way of the cache if the query names keys and does not bypass the cache.
    pub async fn page(&self, reader: &PgReader, model: &Model, query: &RowQuery) -> Result<Page, QueryError> {
        let lookup = if query.bypass_cache { None } else { KeyLookup::of(model, query) };
        match lookup {
            Some(lookup) => self.page_by_key(reader, model, query, &lookup).await,
            None => reader.page(model, query).await,
        }
    }

    /// Returns cells of the rows that match a query, by way of the cache as [`page`](Self::page) does.
    pub async fn cells(
        &self,
        reader: &PgReader,
        model: &Model,
        columns: &[&Column],
        query: &RowQuery,
    ) -> Result<CellPages, QueryError> {
        let lookup = if query.bypass_cache { None } else { KeyLookup::of(model, query) };
        let Some(lookup) = lookup else { return reader.cells(model, columns, query, None).await };
        let page = self.page_by_key(reader, model, query, &lookup).await?;
        let mut cells = Cells::new(columns.len());
        for row in &page.rows {
            let row = serde_json::from_str(&row.json).and_then(|row| cells.push_row(columns, &row));
            row.map_err(|error| {
                Fault::caused(Cause::Corrupt, format!("reading a cached row of {}", model.name), error)
            })?;
        }
        let page = CellPage { rows: 0..cells.rows(), more: page.more, count: page.count };
        Ok(CellPages { cells, pages: vec![page] })
    }

    async fn page_by_key(
        &self,
        reader: &PgReader,
        model: &Model,
        query: &RowQuery,
        lookup: &KeyLookup,
    ) -> Result<Page, QueryError> {
        let keys: Vec<_> = lookup.keys.iter().map(|key| RowCacheKey::of(model, query.tenant, key)).collect();
        let begun = now();
        let cached = self.store.get(&keys).await;
        let mut rows = FoundRows::default();
        let mut missing = Vec::new();
        for (key, cached) in lookup.keys.iter().zip(cached) {
            match cached.filter(|cached| cached.is_fresh(begun, self.ttl) && self.histories.contain(cached.at)) {
                Some(cached) => _ = rows.add(model, cached.at, &cached.row),
                None => missing.push(key),
            }
        }
        let hits = lookup.keys.len() - missing.len();
        metrics::counter!("cartulary_hot_rows_total", "found" => "yes").increment(hits as u64);
        if !missing.is_empty() {
            metrics::counter!("cartulary_hot_rows_total", "found" => "no").increment(missing.len() as u64);
            // Whole rows of any owner are read and cached; the caller's conditions are applied below.
            let page = reader.page(model, &lookup.store_query(model, query.tenant, &missing)).await?;
            let mut read = Vec::new();
            for Row { json, .. } in page.rows {
                let key = RowCacheKey::of(model, query.tenant, &rows.add(model, page.at, &json));
                if json.len() <= ROW_BYTES_MOST {
                    read.push((key, CachedRow { row: json, at: page.at, read_at: begun }));
                }
            }
            rows.at.get_or_insert(page.at);
            self.store.put(model, page.at, read).await;
        }
        rows.page(model, query, lookup)
    }
}

/// Rows by key, parsed and as JSON text, with the oldest checkpoint among them.
#[derive(Default)]
struct FoundRows {
    rows: BTreeMap<Key, (Value, String)>,
    at: Option<Checkpoint>,
}

impl FoundRows {
    /// Adds a row and returns its key.
    fn add(&mut self, model: &Model, at: Checkpoint, json: &str) -> Key {
        let row: Value = serde_json::from_str(json).unwrap_or_default();
        let key = model.key_of(&row);
        self.rows.insert(key.clone(), (row, json.to_owned()));
        self.at = Some(self.at.map_or(at, |known| if known.position <= at.position { known } else { at }));
        key
    }

    /// Page of the rows that match the filters and the owner of the query.
    fn page(self, model: &Model, query: &RowQuery, lookup: &KeyLookup) -> Result<Page, QueryError> {
        let columns = query.order_columns(model)?;
        let rows = self.rows.into_values().filter(|(row, _)| lookup.conditions.matches(row));
        let rows = rows.map(|(row, json)| Row { cursor: Cursor::of(&row, &columns), json }).collect();
        Ok(Page { rows, more: false, at: self.at.unwrap_or(Checkpoint::start(0)), count: None })
    }
}
