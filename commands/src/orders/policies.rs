//! Policies on orders.

use domain::flash_sales::SALE_HOLD_TIME;
use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::{ExpireOrder, IssueSalesReceipt};
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that expires an order when its stock reservations expire, and cancels it when the order is paid or
/// cancelled. Both deadlines are counted from the time of the decision, which is the `recorded_at` of the event.
pub struct ExpireUnpaidOrder;

impl Policy for ExpireUnpaidOrder {
    const ID: &'static str = "expire_unpaid_order";
    const START: Start = Start::Beginning;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.placed", "order.paid", "order.cancelled"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        match &event.event {
            OrderEvent::Placed { lines, .. } => {
                let in_sale = lines.iter().any(|line| line.sale.is_some());
                let until = event.recorded_at.after(if in_sale { SALE_HOLD_TIME } else { HOLD_TIME });
                reactions.timer(UNPAID, until, ExpireOrder { order: OrderId::new(event.stream), until });
            }
            OrderEvent::Paid { .. } | OrderEvent::Cancelled { .. } => reactions.cancel(UNPAID),
            _ => {}
        }
    }
}

/// Key of the timer that expires an order.
const UNPAID: &str = "unpaid";

/// Issues the sales receipt of an order when it is paid.
pub struct IssueSalesReceiptOnPayment;

impl Policy for IssueSalesReceiptOnPayment {
    const ID: &'static str = "issue_sales_receipt_on_payment";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.paid", "order.paid_late"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Paid { on, .. } | OrderEvent::PaidLate { on, .. } = event.event {
            reactions.command(IssueSalesReceipt { order: OrderId::new(event.stream), on });
        }
    }
}
