//! Kafka follower: consumes the events of the log from Kafka in a consumer group.

use std::collections::BTreeSet;

use event_log::kafka_feed::{ConsumerGroup, FeedBatch, KafkaFeed};
use projections::kernel::Model;

use super::{PgProjector, ReadModelFollower};

const GROUP: ConsumerGroup = ConsumerGroup {
    name: "cartulary.project",
    component: "the consumer group of read models",
    role: "project",
    progress_sql:
        "SELECT c.lane, max(c.position) AS position FROM reads.checkpoints c JOIN reads.live USING (model, shape)
            GROUP BY c.lane",
};

impl ReadModelFollower {
    /// Opens the Kafka feed if it is configured. It joins the consumer group as soon as Kafka answers.
    pub(super) fn open_kafka_feed(&self) -> Option<KafkaFeed> {
        let (pool, lanes, health) = (self.pool.clone(), self.lanes.clone(), self.health.clone());
        Some(KafkaFeed::open(GROUP, self.kafka.clone()?, pool, lanes, health))
    }

    /// Projects the next batch from Kafka, reads gaps and late events from the log, and commits the offsets. Returns the
    /// models whose rows include events of a lost history.
    pub(super) async fn follow_kafka(
        &mut self,
        feed: &mut KafkaFeed,
        projector: &mut PgProjector,
    ) -> anyhow::Result<Vec<Model>> {
        let FeedBatch { events, reassigned } = feed.next().await?;
        if reassigned {
            *projector = self.open_projector().await?;
        }
        let mut behind = BTreeSet::new();
        let mut diverged = Vec::new();
        if !events.is_empty() {
            let effects = self.project(projector, &events).await?;
            diverged = effects.diverged;
            behind.extend(effects.gaps);
        }
        if let Some(look) = feed.compare_with_log(|lane| projector.after(lane)).await? {
            self.report_lag(look.lag);
            behind.extend(look.lagging);
        }
        if !behind.is_empty() && diverged.is_empty() {
            diverged = self.catch_up(projector, &behind).await?;
        }
        feed.commit();
        Ok(diverged)
    }
}
