//! Policies on orders.

use domain::flash_sales::SALE_HOLD_TIME;
use domain::inventory::HOLD_TIME;
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::OrderId;

use super::{ExpireOrder, IssueSalesReceipt};
use crate::kernel::{Policy, Reactions, Start};

/// Sets a timer that expires an order, if it is unpaid, when its stock reservations expire. Both deadlines are
/// counted from the time of the decision, which is the `recorded_at` of the event.
pub struct ExpireUnpaidOrder;

impl Policy for ExpireUnpaidOrder {
    const ID: &'static str = "expire_unpaid_order";
    const START: Start = Start::Beginning;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.placed"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Placed { lines, .. } = &event.event {
            let in_sale = lines.iter().any(|line| line.sale.is_some());
            let until = event.recorded_at.after(if in_sale { SALE_HOLD_TIME } else { HOLD_TIME });
            reactions.timer(until, ExpireOrder { order: OrderId::new(event.stream), until });
        }
    }
}

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
