//! Policies on orders.

use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::ExpireOrder;
use crate::kernel::{Policy, Reactions, Start};

/// Expires an unpaid order when its stock reservations expire. The time counts from the recording of the order, which
/// is never before its decision, so that it never ends before the reservations do.
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
