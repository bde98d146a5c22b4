//! What changed rows of read models say about what ran out and came back.

use commands::kernel::StreamRef;
use projections::kernel::{Change, Model, Models};
use projections::projector::ChangedRows;
use serde_json::Value;
use uuid::Uuid;

use super::Seen;

/// What changed rows say about what is left.
pub(super) fn seen(models: &Models, changed: &ChangedRows) -> Vec<Seen> {
    let model = models.get(&changed.model);
    let Some((model, field)) = model.and_then(|model| Some((model, model.remaining?))) else { return Vec::new() };
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
