//! Stock movements (INV-10). Invariant: the movements of a stock item add up to its stock level.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Holder, OrderId, Permission, Principal, Reason, ReservationId, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stock_level::change;
use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One change of the on-hand or the reserved quantity of a stock item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockMovement {
    /// Stock item: one product in one store.
    pub stock_item: StockItemId,
    /// Sequence number of the event within its stream; gaps are events that moved no units.
    pub sequence: i64,
    /// Kind of movement.
    pub kind: MovementKind,
    /// Change of the on-hand quantity, in units.
    pub on_hand_change: i64,
    /// Change of the reserved quantity, in units.
    pub reserved_change: i64,
    /// Reservation that caused the movement, if any.
    pub reservation: Option<ReservationId>,
    /// Order that reserved the units or from which they came back; null for other movements.
    pub order: Option<OrderId>,
    /// Reason given for a delivery, a correction or a count.
    pub reason: Option<Reason>,
    /// Principal that sent the command.
    pub principal: Principal,
    /// Time of the movement.
    pub at: Timestamp,
}

/// Kind of a stock movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Units were received.
    Received,
    /// Units were returned by a customer.
    Returned,
    /// The on-hand quantity was corrected.
    Adjusted,
    /// The on-hand quantity was set by a count.
    Counted,
    /// Units were reserved.
    Reserved,
    /// Reserved units were released.
    Released,
    /// A reservation expired before payment.
    Expired,
    /// Reserved units left the store.
    Committed,
    /// Units were set aside for a flash sale.
    Allotted,
    /// A reservation took units that were set aside for a flash sale.
    AllotmentDrawn,
    /// Units of an ended reservation were set aside for the flash sale again.
    AllotmentRefilled,
    /// Units that were set aside for a flash sale are available to all.
    AllotmentEnded,
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
            order: order(&event.event),
            reason: reason.cloned(),
            principal: event.principal,
            at: event.occurred_at,
        }))
    }
}

/// Order that an event names.
fn order(event: &StockEvent) -> Option<OrderId> {
    match *event {
        StockEvent::Reserved { holder: Some(Holder::Order(order)), .. } => Some(order),
        StockEvent::Returned { order, .. } => order,
        _ => None,
    }
}

/// Kind, reservation and reason of the movement that an event makes; `None` if no unit moved.
fn movement(event: &StockEvent) -> Option<(MovementKind, Option<ReservationId>, Option<&Reason>)> {
    match event {
        StockEvent::Received { reason, .. } => Some((MovementKind::Received, None, reason.as_ref())),
        StockEvent::Returned { .. } => Some((MovementKind::Returned, None, None)),
        StockEvent::Adjusted { reason, .. } => Some((MovementKind::Adjusted, None, Some(reason))),
        StockEvent::Counted { reason, .. } => Some((MovementKind::Counted, None, reason.as_ref())),
        StockEvent::Reserved { reservation, .. } => Some((MovementKind::Reserved, Some(*reservation), None)),
        StockEvent::ReservationReleased { reservation, .. } => Some((MovementKind::Released, Some(*reservation), None)),
        StockEvent::ReservationExpired { reservation, .. } => Some((MovementKind::Expired, Some(*reservation), None)),
        StockEvent::ReservationCommitted { reservation, .. } => {
            Some((MovementKind::Committed, Some(*reservation), None))
        }
        StockEvent::Allotted { .. } => Some((MovementKind::Allotted, None, None)),
        StockEvent::AllotmentDrawn { reservation, .. } => {
            Some((MovementKind::AllotmentDrawn, Some(*reservation), None))
        }
        StockEvent::AllotmentRefilled { reservation, .. } => {
            Some((MovementKind::AllotmentRefilled, Some(*reservation), None))
        }
        StockEvent::AllotmentEnded { .. } => Some((MovementKind::AllotmentEnded, None, None)),
        StockEvent::Opened { .. }
        | StockEvent::Closed {}
        | StockEvent::ReservationConfirmed { .. }
        | StockEvent::ThresholdSet { .. }
        | StockEvent::LowReached { .. }
        | StockEvent::Recovered { .. }
        | StockEvent::Depleted {}
        | StockEvent::Restored { .. }
        | StockEvent::ShortageRecorded { .. }
        | StockEvent::ShortageResolved {} => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stock_level::StockLevel;
    use super::super::stock_level::tests::{hold, item, reserved, stocked, units};
    use super::*;

    #[test]
    fn movements_add_up_to_the_stock_level() {
        let story = stocked()
            .then::<StockItem>(item(), reserved(1, 3))
            .then::<StockItem>(item(), StockEvent::Adjusted { change: -2, reason: "broken".parse().expect("a reason") })
            .then::<StockItem>(item(), StockEvent::ReservationCommitted { reservation: hold(1), units: 3 });
        let (level, movements): (StockLevel, Vec<StockMovement>) = (story.row(), story.rows());
        assert_eq!(level.on_hand, movements.iter().map(|movement| movement.on_hand_change).sum::<i64>());
        assert_eq!(level.reserved, movements.iter().map(|movement| movement.reserved_change).sum::<i64>());
    }

    #[test]
    fn returned_units_name_their_order() {
        let order = OrderId::new(uuid::Uuid::from_u128(9));
        let returned = StockEvent::Returned { units: units(1), order: Some(order) };
        let movements: Vec<StockMovement> = stocked().then::<StockItem>(item(), returned).rows();
        let listed: Vec<_> = movements.iter().map(|movement| (movement.kind, movement.order)).collect();
        assert_eq!(listed, [(MovementKind::Received, None), (MovementKind::Returned, Some(order))]);
    }

    #[test]
    fn only_events_that_move_units_make_rows() {
        let broken: Reason = "broken".parse().expect("a reason");
        let movements: Vec<StockMovement> = stocked()
            .then::<StockItem>(item(), StockEvent::LowReached { available: 5, low_at: Default::default() })
            .then::<StockItem>(item(), StockEvent::Adjusted { change: -2, reason: broken.clone() })
            .rows();
        let listed: Vec<_> = movements.iter().map(|movement| (movement.sequence, movement.kind)).collect();
        assert_eq!(listed, [(2, MovementKind::Received), (5, MovementKind::Adjusted)]);
        assert_eq!(movements[1].reason, Some(broken));
    }
}
