//! Follows what Kafka carries of the log. What is missing there is read from the log itself.

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use kafka::Feed;
use projections::kernel::Model;
use projections::projector::What;
use tokio::time::Instant;

use super::{BATCH, PgProjector, ReadSide};
use crate::feed::StoreFeed;

/// The consumer group of all processes that keep read models.
const GROUP: &str = "cartulary.project";
/// How long to wait for events before the rest is looked after.
const WITHIN: Duration = Duration::from_millis(100);
/// How often the log is asked whether Kafka has kept something back: it may be away, and it may refuse an event.
const ASK_THE_LOG: Duration = Duration::from_secs(1);

/// A place in the consumer group.
pub(super) struct Wire {
    feed: Feed<StoreFeed>,
    asked: Instant,
}

impl ReadSide {
    /// Joins the group, if events are to come from Kafka.
    pub(super) async fn open_wire(&self) -> anyhow::Result<Option<Wire>> {
        let Some(settings) = &self.kafka else { return Ok(None) };
        let feed = Feed::open(settings, GROUP, self.feed.clone()).await?;
        Ok(Some(Wire { feed, asked: Instant::now() }))
    }

    /// Takes what comes next. Names the models that have followed a history that was lost.
    pub(super) async fn take_from(
        &mut self,
        wire: &mut Wire,
        projector: &mut PgProjector,
    ) -> anyhow::Result<Vec<Model>> {
        let batch = wire.feed.next(BATCH, WITHIN).await?;
        if !batch.assigned.is_empty() {
            // Somebody else has moved the checkpoints of these lanes.
            *projector = self.open().await?;
        }
        let mut behind = BTreeSet::new();
        let mut lost = Vec::new();
        if !batch.events.is_empty() {
            let count = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            metrics::counter!("cartulary_events_from_kafka_total").increment(count);
            let taken = projector.take(&batch.events).await?;
            self.progress.send_modify(|count| *count = count.wrapping_add(1));
            lost = self.look_at(&taken);
            behind.extend(taken.troubles.iter().filter_map(|trouble| match trouble.what {
                What::Hole { lane, .. } => Some(LaneId(lane)),
                _ => None,
            }));
            self.changes.tell(&batch.events, taken.changed);
        }
        if wire.asked.elapsed() > ASK_THE_LOG {
            behind.extend(wire.feed.lanes().iter().copied().map(LaneId));
            wire.asked = Instant::now();
        }
        if !behind.is_empty() && lost.is_empty() {
            lost = self.catch_up(projector, &behind).await?;
        }
        wire.feed.commit();
        Ok(lost)
    }
}
