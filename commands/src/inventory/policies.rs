//! Policies on reservations.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::StockItemId;

use super::ExpireReservation;
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that records the expiry of a reservation, whichever command made the reservation, and cancels it when the
/// reservation has ended or can no longer expire. Decisions treat the units of an expired reservation as free even before
/// its expiry is recorded; read models and alerts need the event.
pub struct ExpirePassedReservation;

impl Policy for ExpirePassedReservation {
    const ID: &'static str = "expire_passed_reservation";
    const START: Start = Start::Beginning;
    type Source = StockItem;
    const EVENTS: &'static [&'static str] = &[
        "stock.reserved",
        "stock.reservation_confirmed",
        "stock.reservation_released",
        "stock.reservation_expired",
        "stock.reservation_committed",
    ];

    fn react(event: &Recorded<StockEvent>, reactions: &mut Reactions) {
        match event.event {
            StockEvent::Reserved { reservation, until, .. } => {
                let item = StockItemId::new(event.stream);
                reactions.timer(reservation.to_string(), until, ExpireReservation { item, reservation, until });
            }
            StockEvent::ReservationConfirmed { reservation }
            | StockEvent::ReservationReleased { reservation, .. }
            | StockEvent::ReservationExpired { reservation, .. }
            | StockEvent::ReservationCommitted { reservation, .. } => reactions.cancel(reservation.to_string()),
            _ => {}
        }
    }
}
