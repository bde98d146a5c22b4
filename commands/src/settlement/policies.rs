//! Policies that settle orders when money moves. The command reads the current state of the order, so that the order of
//! arrival does not matter.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::SettleSale;
use crate::kernel::{Policy, Reactions, Start};

/// Settles a sale when its order is paid. An imported order was paid elsewhere.
pub struct SettleOnOrderPaid;

impl Policy for SettleOnOrderPaid {
    const ID: &'static str = "settle_on_order_paid";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.paid", "order.paid_late"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Paid { on, .. } | OrderEvent::PaidLate { on, .. } = event.event {
            reactions.command(SettleSale { order: OrderId::new(event.stream), on, paid_at: Some(event.occurred_at) });
        }
    }
}

/// Settles a refund of an order.
pub struct SettleOnOrderRefunded;

impl Policy for SettleOnOrderRefunded {
    const ID: &'static str = "settle_on_order_refunded";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.refunded"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Refunded { on, .. } = event.event {
            reactions.command(SettleSale { order: OrderId::new(event.stream), on, paid_at: None });
        }
    }
}
