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
    /// Opens the feed if Kafka is configured. The feed joins the consumer group as soon as Kafka answers.
    pub(super) fn open_kafka_feed(&self) -> Option<KafkaFeed> {
        let (pool, lanes, health) = (self.pool.clone(), self.lanes.clone(), self.health.clone());
        Some(KafkaFeed::open(GROUP, self.kafka.clone()?, pool, lanes, health))
    }

    /// Projects the next batch from Kafka, then the events of the log in lanes with a gap or a lag, and commits the
    /// offsets. Returns the models whose checkpoint belongs to a lost history.
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
            let result = self.project(projector, &events).await?;
            diverged = result.diverged;
            behind.extend(result.gaps);
        }
        if let Some(comparison) = feed.compare_with_log(|lane| projector.after(lane)).await? {
            self.report_lag(comparison.lag);
            behind.extend(comparison.lagging);
        }
        if !behind.is_empty() && diverged.is_empty() {
            diverged = self.catch_up(projector, &behind).await?;
        }
        feed.commit();
        Ok(diverged)
    }
}
