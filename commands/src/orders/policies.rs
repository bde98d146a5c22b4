//! Policies on orders.

use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::ExpireOrder;
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that expires an order when its stock reservations expire, and cancels it when the order is paid or
/// cancelled. Both deadlines are [`HOLD_TIME`] after the time of the decision, which is the `recorded_at` of the event.
pub struct ExpireUnpaidOrder;

impl Policy for ExpireUnpaidOrder {
    const ID: &'static str = "expire_unpaid_order";
    const START: Start = Start::Beginning;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.placed", "order.paid", "order.cancelled"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        match event.event {
            OrderEvent::Placed { .. } => {
                let until = event.recorded_at.after(HOLD_TIME);
                reactions.timer(UNPAID, until, ExpireOrder { order: OrderId::new(event.stream), until });
            }
            OrderEvent::Paid { .. } | OrderEvent::Cancelled { .. } => reactions.cancel(UNPAID),
            _ => {}
        }
    }
}

/// Key of the timer that expires an order.
const UNPAID: &str = "unpaid";
