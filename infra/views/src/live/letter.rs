//! How news are written for other processes.

use std::collections::HashMap;
use std::sync::Arc;

use api::port::Freshness;
use domain::shared::TenantId;
use projections::kernel::{Change, Key, Place};
use projections::ports::{Checkpoint, Move};
use projections::projector::ChangedRows;
use serde::{Deserialize, Serialize};

use super::{Batch, News};
use platform::clock::now;

/// A letter that is longer is not sent; who misses it finds the rows in the store.
pub(super) const BYTES_MOST: usize = 256 * 1024;

/// A letter that sends readers away counts for this long, in microseconds: whoever kept one could send them away again
/// and again. Other letters say from where they go, so that old ones are seen to be old.
const COUNTS_FOR: i64 = 600_000_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Letter {
    Taken { models: Vec<Model>, tenants: Vec<(TenantId, i64, i64)> },
    Rebuilt { model: String, written_at: i64 },
}

/// Position and epoch.
type At = (i64, i64);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    model: String,
    /// Lane, from where, to where.
    moves: Vec<(i16, At, At)>,
    /// Tenant, key, and the row where it did not go away.
    rows: Vec<(TenantId, Box<str>, Option<String>)>,
}

/// One letter, or one for each model where that would be too long; none where even that is.
pub(super) fn write(news: &News) -> Vec<Vec<u8>> {
    let batch = match news {
        News::Rebuilt { model } => {
            let letter = Letter::Rebuilt { model: model.clone(), written_at: now().micros() };
            return bytes(&letter).into_iter().collect();
        }
        News::Taken(batch) => batch,
    };
    let letter = |changed: &[ChangedRows]| {
        let tenants = batch.tenants.iter().map(|(tenant, at)| (*tenant, at.tenant_position, at.epoch)).collect();
        bytes(&Letter::Taken { models: changed.iter().map(Model::of).collect(), tenants })
    };
    match letter(&batch.changed) {
        Some(letter) => vec![letter],
        None => batch.changed.iter().filter_map(|changed| letter(std::slice::from_ref(changed))).collect(),
    }
}

/// Nothing where it is no letter of ours, or one that counts no more.
pub(super) fn read(bytes: &[u8]) -> Option<Arc<News>> {
    Some(Arc::new(match serde_json::from_slice(bytes).ok()? {
        Letter::Rebuilt { written_at, .. } if now().micros().saturating_sub(written_at) > COUNTS_FOR => return None,
        Letter::Rebuilt { model, .. } => News::Rebuilt { model },
        Letter::Taken { models, tenants } => News::Taken(Batch {
            changed: models.into_iter().map(Model::into_changed).collect(),
            tenants: tenants
                .into_iter()
                .map(|(tenant, tenant_position, epoch)| (tenant, Freshness { tenant_position, epoch }))
                .collect::<HashMap<_, _>>(),
        }),
    }))
}

fn bytes(letter: &Letter) -> Option<Vec<u8>> {
    serde_json::to_vec(letter).ok().filter(|letter| letter.len() <= BYTES_MOST)
}

impl Model {
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
        let moved = |(lane, from, to): (i16, At, At)| {
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

    fn batch(rows: usize) -> Batch {
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
        Batch { changed: vec![changed("One"), changed("Two")], tenants }
    }

    #[test]
    fn news_are_read_as_they_were_written() {
        for news in [News::Taken(batch(3)), News::Rebuilt { model: "One".into() }] {
            let letters = write(&news);
            assert_eq!(letters.len(), 1);
            assert_eq!(read(&letters[0]).as_deref(), Some(&news));
        }
        for other in [b"".as_slice(), b"{}", b"[1]", br#"{"rebuilt":{"model":7}}"#, br#"{"told":{"model":"One"}}"#] {
            assert_eq!(read(other), None);
        }
        let kept = |written_at| bytes(&Letter::Rebuilt { model: "One".into(), written_at }).expect("it is short");
        assert_eq!(read(&kept(now().micros() - COUNTS_FOR - 1)), None);
        assert!(read(&kept(now().micros() - COUNTS_FOR / 2)).is_some());
    }

    #[test]
    fn a_long_letter_becomes_several_or_none() {
        let lengths = |rows| write(&News::Taken(batch(rows))).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(200).len(), 2);
        assert!(lengths(200).iter().all(|length| *length <= BYTES_MOST));
        assert_eq!(lengths(300).len(), 0);
    }
}
