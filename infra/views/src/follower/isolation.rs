//! Isolated read models: those whose table fails again and again catch up on their own, so that the others go on.

use std::time::Duration;

use projections::kernel::Model;
use projections::ports::Fault;
use tokio::time::Instant;

use super::{BATCH_EVENTS, BatchResult, PgProjector, ReadModelFollower};

/// Delay before the first retry; doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const DELAY_MOST: Duration = Duration::from_secs(10);

/// Schedule of the retries of isolated models.
#[derive(Default)]
pub(super) struct IsolatedModels {
    /// Time of the next retry, and the delay that led to it.
    next: Option<(Instant, Duration)>,
}

impl IsolatedModels {
    /// Lets isolated models try their next events, if a retry is due. Returns the models whose checkpoint belongs to a
    /// lost history.
    pub(super) async fn retry(
        &mut self,
        follower: &ReadModelFollower,
        projector: &mut PgProjector,
    ) -> Result<Vec<Model>, Fault> {
        if projector.isolated().next().is_none() {
            self.next = None;
            return Ok(vec![]);
        }
        let (due, delay) = *self.next.get_or_insert((Instant::now() + FIRST_DELAY, FIRST_DELAY));
        if Instant::now() < due {
            return Ok(vec![]);
        }
        let lanes = follower.assigned_lanes().iter().map(|lane| lane.0).collect();
        let (mut diverged, mut has_failed) = (Vec::new(), false);
        for (events, outcome) in projector.retry_isolated(&lanes, BATCH_EVENTS).await? {
            let BatchResult { diverged: models, .. } = follower.report(&outcome);
            diverged.extend(models);
            has_failed |= !outcome.errors.is_empty();
            follower.notices.publish_batch(&events, outcome.changed);
        }
        let delay = if has_failed { (delay * 2).min(DELAY_MOST) } else { Duration::ZERO };
        self.next = Some((Instant::now() + delay, delay.max(FIRST_DELAY)));
        Ok(diverged)
    }
}
