//! What follows from an order.

use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::ExpireOrder;
use crate::kernel::{Policy, Reactions, Start};

/// An order waits for its payment as long as its stock is held. It is never recorded before it is decided, so that
/// this time is never over before that of the holds.
pub struct ExpireUnpaidOrder;

impl Policy for ExpireUnpaidOrder {
    const ID: &'static str = "expire_unpaid_order";
    const START: Start = Start::Beginning;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.placed"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Placed { .. } = event.event {
            let until = event.recorded_at.after(HOLD_TIME);
            reactions.timer(until, ExpireOrder { order: OrderId::new(event.stream), until });
        }
    }
}
