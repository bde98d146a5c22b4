//! Port of the row cache, and its store in the memory of this process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use commands::scribe::{CacheKey, TwoGenerationCache};
use domain::shared::{TenantId, Timestamp};
use projections::kernel::{Key, Model};
use projections::ports::Checkpoint;

/// Rows in memory at most: with rows of at most 8 KiB, 32 MiB in the worst case.
const ROWS_MOST: usize = 4_096;

/// Key of a cached row: read model, shape of its table, tenant and row key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowCacheKey(String);

/// A row as it was read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRow {
    /// JSON text as the store returned it.
    pub row: String,
    /// Checkpoint of the model at which the row was read.
    pub at: Checkpoint,
    /// Time at which the read began, by the clock of the process that read.
    pub read_at: Timestamp,
}

/// Store of cached rows. It may drop any entry at any time, and it answers within a bounded time.
#[async_trait]
pub trait RowCacheStore: Send + Sync {
    /// Returns the rows of these keys, in their order.
    async fn get(&self, keys: &[RowCacheKey]) -> Vec<Option<CachedRow>>;

    /// Stores rows that were read at a checkpoint, unless a change after that checkpoint has been announced.
    async fn put(&self, model: &Model, at: Checkpoint, rows: Vec<(RowCacheKey, CachedRow)>);

    /// Removes changed rows and announces the checkpoints that the model has reached: rows read before them are not
    /// stored again.
    async fn invalidate(&self, model: &Model, at: &[Checkpoint], keys: Vec<RowCacheKey>);
}

impl RowCacheKey {
    pub fn of(model: &Model, tenant: TenantId, key: &Key) -> Self {
        Self(format!("{}.{}:{tenant}:{key}", model.name, model.shape))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl CacheKey for RowCacheKey {}

impl CachedRow {
    /// True if the read began less than a time to live ago. The clocks of two processes may differ, so the read may
    /// also lie in the future, but not by more than a time to live.
    pub(super) fn is_fresh(&self, now: Timestamp, ttl: Duration) -> bool {
        let age = now.micros().abs_diff(self.read_at.micros());
        u128::from(age) <= ttl.as_micros()
    }
}

/// Row cache in memory: bounded, and lost when the process ends.
pub struct MemoryRowCache(Mutex<MemoryState>);

struct MemoryState {
    rows: TwoGenerationCache<RowCacheKey, CachedRow>,
    /// Last announced position of each model and lane: rows read before it are not stored.
    announced: HashMap<(String, i16), i64>,
}

impl Default for MemoryRowCache {
    fn default() -> Self {
        Self(Mutex::new(MemoryState { rows: TwoGenerationCache::new(ROWS_MOST), announced: HashMap::new() }))
    }
}

impl MemoryRowCache {
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RowCacheStore for MemoryRowCache {
    async fn get(&self, keys: &[RowCacheKey]) -> Vec<Option<CachedRow>> {
        let state = self.state();
        keys.iter().map(|key| state.rows.get(key).cloned()).collect()
    }

    async fn put(&self, model: &Model, at: Checkpoint, rows: Vec<(RowCacheKey, CachedRow)>) {
        let mut state = self.state();
        let announced = state.announced.get(&(model.name.clone(), at.lane)).copied().unwrap_or_default();
        if at.position >= announced {
            rows.into_iter().for_each(|(key, row)| state.rows.insert(key, row));
        }
    }

    async fn invalidate(&self, model: &Model, at: &[Checkpoint], keys: Vec<RowCacheKey>) {
        let mut state = self.state();
        for at in at {
            // After a restore of the log the position may be lower than the announced one, which it replaces.
            state.announced.insert((model.name.clone(), at.lane), at.position);
        }
        keys.iter().for_each(|key| state.rows.remove(key));
    }
}
