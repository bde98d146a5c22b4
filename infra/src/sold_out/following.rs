//! Marks follow what the projector of this process sees run out and come back.

use std::sync::Arc;

use commands::kernel::StreamRef;
use projections::kernel::{Change, Model, Models};
use projections::projector::Changed;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Seen, SoldOut};
use crate::live::News;

/// Marks what ran out and clears what came back, until `stop`.
pub async fn follow(
    mut news: Receiver<Arc<News>>,
    sold_out: Arc<SoldOut>,
    models: Arc<Models>,
    stop: CancellationToken,
) {
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = news.recv() => told,
        };
        let batch = match told.as_deref() {
            Ok(News::Taken(batch)) => batch,
            // What was missed is decided by the scribe, a mark's life later.
            Ok(News::Rebuilt { .. }) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let seen: Vec<Seen> = batch.changed.iter().flat_map(|changed| seen(&models, changed)).collect();
        sold_out.marks.tell(seen).await;
    }
}

/// What changed rows say about what is left.
fn seen(models: &Models, changed: &Changed) -> Vec<Seen> {
    let model = models.get(&changed.model);
    let Some((model, field)) = model.and_then(|model| Some((model, model.left?))) else { return Vec::new() };
    let seen = |change: &Change| {
        let stream = stream(model, change)?;
        let row: Value = change.row.as_deref().and_then(|row| serde_json::from_str(row).ok()).unwrap_or_default();
        let is_gone = row[field].as_i64().is_some_and(|left| left <= 0);
        Some(Seen { tenant: change.place.tenant, stream, is_gone })
    };
    changed.rows.iter().filter_map(seen).collect()
}

/// The stream that a row is, where a model has one for each.
fn stream(model: &Model, change: &Change) -> Option<StreamRef> {
    let [stream_type] = model.streams.as_slice() else { return None };
    let [id] = serde_json::from_str::<[Uuid; 1]>(change.place.key.as_str()).ok()?;
    Some(StreamRef { stream_type, id })
}
