//! Every order as it stands (ORD-02, ORD-17). Invariant: refunded ≤ total.

use domain::kernel::Recorded;
use domain::orders::{CancelledBy, OrderEvent, OrderStatus, PaymentStatus};
use domain::shared::{
    Currency, CustomerId, Date, OrderId, Permission, Price, ProductId, Reason, Sku, StoreId, Text, Timestamp, Title,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// A purchase as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// The order.
    pub order: OrderId,
    /// Who bought.
    pub customer: CustomerId,
    /// Where it was bought.
    pub store: StoreId,
    /// Where it stands on its way to the customer.
    pub status: OrderStatus,
    /// Whether it is paid.
    pub payment: PaymentStatus,
    /// What it costs, in minor units.
    pub total_minor: i64,
    /// What went back so far, in minor units.
    pub refunded_minor: i64,
    /// The currency of all its amounts.
    pub currency: Currency,
    /// How many pieces.
    pub units: i64,
    /// What was bought, at the prices of then; empty for imported orders.
    pub lines: Vec<OrderLine>,
    /// The system it was imported from, and what it is called there.
    pub source: Option<Text<100>>,
    /// The business day on which it was placed, in the store's zone.
    pub ordered_on: Date,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When anything about it changed last.
    pub changed_at: Timestamp,
    /// Who ended it before it was delivered.
    pub cancelled_by: Option<CancelledBy>,
    /// Why it was ended.
    pub cancel_reason: Option<Reason>,
}

/// So many pieces of one product, with what they were called and what they cost then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// What was bought.
    pub product: ProductId,
    /// What the shop called it.
    pub sku: Sku,
    /// What it was called.
    pub name: Title,
    /// How many pieces.
    pub quantity: i64,
    /// What one piece cost, in minor units.
    pub unit_price_minor: i64,
    /// What the line cost, in minor units.
    pub total_minor: i64,
}

impl ReadModel for Order {
    const NEEDS: Permission = Permission::SeeOrders;
    const KEY: &'static [&'static str] = &["order"];
    const INDEXED: &'static [&'static str] = &["customer", "store", "status", "payment", "placed_at", "ordered_on"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::orders::Order>(Self::on_order);
    }
}

impl Order {
    fn on_order(row: Option<Self>, event: &Recorded<OrderEvent>) -> Folded<Self> {
        match &event.event {
            &OrderEvent::Placed { customer, store, ref lines, total, placed_on } => {
                let lines: Vec<_> = lines.iter().map(OrderLine::from).collect();
                let units = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.quantity));
                let begun = Self::begun(event, customer, store, total, placed_on);
                Ok(Some(Self { lines, units, ..begun }))
            }
            &OrderEvent::Imported { customer, store, total, units, ordered_on, ref source } => {
                let begun = Self::begun(event, customer, store, total, ordered_on);
                // The other system has taken it on already.
                let (status, payment) = (OrderStatus::Processing, PaymentStatus::Paid);
                Ok(Some(Self { status, payment, source: Some(source.clone()), units: units.get(), ..begun }))
            }
            change => {
                let mut row = row.ok_or_else(Unfoldable::no_row)?;
                row.take(change);
                Ok(Some(Self { changed_at: event.occurred_at, ..row }))
            }
        }
    }

    fn begun(event: &Recorded<OrderEvent>, customer: CustomerId, store: StoreId, total: Price, on: Date) -> Self {
        Self {
            order: OrderId::new(event.stream),
            customer,
            store,
            status: OrderStatus::Pending,
            payment: PaymentStatus::Unpaid,
            total_minor: total.minor(),
            refunded_minor: 0,
            currency: total.currency(),
            units: 0,
            lines: Vec::new(),
            source: None,
            ordered_on: on,
            placed_at: event.occurred_at,
            changed_at: event.occurred_at,
            cancelled_by: None,
            cancel_reason: None,
        }
    }

    fn take(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } | OrderEvent::Imported { .. } => {}
            OrderEvent::Paid { .. } => self.payment = PaymentStatus::Paid,
            OrderEvent::Accepted { .. } => self.status = OrderStatus::Processing,
            OrderEvent::Ready { .. } => self.status = OrderStatus::Ready,
            OrderEvent::InTransit { .. } => self.status = OrderStatus::InTransit,
            OrderEvent::Delivered { .. } => self.status = OrderStatus::Delivered,
            OrderEvent::Cancelled { by, reason, .. } => {
                self.status = OrderStatus::Cancelled;
                self.cancelled_by = Some(*by);
                self.cancel_reason = Some(reason.clone());
            }
            OrderEvent::Refunded { refunded, total, .. } => {
                self.refunded_minor = refunded.minor();
                let whole = refunded.minor() >= total.minor();
                self.payment = if whole { PaymentStatus::Refunded } else { PaymentStatus::PartRefunded };
            }
        }
    }
}

impl From<&domain::orders::OrderLine> for OrderLine {
    fn from(line: &domain::orders::OrderLine) -> Self {
        Self {
            product: line.product,
            sku: line.sku.clone(),
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price_minor: line.unit_price.minor(),
            total_minor: line.total().minor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::told::{cancelled, imported, paid, placed, refunded};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn an_order_shows_what_was_bought_and_how_it_stands() {
        let row: Order = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20").row();
        assert_eq!((row.status, row.payment), (OrderStatus::Pending, PaymentStatus::Paid));
        assert_eq!((row.total_minor, row.units, row.lines.len()), (1000, 2, 1));
        assert_eq!((row.placed_at, row.changed_at), (Story::at(1), Story::at(2)));
    }

    #[test]
    fn refunds_add_up_until_all_went_back() {
        let paid = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let part = refunded(paid, 1, 400, 400, "2026-11-21");
        assert_eq!(part.row::<Order>().payment, PaymentStatus::PartRefunded);
        let row: Order = refunded(part, 1, 600, 1000, "2026-11-22").row();
        assert_eq!((row.payment, row.refunded_minor), (PaymentStatus::Refunded, 1000));
    }

    #[test]
    fn a_cancelled_order_says_who_ended_it_and_an_imported_one_where_it_is_from() {
        let row: Order = cancelled(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20").row();
        assert_eq!((row.status, row.cancelled_by), (OrderStatus::Cancelled, Some(CancelledBy::Seller)));
        let row: Order = imported(Story::new(), 1, "2026-11-20").row();
        assert!(row.source.is_some() && row.lines.is_empty() && row.units == 3 && row.payment == PaymentStatus::Paid);
    }
}
