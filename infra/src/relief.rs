//! What keeps work away from the store and the scribe: limits, copies of rows, marks of what is sold out. With Redis all
//! processes share them, without it each has its own; nothing is decided by any of them.

use std::sync::Arc;

use projections::kernel::Models;
use tokio_util::sync::CancellationToken;

use crate::hot_rows::{self, HotRows};
use crate::limits::{Limits, Quotas};
use crate::live::Changes;
use crate::redis::Redis;
use crate::settings::Settings;
use crate::sold_out::{self, SoldOut};

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
            tokio::spawn(hot_rows::follow(news, copies, models.clone(), stop.clone()));
        }
        if let Some(sold_out) = &self.sold_out {
            tokio::spawn(sold_out::follow(changes.subscribe(), sold_out.clone(), models.clone(), stop.clone()));
        }
    }
}
