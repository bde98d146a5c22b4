//! Purchase histories, from which RFM segments are computed (RFM-01). Recency counts from the last paid day, frequency
//! counts distinct paid days, monetary is net of refunds. A refund reduces the money and never removes a day.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{Currency, CustomerId, Date, Permission, Price};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};
use crate::key;

/// Purchase history of one customer in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PurchaseHistory {
    /// Customer who bought.
    pub customer: CustomerId,
    /// Currency of all amounts.
    pub currency: Currency,
    /// First day on which an order was paid.
    pub first_order_on: Date,
    /// Last day on which an order was paid.
    pub last_order_on: Date,
    /// Number of distinct days on which orders were paid.
    pub order_days: i64,
    /// Number of paid orders.
    pub orders: i64,
    /// Total paid, in minor units.
    pub paid_minor: i64,
    /// Total refunded, in minor units.
    pub refunded_minor: i64,
    /// Total paid minus total refunded, in minor units.
    pub net_minor: i64,
    /// Distinct days on which orders were paid, earliest first.
    pub days: Vec<Date>,
}

impl ReadModel for PurchaseHistory {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["customer", "currency"];
    const INDEXED: &'static [&'static str] = &["last_order_on", "order_days", "net_minor"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<OrderEvent>| {
            money_movement(&event.event).map(|movement| key![movement.customer, movement.amount.currency()])
        };
        from.stream::<Order>(key, Self::on_order);
    }
}

impl PurchaseHistory {
    fn on_order(row: Option<Self>, event: &Recorded<OrderEvent>) -> Folded<Self> {
        let Some(MoneyMovement { customer, amount, on, is_refund }) = money_movement(&event.event) else {
            return Ok(row);
        };
        let overflow = || Unfoldable::overflow("net_minor");
        if is_refund {
            let mut row = row.ok_or_else(Unfoldable::no_row)?;
            row.refunded_minor = row.refunded_minor.checked_add(amount.minor()).ok_or_else(overflow)?;
            row.net_minor = row.net_minor.checked_sub(amount.minor()).ok_or_else(overflow)?;
            return Ok(Some(row));
        }
        let mut row = row.unwrap_or_else(|| Self::new(customer, amount.currency(), on));
        row.orders = row.orders.saturating_add(1);
        row.paid_minor = row.paid_minor.checked_add(amount.minor()).ok_or_else(overflow)?;
        row.net_minor = row.net_minor.checked_add(amount.minor()).ok_or_else(overflow)?;
        // Imports arrive in any order.
        if let Err(at) = row.days.binary_search(&on) {
            row.days.insert(at, on);
            row.order_days = row.order_days.saturating_add(1);
        }
        row.first_order_on = row.first_order_on.min(on);
        row.last_order_on = row.last_order_on.max(on);
        Ok(Some(row))
    }

    fn new(customer: CustomerId, currency: Currency, on: Date) -> Self {
        Self {
            customer,
            currency,
            first_order_on: on,
            last_order_on: on,
            order_days: 0,
            orders: 0,
            paid_minor: 0,
            refunded_minor: 0,
            net_minor: 0,
            days: Vec::new(),
        }
    }
}

/// Payment or refund.
struct MoneyMovement {
    customer: CustomerId,
    amount: Price,
    on: Date,
    is_refund: bool,
}

fn money_movement(event: &OrderEvent) -> Option<MoneyMovement> {
    match *event {
        OrderEvent::Paid { customer, amount, on, .. } | OrderEvent::PaidLate { customer, amount, on, .. } => {
            Some(MoneyMovement { customer, amount, on, is_refund: false })
        }
        OrderEvent::Imported { customer, total: amount, ordered_on: on, .. } => {
            Some(MoneyMovement { customer, amount, on, is_refund: false })
        }
        OrderEvent::Refunded { customer, amount, on, .. } => {
            Some(MoneyMovement { customer, amount, on, is_refund: true })
        }
        OrderEvent::Placed { .. }
        | OrderEvent::Accepted { .. }
        | OrderEvent::Ready { .. }
        | OrderEvent::InTransit { .. }
        | OrderEvent::Delivered { .. }
        | OrderEvent::Reinstated { .. }
        | OrderEvent::UnitsReturned { .. }
        | OrderEvent::Cancelled { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{day, imported, paid, placed, refunded};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn only_paid_orders_count_and_two_on_a_day_are_one_day() {
        let story = placed(placed(placed(Story::new(), 1, "2026-11-19"), 2, "2026-11-20"), 3, "2026-11-21");
        let row: PurchaseHistory = paid(paid(story, 1, "2026-11-20"), 2, "2026-11-20").row();
        assert_eq!((row.orders, row.order_days, row.net_minor), (2, 1, 2000));
    }

    #[test]
    fn older_import_moves_the_first_day_and_a_refund_reduces_money_only() {
        let story = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let row: PurchaseHistory = refunded(imported(story, 2, "2025-01-02"), 1, 400, 400, "2026-11-25").row();
        assert_eq!((row.first_order_on, row.last_order_on), (day("2025-01-02"), day("2026-11-20")));
        assert_eq!((row.order_days, row.refunded_minor, row.net_minor), (2, 400, 3600));
    }
}
