//! Tail cache: the last events of each lane that this process wrote, so that readers in the same process need no query.
//!
//! Only durable events are added. A lane is cleared when its ownership changes: the next owner may continue another
//! history.

use std::collections::VecDeque;
use std::sync::Mutex;

use commands::scribe::{EventRow, LaneId};

use crate::lane_count::LaneCount;

/// Memory limit of one lane in bytes. A reader that is further behind reads from the store.
const BYTES_MOST: usize = 2 * 1024 * 1024;
/// Overhead of one event in bytes, in addition to its payload and meta.
const EVENT_BYTES: usize = 256;

/// Recently written events of all lanes.
pub struct Tail {
    lanes: Vec<Mutex<LaneTail>>,
}

#[derive(Default)]
struct LaneTail {
    /// Batches in the order written, each with its size in bytes. Positions have no gaps, and all are of one epoch.
    batches: VecDeque<(Vec<EventRow>, usize)>,
    epoch: i64,
    bytes: usize,
}

impl Tail {
    pub fn new(lanes: LaneCount) -> Self {
        Self { lanes: lanes.lanes().map(|_| Mutex::default()).collect() }
    }

    /// Adds the durable events of a batch to a lane.
    pub fn append(&self, lane: LaneId, epoch: i64, mut events: Vec<EventRow>) {
        // A batch may contain only rejections.
        if events.is_empty() {
            return;
        }
        // A batch reserves the capacity of the previous one; unused capacity is released.
        if events.capacity() / 2 > events.len() {
            events.shrink_to_fit();
        }
        self.with_lane(lane, |tail| {
            let last = tail.batches.back().and_then(|(events, _)| events.last());
            let expected = last.map(|last| last.position.saturating_add(1));
            if tail.epoch != epoch || expected != events.first().map(|first| first.position) {
                *tail = LaneTail { epoch, ..LaneTail::default() };
            }
            let bytes = events.iter().map(bytes_of).sum();
            tail.bytes = tail.bytes.saturating_add(bytes);
            tail.batches.push_back((events, bytes));
            while tail.bytes > BYTES_MOST
                && let Some((_, bytes)) = tail.batches.pop_front()
            {
                tail.bytes = tail.bytes.saturating_sub(bytes);
            }
        });
    }

    /// Clears a lane.
    pub fn clear(&self, lane: LaneId) {
        self.with_lane(lane, |tail| *tail = LaneTail::default());
    }

    /// Maps the events after a position, at most `most`, with their epoch. `None` if the tail does not contain the next
    /// event: read from the store then.
    pub fn after<T>(
        &self,
        lane: LaneId,
        position: i64,
        most: usize,
        map: impl Fn(&EventRow, i64) -> T,
    ) -> Option<Vec<T>> {
        self.with_lane(lane, |tail| {
            let next = position.saturating_add(1);
            let ends_before =
                |(events, _): &(Vec<EventRow>, usize)| events.last().is_none_or(|last| last.position < next);
            let from = tail.batches.partition_point(ends_before);
            let (events, _) = tail.batches.get(from)?;
            let skip = usize::try_from(next.checked_sub(events.first()?.position)?).ok()?;
            let events = tail.batches.range(from..).flat_map(|(events, _)| events).skip(skip);
            Some(events.take(most).map(|event| map(event, tail.epoch)).collect())
        })?
    }

    fn with_lane<T>(&self, lane: LaneId, action: impl FnOnce(&mut LaneTail) -> T) -> Option<T> {
        let mut tail = self.lanes.get(usize::from(lane.0.unsigned_abs()))?.lock().ok()?;
        Some(action(&mut tail))
    }
}

fn bytes_of(event: &EventRow) -> usize {
    EVENT_BYTES.saturating_add(event.payload.len()).saturating_add(event.meta.len())
}

#[cfg(test)]
mod tests {
    use domain::shared::{CommandId, Principal, TenantId, Timestamp};
    use uuid::Uuid;

    use super::*;

    const LANE: LaneId = LaneId(3);

    fn event(position: i64) -> EventRow {
        EventRow {
            position,
            tenant: TenantId::new(Uuid::nil()),
            tenant_position: position,
            stream_type: "Order",
            stream: Uuid::nil(),
            sequence: position,
            principal: Principal::ENGINE,
            command: CommandId::new(Uuid::nil()),
            command_index: 0,
            name: "order.placed".into(),
            version: 1,
            payload: "{}".into(),
            meta: "{}".into(),
            occurred_at: Timestamp::default(),
            recorded_at: Timestamp::default(),
        }
    }

    fn after(tail: &Tail, position: i64) -> Option<Vec<(i64, i64)>> {
        tail.after(LANE, position, 10, |event, epoch| (event.position, epoch))
    }

    #[test]
    fn events_after_a_cached_position_are_returned_and_older_or_future_ones_are_not() {
        let tail = Tail::new(LaneCount::DEFAULT);
        tail.append(LANE, 7, vec![event(4), event(5)]);
        tail.append(LANE, 7, vec![event(6)]);
        assert_eq!(after(&tail, 3), Some(vec![(4, 7), (5, 7), (6, 7)]));
        assert_eq!(after(&tail, 4), Some(vec![(5, 7), (6, 7)]));
        assert_eq!(after(&tail, 5), Some(vec![(6, 7)]));
        assert_eq!(after(&tail, 2), None);
        assert_eq!(after(&tail, 6), None);
    }

    #[test]
    fn oldest_batches_are_dropped_above_the_memory_limit() {
        let tail = Tail::new(LaneCount::DEFAULT);
        let most = i64::try_from(BYTES_MOST / bytes_of(&event(1))).expect("the count fits an i64");
        (1..=most + 2).for_each(|position| tail.append(LANE, 7, vec![event(position)]));
        assert_eq!(after(&tail, 1), None);
        assert_eq!(after(&tail, 2).map(|events| events[0]), Some((3, 7)));
        assert_eq!(after(&tail, most + 1), Some(vec![(most + 2, 7)]));
    }

    #[test]
    fn batch_without_events_changes_nothing() {
        let tail = Tail::new(LaneCount::DEFAULT);
        tail.append(LANE, 7, vec![event(4)]);
        tail.append(LANE, 7, vec![]);
        assert_eq!(after(&tail, 3), Some(vec![(4, 7)]));
    }

    #[test]
    fn new_epoch_or_gap_clears_the_lane() {
        let tail = Tail::new(LaneCount::DEFAULT);
        tail.append(LANE, 7, vec![event(4)]);
        tail.append(LANE, 8, vec![event(5)]);
        assert_eq!((after(&tail, 3), after(&tail, 4)), (None, Some(vec![(5, 8)])));
        tail.append(LANE, 8, vec![event(9)]);
        assert_eq!((after(&tail, 4), after(&tail, 8)), (None, Some(vec![(9, 8)])));
    }
}
