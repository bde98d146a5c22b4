//! Policies on orders.

use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::ExpireOrder;
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that expires an order, if it is unpaid, when its stock reservations expire. Both deadlines are
/// [`HOLD_TIME`] after the time of the decision, which is the `recorded_at` of the event.
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
