//! Kafka follower of the policies. Positions decide as they do without Kafka: repeated events are skipped; missing
//! events, and those of a history that a restore has replaced, are read from the log instead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use event_log::kafka_feed::{BATCH_EVENTS_MOST, ConsumerGroup, FeedBatch, KafkaFeed};
use projections::ports::RawEvent;
use tokio::time::Instant;

use crate::lanes::Lanes;
use crate::log_reader::Delta;
use crate::positions::Positions;
use crate::runner::{PolicyRunner, ReadResult};

const GROUP: ConsumerGroup = ConsumerGroup {
    name: "cartulary.policies",
    component: "the consumer group of policies",
    role: "policies",
    progress_sql: "SELECT lane, max(position) AS position FROM work.policies GROUP BY lane",
};

/// Maximum time for reading missing events from the log before Kafka is polled again.
const CATCH_UP: Duration = Duration::from_secs(1);

impl PolicyRunner {
    /// Joins the consumer group as soon as Kafka answers, if events are to come from Kafka. A process that writes lanes
    /// reads its own tail instead.
    pub(crate) fn open_kafka_feed(&self) -> Option<KafkaFeed> {
        let (Some(kafka), Lanes::Shared(share)) = (&self.kafka, &self.lanes) else { return None };
        Some(KafkaFeed::open(GROUP, kafka.clone(), self.pool.clone(), share.clone(), self.health.clone()))
    }

    /// Reacts to the next events from Kafka.
    pub(crate) async fn follow_kafka(
        &self,
        feed: &mut KafkaFeed,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        let FeedBatch { events, reassigned } = feed.next().await?;
        let (lanes, check) = (feed.lanes(), !events.is_empty() || feed.is_comparison_due());
        let known = !reassigned && positions.are_of(&lanes);
        // A restored log may have new events already while Kafka still carries the lost ones.
        if !known || check && !positions.are_current(&self.pool).await? {
            *positions = self.read_positions(lanes).await?;
        }
        let is_full = events.len() >= BATCH_EVENTS_MOST;
        let (deltas, mut behind) = next_events(events, positions, &self.subscribed_events());
        if !behind.is_empty() {
            let lanes: Vec<i16> = behind.iter().map(|lane| lane.0).collect();
            tracing::warn!(?lanes, "Kafka does not continue at the positions of the policies; reading the log");
        }
        let mut result = self.react_to(&deltas, positions).await?;
        if let Some(look) = feed.compare_with_log(|lane| positions.after(LaneId(lane))).await? {
            metrics::gauge!("cartulary_policies_lag_events")
                .set(f64::from(u32::try_from(look.lag).unwrap_or(u32::MAX)));
            behind.extend(look.lagging);
        }
        result = result.max(self.catch_up(&behind, positions).await?);
        feed.commit();
        Ok(if is_full { ReadResult::More } else { result })
    }

    /// Reacts to the new events of these lanes of the log, for at most [`CATCH_UP`].
    async fn catch_up(&self, lanes: &BTreeSet<LaneId>, positions: &mut Positions) -> anyhow::Result<ReadResult> {
        let started = Instant::now();
        loop {
            let result = self.react_in(lanes, positions).await?;
            if result < ReadResult::More || started.elapsed() > CATCH_UP {
                return Ok(result);
            }
        }
    }
}

/// Splits events from Kafka into the next ones of each lane, of which those with these names are kept, and the lanes in
/// which events are missing before them. An event of a replaced history counts as missing, because the log has another
/// event at its position.
fn next_events(
    events: Vec<RawEvent>,
    positions: &Positions,
    names: &[&str],
) -> (BTreeMap<LaneId, Delta>, BTreeSet<LaneId>) {
    let (mut deltas, mut gaps) = (BTreeMap::<LaneId, Delta>::new(), BTreeSet::new());
    for event in events {
        let lane = LaneId(event.lane);
        let Some(after) = positions.after(lane).filter(|_| !gaps.contains(&lane)) else { continue };
        let last = deltas.get(&lane).map_or(after, |delta| delta.upto);
        if event.position <= last {
            continue;
        }
        if event.position > last + 1 || !positions.agree(&event) {
            gaps.insert(lane);
            continue;
        }
        let delta = deltas.entry(lane).or_insert(Delta { upto: last, events: Vec::new() });
        delta.upto = event.position;
        // No policy subscribes to most events; of these only the position matters.
        if names.contains(&&*event.kind) {
            delta.events.push(event);
        }
    }
    (deltas, gaps)
}

#[cfg(test)]
mod tests {
    use domain::kernel::Actor;
    use domain::shared::{CommandId, Principal, TenantId, Timestamp};
    use projections::ports::DecodedEvent;
    use uuid::Uuid;

    use super::*;

    const LANE: LaneId = LaneId(3);

    fn event(lane: i16, position: i64, epoch: i64, kind: &str) -> RawEvent {
        RawEvent {
            lane,
            position,
            epoch,
            tenant: TenantId::new(Uuid::nil()),
            tenant_position: position,
            stream_type: "Order".into(),
            stream: Uuid::nil(),
            sequence: 1,
            principal: Principal::ENGINE,
            command: CommandId::new(Uuid::nil()),
            index: 0,
            kind: kind.into(),
            version: 1,
            payload: "{}".into(),
            actor: Actor::Member(Principal::ENGINE),
            occurred_at: Timestamp::default(),
            recorded_at: Timestamp::default(),
            decoded: DecodedEvent::default(),
        }
    }

    /// Runs a policy at position 10 of a lane that epoch 1 wrote up to position 11. Returns its new position, the
    /// positions of the events that it reacts to, and whether the log must be read.
    fn next(events: &[(i64, i64, &str)]) -> (Option<i64>, Vec<i64>, bool) {
        let positions = Positions::with_one(LANE, 10, vec![(1, 1), (2, 12)]);
        let events = events.iter().map(|(position, epoch, kind)| event(LANE.0, *position, *epoch, kind)).collect();
        let (mut deltas, gaps) = next_events(events, &positions, &["order.paid"]);
        let delta = deltas.remove(&LANE);
        let upto = delta.as_ref().map(|delta| delta.upto);
        let events = delta.into_iter().flat_map(|delta| delta.events).map(|event| event.position).collect();
        (upto, events, gaps.contains(&LANE))
    }

    #[test]
    fn events_without_subscribers_advance_the_position_and_repeated_events_are_skipped() {
        let events = [(9, 1, "order.paid"), (11, 1, "order.placed"), (11, 1, "order.paid"), (12, 2, "order.paid")];
        assert_eq!(next(&events), (Some(12), vec![12], false));
        assert_eq!(next(&events[..2]), (Some(11), vec![], false));
    }

    #[test]
    fn gaps_and_events_of_a_replaced_history_are_left_to_the_log() {
        assert_eq!(next(&[(12, 2, "order.paid")]), (None, vec![], true));
        assert_eq!(next(&[(11, 1, "order.paid"), (13, 2, "order.paid")]), (Some(11), vec![11], true));
        let lost = [(11, 1, "order.paid"), (12, 1, "order.paid"), (12, 2, "order.paid")];
        assert_eq!(next(&lost), (Some(11), vec![11], true));
        assert_eq!(next(&[(11, 7, "order.paid")]), (None, vec![], true));
    }

    #[test]
    fn events_of_lanes_that_are_not_followed_are_ignored() {
        let positions = Positions::with_one(LANE, 10, vec![(1, 1)]);
        let (deltas, gaps) = next_events(vec![event(4, 1, 1, "order.paid")], &positions, &["order.paid"]);
        assert!(deltas.is_empty() && gaps.is_empty());
    }
}
