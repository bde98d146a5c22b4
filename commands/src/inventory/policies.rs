//! Policies on reservations.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::StockItemId;

use super::ExpireReservation;
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that records the expiry of a reservation, whichever command made the reservation. Decisions treat the
/// units of an expired reservation as free even before its expiry is recorded; read models and alerts need the event.
pub struct ExpirePassedReservation;

impl Policy for ExpirePassedReservation {
    const ID: &'static str = "expire_passed_reservation";
    const START: Start = Start::Beginning;
    type Source = StockItem;
    const EVENTS: &'static [&'static str] = &["stock.reserved"];

    fn react(event: &Recorded<StockEvent>, reactions: &mut Reactions) {
        if let StockEvent::Reserved { reservation, until, .. } = event.event {
            let item = StockItemId::new(event.stream);
            reactions.timer(until, ExpireReservation { item, reservation, until });
        }
    }
}
