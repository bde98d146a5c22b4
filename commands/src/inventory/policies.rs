//! What follows from stock that was set aside.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::StockItemId;

use super::ExpireReservation;
use crate::kernel::{Policy, Reactions, Start};

/// Every hold passes at its time, whoever made it. A passed hold is free for all decisions at once; this writes it
/// down, so that readers and alerts see it too.
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
