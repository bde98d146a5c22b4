//! Observations of sold-out streams in changed rows of read models.

use commands::kernel::StreamRef;
use projections::kernel::{Change, Model, Models};
use projections::projector::ChangedRows;
use serde_json::Value;
use uuid::Uuid;

use super::cache::Observation;

/// Reads from changed rows how much is left in their streams, if the model has a field for it. A row without the field,
/// as a deleted one, counts as not sold out.
pub(super) fn observations(models: &Models, changed: &ChangedRows) -> Vec<Observation> {
    let model = models.get(&changed.model);
    let Some((model, field)) = model.and_then(|model| Some((model, model.remaining?))) else { return Vec::new() };
    let observation = |change: &Change| {
        let stream = stream(model, change)?;
        let row: Value = change.row.as_deref().and_then(|row| serde_json::from_str(row).ok()).unwrap_or_default();
        let is_sold_out = row[field].as_i64().is_some_and(|left| left <= 0);
        Some(Observation { tenant: change.place.tenant, stream, is_sold_out })
    };
    changed.rows.iter().filter_map(observation).collect()
}

/// The stream of a row; none if the model reads several stream types or its key is not the stream's id.
fn stream(model: &Model, change: &Change) -> Option<StreamRef> {
    let [stream_type] = model.streams.as_slice() else { return None };
    let [id] = serde_json::from_str::<[Uuid; 1]>(change.place.key.as_str()).ok()?;
    Some(StreamRef { stream_type, id })
}
