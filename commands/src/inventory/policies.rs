//! Policies on reservations.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::StockItemId;

use super::ExpireReservation;
use crate::kernel::{Policy, Reactions, Start};

/// Records that a reservation expired, whichever command made it. Decisions count its units as free from that time on
/// anyway; the event makes it visible to read models and alerts.
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
