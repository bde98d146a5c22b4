//! In-memory implementation of the log, which the tests can append to and rewrite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use projections::ports::{Checkpoint, Epochs, Fault, History, RawEvent};
use uuid::Uuid;

#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<BTreeMap<i16, LaneLog>>>);

#[derive(Debug, Default)]
struct LaneLog {
    epochs: Vec<(i64, i64)>,
    events: Vec<RawEvent>,
}

impl Log {
    /// Log with this number of events in each of the sixteen lanes.
    pub(crate) fn with(events: i64) -> Self {
        Self::with_lanes(16, events)
    }

    /// Log with this number of lanes, and of events in each of them.
    pub(crate) fn with_lanes(lanes: i16, events: i64) -> Self {
        let log = Self::default();
        for lane in 0..lanes {
            log.take_over(lane, 1, 1);
            log.append(lane, events);
        }
        log
    }

    /// Starts a new epoch at a position. Events from there on are lost.
    pub(crate) fn take_over(&self, lane: i16, epoch: i64, first: i64) {
        let mut lanes = self.lanes();
        let lane = lanes.entry(lane).or_default();
        lane.epochs.push((epoch, first));
        lane.events.retain(|event| event.position < first);
    }

    pub(crate) fn append(&self, lane: i16, events: i64) {
        let mut lanes = self.lanes();
        let log = lanes.entry(lane).or_default();
        let epoch = log.epochs.last().expect("the lane has an epoch").0;
        let after = log.events.last().map_or(0, |event| event.position);
        log.events.extend((after + 1..=after + events).map(|position| event(lane, position, epoch)));
    }

    pub(crate) fn set_payload(&self, lane: i16, position: i64, payload: String) {
        let mut lanes = self.lanes();
        let events = &mut lanes.get_mut(&lane).expect("a lane").events;
        events[usize::try_from(position - 1).expect("a position")].payload = payload.into();
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<i16, LaneLog>> {
        self.0.lock().expect("no thread panicked")
    }
}

impl History for Log {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        let lanes = self.lanes();
        let Some(log) = lanes.get(&lane) else { return Ok(vec![]) };
        let after = usize::try_from(after).expect("a position");
        Ok(log.events.iter().skip(after).take(most).cloned().collect())
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        let lanes = self.lanes();
        let head = |(lane, log): (&i16, &LaneLog)| {
            let start = Checkpoint::start(*lane);
            log.events.last().map_or(start, |last| Checkpoint {
                lane: *lane,
                position: last.position,
                epoch: last.epoch,
            })
        };
        Ok(lanes.iter().map(head).collect())
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        Ok(Epochs::new(self.lanes().get(&lane).map(|log| log.epochs.clone()).unwrap_or_default()))
    }
}

/// An event of about the size of an order event.
pub(crate) fn event(lane: i16, position: i64, epoch: i64) -> RawEvent {
    let at = Timestamp::from_micros(1_763_640_000_000_000 + position * 1_000);
    let number = u128::from(position.unsigned_abs()) | u128::from(epoch.unsigned_abs()) << 64;
    RawEvent {
        lane,
        position,
        epoch,
        tenant: TenantId::new(Uuid::from_u128(u128::from(lane.unsigned_abs()) + 1)),
        tenant_position: position,
        stream_type: "StockItem".into(),
        stream: Uuid::from_u128(number),
        sequence: 1,
        principal: Principal::ENGINE,
        command: CommandId::new(Uuid::from_u128(number)),
        index: 0,
        kind: "stock.received".into(),
        version: 1,
        payload: format!("{{\"units\":{position},\"note\":\"{:0>150}\"}}", epoch).into(),
        actor: Actor::Engine("test".into()),
        correlation: None,
        occurred_at: at,
        recorded_at: at,
        decoded: Default::default(),
    }
}
