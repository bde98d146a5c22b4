//! Histories of the lanes: a row that was cached in a history that the log has lost is not served.
//!
//! Without this, a restore of the database to an earlier moment would leave rows of the lost future in a Redis that was not
//! restored with it, until their time to live ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use platform::connectivity::within_statement_timeout;
use projections::ports::{Checkpoint, Epochs};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Interval at which new histories are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Epochs of all lanes, as this process last read them. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Histories(Arc<RwLock<HashMap<i16, Epochs>>>);

impl Histories {
    /// True if the log still has the event at which a row was read.
    pub(super) fn contain(&self, at: Checkpoint) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&at.lane).is_some_and(|epochs| epochs.agrees(at.position, at.epoch))
    }

    /// Reads the histories again whenever a lane was taken over, until `stop`.
    pub(super) async fn follow(self, pool: PgPool, stop: CancellationToken) {
        let mut owned = Vec::new();
        loop {
            match within_statement_timeout(read_if_changed(&pool, &mut owned)).await {
                Ok(Some(epochs)) => *self.0.write().unwrap_or_else(PoisonError::into_inner) = epochs,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the epochs of the lanes cannot be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }
}

/// The epochs of all lanes; `None` if the lanes have the same epochs as at the last read.
async fn read_if_changed(
    pool: &PgPool,
    owned: &mut Vec<(i16, i64)>,
) -> Result<Option<HashMap<i16, Epochs>>, sqlx::Error> {
    let current = sqlx::query_as("SELECT lane, epoch FROM log.lanes ORDER BY lane").fetch_all(pool).await?;
    if current == *owned {
        return Ok(None);
    }
    let text = "SELECT lane, epoch, first_position FROM log.epochs ORDER BY since";
    let begun: Vec<(i16, i64, i64)> = sqlx::query_as(text).fetch_all(pool).await?;
    let mut epochs: HashMap<i16, Vec<(i64, i64)>> = HashMap::new();
    for (lane, epoch, first) in begun {
        epochs.entry(lane).or_default().push((epoch, first));
    }
    *owned = current;
    Ok(Some(epochs.into_iter().map(|(lane, epochs)| (lane, Epochs::new(epochs))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_a_lost_history_is_not_contained() {
        let histories = Histories::default();
        let at = |position, epoch| Checkpoint { lane: 3, position, epoch };
        assert!(!histories.contain(at(5, 7)), "no history is known yet");
        histories.0.write().expect("not poisoned").insert(3, Epochs::new(vec![(7, 1), (9, 6)]));
        let contained = [at(0, 0), at(5, 7), at(6, 9), at(6, 7), at(8, 7), at(5, 9)].map(|at| histories.contain(at));
        assert_eq!(contained, [true, true, true, false, false, false]);
    }
}
