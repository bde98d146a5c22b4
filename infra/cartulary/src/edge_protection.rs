//! Edge protection of one process: rate limits, row cache and sold-out cache.
//!
//! With Redis all processes share them, without it each process has its own. None of them decides anything.

use std::sync::Arc;

use edge::rate_limiter::{Quotas, RateLimiter};
use edge::redis::Redis;
use edge::sold_out::SoldOutFilter;
use projections::kernel::Models;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use views::live::{RowNotice, RowNotices};
use views::row_cache::{self, RowCache};

use crate::configuration::EdgeConfig;

/// Rate limiter and caches that keep load away from the store and the scribe.
pub struct EdgeProtection {
    pub limits: RateLimiter,
    /// None where it is switched off.
    pub row_cache: Option<RowCache>,
    /// None where it is switched off.
    pub sold_out: Option<Arc<SoldOutFilter>>,
}

impl EdgeProtection {
    pub fn new(config: &EdgeConfig, redis: Option<&Redis>) -> Self {
        let redis = || redis.cloned();
        Self {
            limits: RateLimiter::new(config.quotas, redis()),
            row_cache: config.row_cache.map(|life| RowCache::new(redis(), life)),
            sold_out: config.sold_out.map(|life| Arc::new(SoldOutFilter::new(redis(), life))),
        }
    }

    /// No limit and no cache.
    pub fn none() -> Self {
        Self { limits: RateLimiter::new(Quotas::default(), None), row_cache: None, sold_out: None }
    }

    /// Keeps the caches in step with the rows that the projector of this process changes, until `stop`.
    pub fn follow(&self, changes: &RowNotices, models: &Arc<Models>, stop: &CancellationToken) {
        if let Some(row_cache) = &self.row_cache {
            let (notices, store) = (changes.subscribe(), row_cache.store());
            tokio::spawn(row_cache::invalidate_changed_rows(notices, store, models.clone(), stop.clone()));
        }
        if let Some(sold_out) = &self.sold_out {
            tokio::spawn(observe(changes.subscribe(), sold_out.clone(), models.clone(), stop.clone()));
        }
    }
}

/// Shows the sold-out cache which rows the projector of this process changes, until `stop`. What is missed is decided by
/// the scribe, at the latest when the entry of the cache expires.
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
