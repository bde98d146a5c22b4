//! Everything that ever moved (INV-10). Invariant: the movements of a stock item add up to its stock level.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Permission, Principal, Reason, ReservationId, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stock_level::change;
use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One change of what is on hand or set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockMovement {
    /// The product's stock at one place.
    pub stock_item: StockItemId,
    /// The number of the event within its stream; gaps are events that moved nothing.
    pub sequence: i64,
    /// Why something moved.
    pub kind: MovementKind,
    /// By how much the units in the house changed.
    pub on_hand_change: i64,
    /// By how much the units set aside changed.
    pub reserved_change: i64,
    /// The reservation that moved, where there is one.
    pub reservation: Option<ReservationId>,
    /// What somebody gave as a reason.
    pub reason: Option<Reason>,
    /// Whoever sent the command.
    pub principal: Principal,
    /// When it happened.
    pub at: Timestamp,
}

/// Why stock moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Units came in.
    Received,
    /// Units came back from a customer.
    Returned,
    /// Somebody corrected the number.
    Adjusted,
    /// Somebody counted.
    Counted,
    /// Units were set aside.
    Reserved,
    /// Units were given up by whoever held them.
    Released,
    /// Nobody paid in time.
    Expired,
    /// Units left the house.
    Committed,
}

impl ReadModel for StockMovement {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item", "sequence"];
    const INDEXED: &'static [&'static str] = &["at", "kind", "reservation"];
    const APPENDS: bool = true;

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<StockEvent>| movement(&event.event).map(|_| key![event.stream, event.sequence]);
        from.stream::<StockItem>(key, Self::on_stock);
    }
}

impl StockMovement {
    fn on_stock(_: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        let (on_hand_change, reserved_change) = change(&event.event);
        Ok(movement(&event.event).map(|(kind, reservation, reason)| Self {
            stock_item: StockItemId::new(event.stream),
            sequence: event.sequence,
            kind,
            on_hand_change,
            reserved_change,
            reservation,
            reason: reason.cloned(),
            principal: event.principal,
            at: event.occurred_at,
        }))
    }
}

/// What kind of movement an event is, for which reservation and why; nothing where no unit moved.
fn movement(event: &StockEvent) -> Option<(MovementKind, Option<ReservationId>, Option<&Reason>)> {
    match event {
        StockEvent::Received { .. } => Some((MovementKind::Received, None, None)),
        StockEvent::Returned { .. } => Some((MovementKind::Returned, None, None)),
        StockEvent::Adjusted { reason, .. } => Some((MovementKind::Adjusted, None, Some(reason))),
        StockEvent::Counted { .. } => Some((MovementKind::Counted, None, None)),
        StockEvent::Reserved { reservation, .. } => Some((MovementKind::Reserved, Some(*reservation), None)),
        StockEvent::ReservationReleased { reservation, .. } => Some((MovementKind::Released, Some(*reservation), None)),
        StockEvent::ReservationExpired { reservation, .. } => Some((MovementKind::Expired, Some(*reservation), None)),
        StockEvent::ReservationCommitted { reservation, .. } => {
            Some((MovementKind::Committed, Some(*reservation), None))
        }
        StockEvent::Opened { .. }
        | StockEvent::ReservationConfirmed { .. }
        | StockEvent::ThresholdSet { .. }
        | StockEvent::LowReached { .. }
        | StockEvent::Recovered { .. }
        | StockEvent::Depleted {}
        | StockEvent::Restored { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stock_level::StockLevel;
    use super::super::stock_level::tests::{hold, item, reserved, stocked};
    use super::*;

    #[test]
    fn the_movements_add_up_to_the_level() {
        let story = stocked()
            .then::<StockItem>(item(), reserved(1, 3))
            .then::<StockItem>(item(), StockEvent::Adjusted { change: -2, reason: "broken".parse().expect("a reason") })
            .then::<StockItem>(item(), StockEvent::ReservationCommitted { reservation: hold(1), units: 3 });
        let (level, movements): (StockLevel, Vec<StockMovement>) = (story.row(), story.rows());
        assert_eq!(level.on_hand, movements.iter().map(|movement| movement.on_hand_change).sum::<i64>());
        assert_eq!(level.reserved, movements.iter().map(|movement| movement.reserved_change).sum::<i64>());
    }

    #[test]
    fn only_what_moved_is_listed_with_its_reason() {
        let broken: Reason = "broken".parse().expect("a reason");
        let movements: Vec<StockMovement> = stocked()
            .then::<StockItem>(item(), StockEvent::LowReached { available: 5, low_at: Default::default() })
            .then::<StockItem>(item(), StockEvent::Adjusted { change: -2, reason: broken.clone() })
            .rows();
        let seen: Vec<_> = movements.iter().map(|movement| (movement.sequence, movement.kind)).collect();
        assert_eq!(seen, [(2, MovementKind::Received), (5, MovementKind::Adjusted)]);
        assert_eq!(movements[1].reason, Some(broken));
    }
}
