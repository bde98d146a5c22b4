//! The end of every lane, as this process has just written it: readers of the same process need not ask the store.
//!
//! Only what is durable gets in here. A lane that changes hands is forgotten: what follows may be another history.

use std::collections::VecDeque;
use std::sync::Mutex;

use commands::scribe::{EventRow, LaneId};

use kafka::LANES;

/// Bytes of one lane that are kept; readers that are further behind read the store.
const BYTES_MOST: usize = 2 * 1024 * 1024;
/// What an event takes beside its texts.
const EVENT_BYTES: usize = 256;

/// What was written lately, lane by lane.
pub struct Tail {
    lanes: Vec<Mutex<LaneTail>>,
}

#[derive(Default)]
struct LaneTail {
    /// Batch by batch as they were written, with what each weighs; without gaps, all of one epoch.
    batches: VecDeque<(Vec<EventRow>, usize)>,
    epoch: i64,
    bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { lanes: (0..LANES).map(|_| Mutex::default()).collect() }
    }
}

impl Tail {
    /// Takes in what was written into a lane.
    pub fn append(&self, lane: LaneId, epoch: i64, mut events: Vec<EventRow>) {
        // A batch may hold rejections alone.
        if events.is_empty() {
            return;
        }
        // A batch is expected to become as large as the one before; what it did not need is not kept.
        if events.capacity() / 2 > events.len() {
            events.shrink_to_fit();
        }
        self.with(lane, |tail| {
            let last = tail.batches.back().and_then(|(events, _)| events.last());
            let expected = last.map(|last| last.position.saturating_add(1));
            if tail.epoch != epoch || expected != events.first().map(|first| first.position) {
                *tail = LaneTail { epoch, ..LaneTail::default() };
            }
            let bytes = events.iter().map(weight).sum();
            tail.bytes = tail.bytes.saturating_add(bytes);
            tail.batches.push_back((events, bytes));
            while tail.bytes > BYTES_MOST
                && let Some((_, bytes)) = tail.batches.pop_front()
            {
                tail.bytes = tail.bytes.saturating_sub(bytes);
            }
        });
    }

    /// Forgets a lane.
    pub fn forget(&self, lane: LaneId) {
        self.with(lane, |tail| *tail = LaneTail::default());
    }

    /// The events after a position, at most so many, with their epoch; nothing where the store has to be asked.
    pub fn after<T>(
        &self,
        lane: LaneId,
        position: i64,
        most: usize,
        read: impl Fn(&EventRow, i64) -> T,
    ) -> Option<Vec<T>> {
        self.with(lane, |tail| {
            let wanted = position.saturating_add(1);
            let ends_before =
                |(events, _): &(Vec<EventRow>, usize)| events.last().is_none_or(|last| last.position < wanted);
            let from = tail.batches.partition_point(ends_before);
            let (events, _) = tail.batches.get(from)?;
            let skip = usize::try_from(wanted.checked_sub(events.first()?.position)?).ok()?;
            let events = tail.batches.range(from..).flat_map(|(events, _)| events).skip(skip);
            Some(events.take(most).map(|event| read(event, tail.epoch)).collect())
        })?
    }

    fn with<T>(&self, lane: LaneId, act: impl FnOnce(&mut LaneTail) -> T) -> Option<T> {
        let mut tail = self.lanes.get(usize::from(lane.0.unsigned_abs()))?.lock().ok()?;
        Some(act(&mut tail))
    }
}

fn weight(event: &EventRow) -> usize {
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
    fn what_follows_is_known_and_what_came_before_is_not() {
        let tail = Tail::default();
        tail.append(LANE, 7, vec![event(4), event(5)]);
        tail.append(LANE, 7, vec![event(6)]);
        assert_eq!(after(&tail, 3), Some(vec![(4, 7), (5, 7), (6, 7)]));
        assert_eq!(after(&tail, 4), Some(vec![(5, 7), (6, 7)]));
        assert_eq!(after(&tail, 5), Some(vec![(6, 7)]));
        assert_eq!(after(&tail, 2), None);
        assert_eq!(after(&tail, 6), None);
    }

    #[test]
    fn what_is_too_much_is_forgotten_from_its_beginning() {
        let tail = Tail::default();
        let most = i64::try_from(BYTES_MOST / weight(&event(1))).expect("a number");
        (1..=most + 2).for_each(|position| tail.append(LANE, 7, vec![event(position)]));
        assert_eq!(after(&tail, 1), None);
        assert_eq!(after(&tail, 2).map(|events| events[0]), Some((3, 7)));
        assert_eq!(after(&tail, most + 1), Some(vec![(most + 2, 7)]));
    }

    #[test]
    fn rejections_alone_change_nothing() {
        let tail = Tail::default();
        tail.append(LANE, 7, vec![event(4)]);
        tail.append(LANE, 7, vec![]);
        assert_eq!(after(&tail, 3), Some(vec![(4, 7)]));
    }

    #[test]
    fn another_history_or_a_gap_begins_anew() {
        let tail = Tail::default();
        tail.append(LANE, 7, vec![event(4)]);
        tail.append(LANE, 8, vec![event(5)]);
        assert_eq!((after(&tail, 3), after(&tail, 4)), (None, Some(vec![(5, 8)])));
        tail.append(LANE, 8, vec![event(9)]);
        assert_eq!((after(&tail, 4), after(&tail, 8)), (None, Some(vec![(9, 8)])));
    }
}
