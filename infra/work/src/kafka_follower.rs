//! Kafka follower of policies. The positions of the policies decide which events from Kafka are used: repeated events
//! are skipped; instead of missing events, and of events that a restore of the log has replaced, the log is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use event_log::kafka_feed::{BATCH_EVENTS_MOST, ConsumerGroup, FeedBatch, KafkaFeed};
use projections::ports::RawEvent;
use tokio::time::Instant;

use crate::lanes::Lanes;
use crate::log_reader::NewEvents;
use crate::positions::Positions;
use crate::runner::{PolicyRunner, ReadResult};

const GROUP: ConsumerGroup = ConsumerGroup {
    name: "cartulary.policies",
    component: "the consumer group of policies",
    role: "policies",
    progress_sql: "SELECT lane, max(position) AS position FROM work.policies GROUP BY lane",
};

/// Maximum time for reading missing events from the log before Kafka is polled again.
const CATCH_UP_SLICE: Duration = Duration::from_secs(1);

impl PolicyRunner {
    /// Opens the feed if Kafka is configured, unless this process writes lanes: it then reads its own tail. The feed
    /// joins the consumer group as soon as Kafka answers.
    pub(crate) fn open_kafka_feed(&self) -> Option<KafkaFeed> {
        let (Some(kafka), Lanes::Assigned(assigned)) = (&self.kafka, &self.lanes) else { return None };
        Some(KafkaFeed::open(GROUP, kafka.clone(), self.pool.clone(), assigned.clone(), self.health.clone()))
    }

    /// Reacts to the next events from Kafka.
    pub(crate) async fn follow_kafka(
        &self,
        feed: &mut KafkaFeed,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        let FeedBatch { events, reassigned } = feed.next().await?;
        let (lanes, is_check_due) = (feed.lanes(), !events.is_empty() || feed.is_comparison_due());
        let are_read = !reassigned && positions.are_for(&lanes);
        // After a restore of the log, Kafka still carries the lost events, which only the epochs of the lanes reveal.
        if !are_read || is_check_due && !positions.are_current(&self.pool).await? {
            *positions = self.read_positions(lanes).await?;
        }
        let is_full = events.len() >= BATCH_EVENTS_MOST;
        let (by_lane, mut behind) = next_events(events, positions, &self.subscribed_events());
        if !behind.is_empty() {
            let lanes: Vec<i16> = behind.iter().map(|lane| lane.0).collect();
            tracing::warn!(?lanes, "Kafka does not continue at the positions of the policies; reading the log");
        }
        let mut result = self.react(&by_lane, positions).await?;
        if let Some(comparison) = feed.compare_with_log(|lane| positions.after(LaneId(lane))).await? {
            metrics::gauge!("cartulary_policies_lag_events")
                .set(f64::from(u32::try_from(comparison.lag).unwrap_or(u32::MAX)));
            behind.extend(comparison.lagging);
        }
        result = result.max(self.catch_up(&behind, positions).await?);
        feed.commit();
        Ok(if is_full { ReadResult::More } else { result })
    }

    /// Reads the new events of these lanes from the log and reacts to them, for at most [`CATCH_UP_SLICE`].
    async fn catch_up(&self, lanes: &BTreeSet<LaneId>, positions: &mut Positions) -> anyhow::Result<ReadResult> {
        let started = Instant::now();
        loop {
            let result = self.read_and_react(lanes, positions).await?;
            if result < ReadResult::More || started.elapsed() > CATCH_UP_SLICE {
                return Ok(result);
            }
        }
    }
}

/// Selects the events from Kafka that continue at the positions of their lanes, and keeps those with these names.
/// Returns them with the lanes in which an event is missing. An event that a restore of the log has replaced counts as
/// missing, because the log has another event at its position.
fn next_events(
    events: Vec<RawEvent>,
    positions: &Positions,
    names: &[&str],
) -> (BTreeMap<LaneId, NewEvents>, BTreeSet<LaneId>) {
    let (mut by_lane, mut gaps) = (BTreeMap::<LaneId, NewEvents>::new(), BTreeSet::new());
    for event in events {
        let lane = LaneId(event.lane);
        let Some(after) = positions.after(lane).filter(|_| !gaps.contains(&lane)) else { continue };
        let last = by_lane.get(&lane).map_or(after, |new| new.end);
        if event.position <= last {
            continue;
        }
        if event.position > last + 1 || !positions.agree_with(&event) {
            gaps.insert(lane);
            continue;
        }
        let new = by_lane.entry(lane).or_insert(NewEvents { end: last, events: Vec::new() });
        new.end = event.position;
        // Of an event without a subscribed policy only the position matters.
        if names.contains(&&*event.kind) {
            new.events.push(event);
        }
    }
    (by_lane, gaps)
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
            correlation: None,
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
        let (mut by_lane, gaps) = next_events(events, &positions, &["order.paid"]);
        let new = by_lane.remove(&LANE);
        let end = new.as_ref().map(|new| new.end);
        let events = new.into_iter().flat_map(|new| new.events).map(|event| event.position).collect();
        (end, events, gaps.contains(&LANE))
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
        let (by_lane, gaps) = next_events(vec![event(4, 1, 1, "order.paid")], &positions, &["order.paid"]);
        assert!(by_lane.is_empty() && gaps.is_empty());
    }
}
