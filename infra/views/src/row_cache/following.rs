//! Copies follow what the projector of this process changes.

use std::sync::Arc;

use projections::kernel::Models;
use projections::ports::Checkpoint;
use projections::projector::ChangedRows;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Copies, Name};
use crate::live::News;

/// Forgets copies of what changed, until `stop`. News that were missed cost nothing but the rest of a copy's life.
pub async fn follow(
    mut news: Receiver<Arc<News>>,
    copies: Arc<dyn Copies>,
    models: Arc<Models>,
    stop: CancellationToken,
) {
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = news.recv() => told,
        };
        match told.as_deref() {
            Ok(News::Taken(batch)) => {
                for changed in &batch.changed {
                    forget(&*copies, &models, changed).await;
                }
            }
            // Copies of a table that was replaced live out their short lives.
            Ok(News::Rebuilt { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                metrics::counter!("cartulary_hot_rows_missed_total").increment(*missed);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn forget(copies: &dyn Copies, models: &Models, changed: &ChangedRows) {
    // Rows that no second event touches are never copied.
    let Some(model) = models.get(&changed.model).filter(|model| !model.appends) else { return };
    if changed.rows.is_empty() {
        return;
    }
    let at: Vec<Checkpoint> = changed.moves.iter().map(|(_, to)| *to).collect();
    let names = changed.rows.iter().map(|change| Name::of(model, change.place.tenant, &change.place.key));
    copies.forget(model, &at, names.collect()).await;
}
