//! Policies that follow orders.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::VerifyReviews;
use crate::kernel::{Policy, Reactions, Start};

/// Verifies the reviews that were written before the delivery of their order.
pub struct VerifyOnOrderDelivered;

impl Policy for VerifyOnOrderDelivered {
    const ID: &'static str = "verify_on_order_delivered";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.delivered"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Delivered { .. } = event.event {
            reactions.command(VerifyReviews { order: OrderId::new(event.stream) });
        }
    }
}
