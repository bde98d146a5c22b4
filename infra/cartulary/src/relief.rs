//! What keeps work away from the store and the scribe: limits, copies of rows, marks of what is sold out. With Redis all
//! processes share them, without it each has its own; nothing is decided by any of them.

use std::sync::Arc;

use projections::kernel::Models;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use edge::limits::{Limits, Quotas};
use edge::redis::Redis;
use edge::sold_out::SoldOut;
use views::live::{Changes, News};
use views::row_cache::{self, HotRows};

/// The relief of one process.
pub struct Relief {
    pub limits: Limits,
    /// Nothing where they are switched off.
    pub hot_rows: Option<HotRows>,
    /// Nothing where it is switched off.
    pub sold_out: Option<Arc<SoldOut>>,
}

impl Relief {
    /// As it is configured.
    pub fn new(settings: &Settings, redis: Option<&Redis>) -> Self {
        let redis = || redis.cloned();
        Self {
            limits: Limits::new(settings.quotas(), redis()),
            hot_rows: settings.row_cache().map(|life| HotRows::new(redis(), life)),
            sold_out: settings.sold_out_hint().map(|life| Arc::new(SoldOut::new(redis(), life))),
        }
    }

    /// None of it.
    pub fn none() -> Self {
        Self { limits: Limits::new(Quotas::default(), None), hot_rows: None, sold_out: None }
    }

    /// Follows what the projector of this process changes, until `stop`.
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
