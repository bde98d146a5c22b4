//! Edge protection of one process: rate limits, row cache and sold-out cache.
//!
//! With Redis, all processes share their state; without it, each process has its own. None of them decides commands.

use std::sync::Arc;

use edge::rate_limiter::{Quotas, RateLimiter};
use edge::redis::Redis;
use edge::sold_out::SoldOutFilter;
use projections::kernel::Models;
use sqlx::PgPool;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use views::live::{RowNotice, RowNotices};
use views::row_cache::{self, RowCache};

use crate::configuration::EdgeConfig;

/// Rate limiter and caches that keep load away from the store and the scribe.
pub struct EdgeProtection {
    pub limits: RateLimiter,
    /// `None` if it is switched off.
    pub row_cache: Option<RowCache>,
    /// `None` if it is switched off.
    pub sold_out: Option<Arc<SoldOutFilter>>,
}

impl EdgeProtection {
    pub fn new(config: &EdgeConfig, redis: Option<&Redis>) -> Self {
        let redis = || redis.cloned();
        Self {
            limits: RateLimiter::new(config.quotas, redis()),
            row_cache: config.row_cache.map(|ttl| RowCache::new(redis(), ttl)),
            sold_out: config.sold_out.map(|ttl| Arc::new(SoldOutFilter::new(redis(), ttl))),
        }
    }

    /// Edge protection without limits and caches.
    pub fn none() -> Self {
        Self { limits: RateLimiter::new(Quotas::default(), None), row_cache: None, sold_out: None }
    }

    /// Starts tasks that update the caches after changes by the projector of this process, and after restores of the log,
    /// until `stop`.
    pub fn follow(&self, readers: &PgPool, changes: &RowNotices, models: &Arc<Models>, stop: &CancellationToken) {
        if let Some(row_cache) = &self.row_cache {
            tokio::spawn(row_cache.follow_histories(readers.clone(), stop.clone()));
            let (notices, store) = (changes.subscribe(), row_cache.store());
            tokio::spawn(row_cache::invalidate_changed_rows(notices, store, models.clone(), stop.clone()));
        }
        if let Some(sold_out) = &self.sold_out {
            tokio::spawn(observe(changes.subscribe(), sold_out.clone(), models.clone(), stop.clone()));
        }
    }
}

/// Passes the row changes of the projector of this process to the sold-out cache, until `stop`. If a change is missed,
/// an entry of the cache stays until it expires.
async fn observe(
    mut changes: Receiver<Arc<RowNotice>>,
    sold_out: Arc<SoldOutFilter>,
    models: Arc<Models>,
    stop: CancellationToken,
) {
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change.as_deref() {
            Ok(RowNotice::Batch(batch)) => sold_out.observe(&models, &batch.changed).await,
            Ok(RowNotice::Rebuilt { .. }) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
