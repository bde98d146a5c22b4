//! Reservations of stock and their outcome (INV-08, INV-09).

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Holder, OrderId, Permission, ReservationId, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};
use crate::key;

/// Reservation of units of one stock item, current or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// Stock item: one product in one store.
    pub stock_item: StockItemId,
    /// Id of the reservation: chosen by the caller, or derived from the order.
    pub reservation: ReservationId,
    /// Order that holds the units; null for a reservation made by hand.
    pub order: Option<OrderId>,
    /// Number of reserved units.
    pub units: i64,
    /// Current status.
    pub status: ReservationStatus,
    /// Time at which the hold expires; null once confirmed.
    pub until: Option<Timestamp>,
    /// Time at which it was made.
    pub made_at: Timestamp,
    /// Time at which it was released, expired or committed.
    pub ended_at: Option<Timestamp>,
}

/// Status of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// Reserved until the hold expires.
    Held,
    /// Paid for: reserved without expiry until committed or released.
    Confirmed,
    /// Released: the units are available again.
    Released,
    /// Expired: payment did not arrive in time.
    Expired,
    /// Committed: the units left the store.
    Committed,
}

impl ReadModel for Reservation {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item", "reservation"];
    const INDEXED: &'static [&'static str] = &["order", "reservation", "status", "until"];

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<StockEvent>| step(&event.event).map(|(id, _)| key![event.stream, id]);
        from.stream::<StockItem>(key, Self::on_stock);
    }
}

impl Reservation {
    fn on_stock(row: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        if let StockEvent::Reserved { reservation, units, until, holder } = event.event {
            return Ok(Some(Self {
                stock_item: StockItemId::new(event.stream),
                reservation,
                order: match holder {
                    Some(Holder::Order(order)) => Some(order),
                    Some(Holder::Hand) | None => None,
                },
                units: units.get(),
                status: ReservationStatus::Held,
                until: Some(until),
                made_at: event.occurred_at,
                ended_at: None,
            }));
        }
        let Some((_, status)) = step(&event.event) else { return Ok(row) };
        let row = row.ok_or_else(Unfoldable::no_row)?;
        Ok(Some(match status {
            ReservationStatus::Held | ReservationStatus::Confirmed => Self { status, until: None, ..row },
            _ => Self { status, ended_at: Some(event.occurred_at), ..row },
        }))
    }
}

/// Reservation that an event affects, with its new status.
fn step(event: &StockEvent) -> Option<(ReservationId, ReservationStatus)> {
    match *event {
        StockEvent::Reserved { reservation, .. } => Some((reservation, ReservationStatus::Held)),
        StockEvent::ReservationConfirmed { reservation } => Some((reservation, ReservationStatus::Confirmed)),
        StockEvent::ReservationReleased { reservation, .. } => Some((reservation, ReservationStatus::Released)),
        StockEvent::ReservationExpired { reservation, .. } => Some((reservation, ReservationStatus::Expired)),
        StockEvent::ReservationCommitted { reservation, .. } => Some((reservation, ReservationStatus::Committed)),
        StockEvent::Opened { .. }
        | StockEvent::Closed {}
        | StockEvent::Received { .. }
        | StockEvent::Returned { .. }
        | StockEvent::Adjusted { .. }
        | StockEvent::Counted { .. }
        | StockEvent::Allotted { .. }
        | StockEvent::AllotmentDrawn { .. }
        | StockEvent::AllotmentRefilled { .. }
        | StockEvent::AllotmentEnded { .. }
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
    use super::super::stock_level::tests::{hold, item, reserved, stocked, units};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn confirmed_reservation_has_no_expiry_and_ends_when_committed() {
        let held = stocked().then::<StockItem>(item(), reserved(1, 3));
        assert_eq!(held.row::<Reservation>().until, Some(Story::at(900)));

        let paid = held.then::<StockItem>(item(), StockEvent::ReservationConfirmed { reservation: hold(1) });
        let row: Reservation = paid.row();
        assert_eq!((row.status, row.until, row.ended_at), (ReservationStatus::Confirmed, None, None));

        let left = paid.then::<StockItem>(item(), StockEvent::ReservationCommitted { reservation: hold(1), units: 3 });
        let row: Reservation = left.row();
        assert_eq!((row.status, row.ended_at), (ReservationStatus::Committed, Some(Story::at(6))));
    }

    #[test]
    fn reservation_names_the_order_that_holds_it() {
        let order = OrderId::new(uuid::Uuid::from_u128(9));
        let of_order = StockEvent::Reserved {
            reservation: ReservationId::of_order(order),
            units: units(3),
            until: Story::at(900),
            holder: Some(Holder::Order(order)),
        };
        let rows: Vec<Reservation> =
            stocked().then::<StockItem>(item(), reserved(1, 3)).then::<StockItem>(item(), of_order).rows();
        let orders: Vec<_> = rows.iter().map(|row| (row.reservation, row.order)).collect();
        assert!(orders.contains(&(hold(1), None)), "{orders:?}");
        assert!(orders.contains(&(ReservationId::of_order(order), Some(order))), "{orders:?}");
    }

    #[test]
    fn expired_reservation_can_be_made_again() {
        let again: Reservation = stocked()
            .then::<StockItem>(item(), reserved(1, 3))
            .then::<StockItem>(item(), StockEvent::ReservationExpired { reservation: hold(1), units: 3 })
            .then::<StockItem>(item(), reserved(1, 2))
            .row();
        assert_eq!((again.status, again.units, again.ended_at), (ReservationStatus::Held, 2, None));
    }
}
