//! Encoding of row notices for other processes.

use std::collections::HashMap;
use std::sync::Arc;

use api::port::Freshness;
use domain::shared::TenantId;
use platform::clock::now;
use projections::kernel::{Change, Key, Place};
use projections::ports::{Checkpoint, Move};
use projections::projector::ChangedRows;
use serde::{Deserialize, Serialize};

use super::row_notices::{ChangeBatch, RowNotice};

/// Size in bytes above which a notice is not sent. Receivers detect the gap and read the changes from log and row
/// store.
pub(super) const BYTES_MOST: usize = 256 * 1024;

/// Age up to which a `Rebuilt` notice is accepted, in microseconds. Such a notice disconnects subscribers, so a copy of
/// an old one must have no effect. A batch needs no such bound: its checkpoints show that it is old.
const REBUILT_AGE_MOST: i64 = 600_000_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EncodedNotice {
    #[serde(rename = "taken")]
    Batch {
        models: Vec<EncodedChanges>,
        tenants: Vec<(TenantId, i64, i64)>,
    },
    Rebuilt {
        model: String,
        written_at: i64,
    },
}

/// Position and epoch.
type EncodedCheckpoint = (i64, i64);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedChanges {
    model: String,
    /// Lane, checkpoint before, checkpoint after.
    moves: Vec<(i16, EncodedCheckpoint, EncodedCheckpoint)>,
    /// Tenant, key, and the row unless it was deleted.
    rows: Vec<(TenantId, Box<str>, Option<String>)>,
}

/// Encodes a notice as one message, or as one message per model if that is too long. Models whose message is still too
/// long are left out.
pub(super) fn encode(notice: &RowNotice) -> Vec<Vec<u8>> {
    let batch = match notice {
        RowNotice::Rebuilt { model } => {
            let notice = EncodedNotice::Rebuilt { model: model.clone(), written_at: now().micros() };
            return to_bytes(&notice).into_iter().collect();
        }
        RowNotice::Batch(batch) => batch,
    };
    let encoded = |changed: &[ChangedRows]| {
        let tenants = batch.tenants.iter().map(|(tenant, at)| (*tenant, at.tenant_position, at.epoch)).collect();
        to_bytes(&EncodedNotice::Batch { models: changed.iter().map(EncodedChanges::of).collect(), tenants })
    };
    match encoded(&batch.changed) {
        Some(message) => vec![message],
        None => batch.changed.iter().filter_map(|changed| encoded(std::slice::from_ref(changed))).collect(),
    }
}

/// Decodes a notice; `None` if it is malformed, or a `Rebuilt` notice that is too old.
pub(super) fn decode(bytes: &[u8]) -> Option<Arc<RowNotice>> {
    Some(Arc::new(match serde_json::from_slice(bytes).ok()? {
        EncodedNotice::Rebuilt { written_at, .. } if now().micros().saturating_sub(written_at) > REBUILT_AGE_MOST => {
            return None;
        }
        EncodedNotice::Rebuilt { model, .. } => RowNotice::Rebuilt { model },
        EncodedNotice::Batch { models, tenants } => RowNotice::Batch(ChangeBatch {
            changed: models.into_iter().map(EncodedChanges::into_changed).collect(),
            tenants: tenants
                .into_iter()
                .map(|(tenant, tenant_position, epoch)| (tenant, Freshness { tenant_position, epoch }))
                .collect::<HashMap<_, _>>(),
        }),
    }))
}

fn to_bytes(notice: &EncodedNotice) -> Option<Vec<u8>> {
    serde_json::to_vec(notice).ok().filter(|bytes| bytes.len() <= BYTES_MOST)
}

impl EncodedChanges {
    fn of(changed: &ChangedRows) -> Self {
        let moved = |(from, to): &Move| (to.lane, (from.position, from.epoch), (to.position, to.epoch));
        let row = |change: &Change| (change.place.tenant, change.place.key.as_str().into(), change.row.clone());
        Self {
            model: changed.model.clone(),
            moves: changed.moves.iter().map(moved).collect(),
            rows: changed.rows.iter().map(row).collect(),
        }
    }

    fn into_changed(self) -> ChangedRows {
        let moved = |(lane, from, to): (i16, EncodedCheckpoint, EncodedCheckpoint)| {
            let at = |(position, epoch)| Checkpoint { lane, position, epoch };
            (at(from), at(to))
        };
        let change = |(tenant, key, row)| Change { place: Place { tenant, key: Key::from_text(key) }, row };
        ChangedRows {
            model: self.model,
            moves: self.moves.into_iter().map(moved).collect(),
            rows: self.rows.into_iter().map(change).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn batch(rows: usize) -> ChangeBatch {
        let at = |position| Checkpoint { lane: 3, position, epoch: -7 };
        let tenant = TenantId::new(Uuid::from_u128(1));
        let row = |number: usize| Change {
            place: Place { tenant, key: Key::of(&[number]) },
            row: (number > 0).then(|| "x".repeat(1_000)),
        };
        let changed = |model: &str| ChangedRows {
            model: model.into(),
            moves: vec![(at(4), at(9))],
            rows: (0..rows).map(row).collect(),
        };
        let tenants = HashMap::from([(tenant, Freshness { tenant_position: 5, epoch: -7 })]);
        ChangeBatch { changed: vec![changed("One"), changed("Two")], tenants }
    }

    #[test]
    fn encoded_notice_decodes_to_the_same_and_others_to_none() {
        for notice in [RowNotice::Batch(batch(3)), RowNotice::Rebuilt { model: "One".into() }] {
            let messages = encode(&notice);
            assert_eq!(messages.len(), 1);
            assert_eq!(decode(&messages[0]).as_deref(), Some(&notice));
        }
        for other in [b"".as_slice(), b"{}", b"[1]", br#"{"rebuilt":{"model":7}}"#, br#"{"other":{"model":"One"}}"#] {
            assert_eq!(decode(other), None);
        }
        let rebuilt = |age: i64| EncodedNotice::Rebuilt { model: "One".into(), written_at: now().micros() - age };
        let encoded = |age| to_bytes(&rebuilt(age)).expect("a short notice");
        assert_eq!(decode(&encoded(REBUILT_AGE_MOST + 1)), None);
        assert!(decode(&encoded(REBUILT_AGE_MOST / 2)).is_some());
    }

    #[test]
    fn long_notice_is_split_by_model_and_too_long_models_are_left_out() {
        let lengths = |rows| encode(&RowNotice::Batch(batch(rows))).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(200).len(), 2);
        assert!(lengths(200).iter().all(|length| *length <= BYTES_MOST));
        assert_eq!(lengths(300).len(), 0);
    }
}
