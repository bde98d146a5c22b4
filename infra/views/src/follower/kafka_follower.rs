//! Kafka follower: consumes the events of the log from Kafka in a consumer group.

use std::collections::BTreeMap;

use commands::scribe::LaneId;
use event_log::kafka_feed::{ConsumerGroup, FeedBatch, KafkaFeed};
use projections::ports::History;

use super::{Groups, ReadModelFollower};

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

    /// Receives the next batch from Kafka and gives the groups its end as their target. In lanes with a lag, the target
    /// is the end of the log, and the groups read the events that Kafka lacks from there.
    pub(super) async fn receive(&mut self, feed: &mut KafkaFeed, groups: &Groups) -> anyhow::Result<()> {
        let FeedBatch { events, reassigned } = feed.next().await?;
        let before = groups.target.borrow().heads.clone();
        let mut heads: BTreeMap<i16, i64> =
            feed.lanes().iter().map(|lane| (lane.0, before.get(&lane.0).copied().unwrap_or(0))).collect();
        for event in &events {
            heads.entry(event.lane).and_modify(|head| *head = event.position.max(*head));
        }
        groups.pages.add(events).await;
        if let Some(comparison) = feed.compare_with_log(|lane| groups.board.reached(lane)).await? {
            self.report_lag(comparison.lag);
            if !comparison.lagging.is_empty() {
                for end in self.feed.heads().await? {
                    if comparison.lagging.contains(&LaneId(end.lane)) {
                        heads.insert(end.lane, end.position);
                    }
                }
            }
        }
        groups.set_heads(heads);
        if reassigned {
            groups.reopen();
        }
        // The next consumer of a lane begins here, but trusts only its own checkpoints: it reads from the log what is
        // not projected yet.
        feed.commit();
        Ok(())
    }
}
