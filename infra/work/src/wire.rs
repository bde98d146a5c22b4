//! Follows what Kafka carries of the log. Positions decide here as they do without Kafka: what repeats is skipped, and what
//! is missing, or of a history that was lost, is read from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::scribe::LaneId;
use projections::ports::RawEvent;
use tokio::time::Instant;

use super::positions::Positions;
use super::reactions::Found;
use super::reading::News;
use super::{Lanes, PolicyRunner};
use event_log::kafka_feed::{BATCH, Carried, Group, Wire};

const GROUP: Group = Group {
    name: "cartulary.policies",
    part: "the consumer group of policies",
    role: "policies",
    taken: "SELECT lane, max(position) AS position FROM work.policies GROUP BY lane",
};

/// How long what is missing is read from the log before Kafka is looked at again.
const CATCH_UP: Duration = Duration::from_secs(1);

impl PolicyRunner {
    /// Joins the group as soon as Kafka answers, if events are to come from there. Who writes lanes reads what it wrote.
    pub(super) fn open_wire(&self) -> Option<Wire> {
        let (Some(kafka), Lanes::Shared(share)) = (&self.kafka, &self.lanes) else { return None };
        Some(Wire::open(GROUP, kafka.clone(), self.pool.clone(), share.clone(), self.health.clone()))
    }

    /// Reacts to what comes next.
    pub(super) async fn follow(&self, wire: &mut Wire, positions: &mut Positions) -> anyhow::Result<Found> {
        let Carried { events, handed_over } = wire.next().await?;
        let (held, looks) = (wire.lanes(), !events.is_empty() || wire.asks_the_log());
        let known = !handed_over && positions.are_of(&held);
        // A restored log may be written anew already, while Kafka still carries what was lost.
        if !known || looks && !positions.are_current(&self.pool).await? {
            *positions = self.positions_of(held).await?;
        }
        let full = events.len() >= BATCH;
        let (news, mut behind) = next_of(events, positions, &self.names());
        if !behind.is_empty() {
            let lanes: Vec<i16> = behind.iter().map(|lane| lane.0).collect();
            tracing::warn!(?lanes, "Kafka does not go on where the policies stand; reading the log");
        }
        let mut found = self.react_to(&news, positions).await?;
        if let Some(look) = wire.look_at_log(|lane| positions.after(LaneId(lane))).await? {
            metrics::gauge!("cartulary_policies_lag_events")
                .set(f64::from(u32::try_from(look.lag).unwrap_or(u32::MAX)));
            behind.extend(look.late);
        }
        found = found.max(self.catch_up(&behind, positions).await?);
        wire.commit();
        Ok(if full { Found::More } else { found })
    }

    /// Reacts to everything that is in these lanes of the log now, or to as much of it as there is time for.
    async fn catch_up(&self, lanes: &BTreeSet<LaneId>, positions: &mut Positions) -> anyhow::Result<Found> {
        let begun = Instant::now();
        loop {
            let found = self.react_in(lanes, positions).await?;
            if found < Found::More || begun.elapsed() > CATCH_UP {
                return Ok(found);
            }
        }
    }
}

/// Of these events what is next in each lane, with those of these names, and the lanes of which something is missing in
/// between: a record of a lost history counts as missing, because the log has another event in its place.
fn next_of(events: Vec<RawEvent>, positions: &Positions, names: &[&str]) -> (BTreeMap<LaneId, News>, BTreeSet<LaneId>) {
    let (mut news, mut holes) = (BTreeMap::<LaneId, News>::new(), BTreeSet::new());
    for event in events {
        let lane = LaneId(event.lane);
        let Some(after) = positions.after(lane).filter(|_| !holes.contains(&lane)) else { continue };
        let last = news.get(&lane).map_or(after, |news| news.upto);
        if event.position <= last {
            continue;
        }
        if event.position > last + 1 || !positions.agree(&event) {
            holes.insert(lane);
            continue;
        }
        let news = news.entry(lane).or_insert(News { upto: last, events: Vec::new() });
        news.upto = event.position;
        // Most events concern nobody; of these the position is all that counts.
        if names.contains(&&*event.kind) {
            news.events.push(event);
        }
    }
    (news, holes)
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

    /// Up to where a policy comes that stands at 10, at which events it looks, and whether it must ask the log; epoch 1
    /// wrote the lane up to 11.
    fn next(events: &[(i64, i64, &str)]) -> (Option<i64>, Vec<i64>, bool) {
        let positions = Positions::at(LANE, 10, vec![(1, 1), (2, 12)]);
        let events = events.iter().map(|(position, epoch, kind)| event(LANE.0, *position, *epoch, kind)).collect();
        let (mut news, holes) = next_of(events, &positions, &["order.paid"]);
        let news = news.remove(&LANE);
        let upto = news.as_ref().map(|news| news.upto);
        (
            upto,
            news.into_iter().flat_map(|news| news.events).map(|event| event.position).collect(),
            holes.contains(&LANE),
        )
    }

    #[test]
    fn what_concerns_nobody_moves_a_policy_on_and_what_repeats_does_not() {
        let events = [(9, 1, "order.paid"), (11, 1, "order.placed"), (11, 1, "order.paid"), (12, 2, "order.paid")];
        assert_eq!(next(&events), (Some(12), vec![12], false));
        assert_eq!(next(&events[..2]), (Some(11), vec![], false));
    }

    #[test]
    fn before_a_hole_and_before_a_lost_history_it_stops_and_asks_the_log() {
        assert_eq!(next(&[(12, 2, "order.paid")]), (None, vec![], true));
        assert_eq!(next(&[(11, 1, "order.paid"), (13, 2, "order.paid")]), (Some(11), vec![11], true));
        let lost = [(11, 1, "order.paid"), (12, 1, "order.paid"), (12, 2, "order.paid")];
        assert_eq!(next(&lost), (Some(11), vec![11], true));
        assert_eq!(next(&[(11, 7, "order.paid")]), (None, vec![], true));
    }

    #[test]
    fn lanes_of_others_are_left_to_them() {
        let positions = Positions::at(LANE, 10, vec![(1, 1)]);
        let (news, holes) = next_of(vec![event(4, 1, 1, "order.paid")], &positions, &["order.paid"]);
        assert!(news.is_empty() && holes.is_empty());
    }
}
