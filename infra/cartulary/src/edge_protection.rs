//! Edge protection of one process: rate limits, row cache and sold-out cache.
//!
//! With Redis all processes share them, without it each process has its own. None of them decides anything.

use std::sync::Arc;

use edge::limits::{Limits, Quotas};
use edge::redis::Redis;
use edge::sold_out::SoldOut;
use projections::kernel::Models;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use views::live::{Changes, News};
use views::row_cache::{self, HotRows};

use crate::configuration::EdgeConfig;

/// What keeps load away from the store and the scribe.
pub struct EdgeProtection {
    pub limits: Limits,
    /// None where it is switched off.
    pub hot_rows: Option<HotRows>,
    /// None where it is switched off.
    pub sold_out: Option<Arc<SoldOut>>,
}

impl EdgeProtection {
    pub fn new(config: &EdgeConfig, redis: Option<&Redis>) -> Self {
        let redis = || redis.cloned();
        Self {
            limits: Limits::new(config.quotas, redis()),
            hot_rows: config.row_cache.map(|life| HotRows::new(redis(), life)),
            sold_out: config.sold_out.map(|life| Arc::new(SoldOut::new(redis(), life))),
        }
    }

    /// No limit and no cache.
    pub fn none() -> Self {
        Self { limits: Limits::new(Quotas::default(), None), hot_rows: None, sold_out: None }
    }

    /// Keeps the caches in step with the rows that the projector of this process changes, until `stop`.
    pub fn follow(&self, changes: &Changes, models: &Arc<Models>, stop: &CancellationToken) {
        if let Some(hot_rows) = &self.hot_rows {
            let (news, copies) = (changes.subscribe(), hot_rows.copies.clone());
            tokio::spawn(row_cache::follow(news, copies, models.clone(), stop.clone()));
        }
        if let Some(sold_out) = &self.sold_out {
            tokio::spawn(observe(changes.subscribe(), sold_out.clone(), models.clone(), stop.clone()));
        }
    }
}

/// Shows the sold-out cache which rows the projector of this process changes, until `stop`. What is missed is decided by
/// the scribe, at the latest when the entry of the cache expires.
async fn observe(
    mut changes: Receiver<Arc<News>>,
    sold_out: Arc<SoldOut>,
    models: Arc<Models>,
    stop: CancellationToken,
) {
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change.as_deref() {
            Ok(News::Taken(batch)) => sold_out.observe(&models, &batch.changed).await,
            Ok(News::Rebuilt { .. }) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
