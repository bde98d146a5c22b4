//! Observations of stock in changed rows of read models.
//!
//! A row shows that a stream has something left again. A row with nothing left is no observation: a new item has such a
//! row until its first delivery is projected, and buyers would be put off although no command was rejected.

use commands::kernel::StreamRef;
use projections::kernel::{Change, Model, Models};
use projections::projector::ChangedRows;
use serde_json::Value;
use uuid::Uuid;

use super::cache::Observation;

/// Reads from changed rows which streams are not sold out, if the model has a field for what is left. A row without the
/// field, as a deleted one, counts as not sold out.
pub(super) fn observations(models: &Models, changed: &ChangedRows) -> Vec<Observation> {
    let model = models.get(&changed.model);
    let Some((model, field)) = model.and_then(|model| Some((model, model.remaining?))) else { return Vec::new() };
    let observation = |change: &Change| {
        let row: Value = change.row.as_deref().and_then(|row| serde_json::from_str(row).ok()).unwrap_or_default();
        let has_something_left = row[field].as_i64().is_none_or(|left| left > 0);
        let stream = stream(model, change).filter(|_| has_something_left)?;
        Some(Observation { tenant: change.place.tenant, stream, is_sold_out: false })
    };
    changed.rows.iter().filter_map(observation).collect()
}

/// The stream of a row; none if the model reads several stream types or its key is not the stream's id.
fn stream(model: &Model, change: &Change) -> Option<StreamRef> {
    let [stream_type] = model.streams.as_slice() else { return None };
    let [id] = serde_json::from_str::<[Uuid; 1]>(change.place.key.as_str()).ok()?;
    Some(StreamRef { stream_type, id })
}

#[cfg(test)]
mod tests {
    use domain::shared::TenantId;
    use projections::kernel::{Key, Place};

    use super::*;

    #[test]
    fn only_rows_with_something_left_are_observed() {
        let tenant = TenantId::new(Uuid::from_u128(1));
        let observed = |row: Option<&str>| {
            let place = Place { tenant, key: Key::of(&[Uuid::from_u128(7)]) };
            let rows = vec![Change { place, row: row.map(Into::into) }];
            let changed = ChangedRows { model: "StockLevel".into(), moves: vec![], rows };
            let observations = observations(&Models::all(), &changed);
            observations.into_iter().map(|one| (one.stream.id.as_u128(), one.is_sold_out)).collect::<Vec<_>>()
        };
        for empty in [r#"{"available":0}"#, r#"{"available":-1}"#] {
            assert_eq!(observed(Some(empty)), [], "{empty}");
        }
        for row in [Some(r#"{"available":1}"#), Some("{}"), None] {
            assert_eq!(observed(row), [(7, false)], "{row:?}");
        }
    }
}
