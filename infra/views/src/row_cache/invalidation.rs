//! Invalidation of cached rows that the projector of this process has changed.

use std::sync::Arc;

use projections::kernel::Models;
use projections::ports::Checkpoint;
use projections::projector::ChangedRows;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::store::{RowCacheKey, RowCacheStore};
use crate::live::RowNotice;

/// Removes changed rows from the cache, until `stop`. If notices are missed, old rows stay until their time to live
/// ends.
pub async fn invalidate_changed_rows(
    mut notices: Receiver<Arc<RowNotice>>,
    store: Arc<dyn RowCacheStore>,
    models: Arc<Models>,
    stop: CancellationToken,
) {
    loop {
        let notice = tokio::select! {
            () = stop.cancelled() => return,
            notice = notices.recv() => notice,
        };
        match notice.as_deref() {
            Ok(RowNotice::Batch(batch)) => {
                for changed in &batch.changed {
                    invalidate(&*store, &models, changed).await;
                }
            }
            // Cached rows of a replaced table expire with their short time to live.
            Ok(RowNotice::Rebuilt { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                metrics::counter!("cartulary_hot_rows_missed_total").increment(*missed);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn invalidate(store: &dyn RowCacheStore, models: &Models, changed: &ChangedRows) {
    // Models that only append rows are never cached.
    let Some(model) = models.get(&changed.model).filter(|model| !model.appends) else { return };
    if changed.rows.is_empty() {
        return;
    }
    let at: Vec<Checkpoint> = changed.moves.iter().map(|(_, to)| *to).collect();
    let keys = changed.rows.iter().map(|change| RowCacheKey::of(model, change.place.tenant, &change.place.key));
    store.invalidate(model, &at, keys.collect()).await;
}
