//! Orders in their current state (ORD-02, ORD-17). Invariant: refunded ≤ total.

use domain::kernel::Recorded;
use domain::orders::{CancelledBy, OrderEvent, OrderStatus, PaymentStatus};
use domain::shared::{
    Currency, CustomerId, Date, FlashSaleId, OrderId, Permission, Price, ProductId, Reason, Sku, StoreId, Text,
    Timestamp, Title,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Order in its current state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Id of the order.
    pub order: OrderId,
    /// Customer who placed the order.
    pub customer: CustomerId,
    /// Store where the order was placed.
    pub store: StoreId,
    /// Fulfilment status.
    pub status: OrderStatus,
    /// Payment status. The payment of a cancelled order is due for refund until it is refunded.
    pub payment: PaymentStatus,
    /// Order total in minor units.
    pub total_minor: i64,
    /// Amount refunded so far, in minor units.
    pub refunded_minor: i64,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Total number of units ordered.
    pub units: i64,
    /// Number of units that came back.
    pub returned_units: i64,
    /// Order lines at the prices of the time of order; empty for imported orders.
    pub lines: Vec<OrderLine>,
    /// System from which the order was imported, with its number there.
    pub source: Option<Text<100>>,
    /// Business day on which it was placed, in the time zone of the store.
    pub ordered_on: Date,
    /// Time at which it was placed.
    pub placed_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
    /// Party that cancelled the order.
    pub cancelled_by: Option<CancelledBy>,
    /// Reason of the cancellation.
    pub cancel_reason: Option<Reason>,
}

/// Order line: a quantity of one product, with its name and price at the time of order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// Product ordered.
    pub product: ProductId,
    /// Stock keeping unit at the time of order.
    pub sku: Sku,
    /// Product name at the time of order.
    pub name: Title,
    /// Number of units.
    pub quantity: i64,
    /// Price of one unit in minor units.
    pub unit_price_minor: i64,
    /// Line total in minor units.
    pub total_minor: i64,
    /// Flash sale in which the units were sold; null outside of a sale.
    pub sale: Option<FlashSaleId>,
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
            &OrderEvent::Placed { customer, store, ref lines, ref price, placed_on, .. } => {
                let lines: Vec<_> = lines.iter().map(OrderLine::from).collect();
                let units = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.quantity));
                let new = Self::new(event, customer, store, price.total(), placed_on);
                Ok(Some(Self { lines, units, ..new }))
            }
            &OrderEvent::Imported { customer, store, total, units, ordered_on, ref source } => {
                let new = Self::new(event, customer, store, total, ordered_on);
                // The other system has accepted the order already.
                let (status, payment) = (OrderStatus::Processing, PaymentStatus::Paid);
                Ok(Some(Self { status, payment, source: Some(source.clone()), units: units.get(), ..new }))
            }
            change => {
                let mut row = row.ok_or_else(Unfoldable::no_row)?;
                row.apply(change);
                Ok(Some(Self { changed_at: event.occurred_at, ..row }))
            }
        }
    }

    fn new(event: &Recorded<OrderEvent>, customer: CustomerId, store: StoreId, total: Price, on: Date) -> Self {
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
            returned_units: 0,
            lines: Vec::new(),
            source: None,
            ordered_on: on,
            placed_at: event.occurred_at,
            changed_at: event.occurred_at,
            cancelled_by: None,
            cancel_reason: None,
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } | OrderEvent::Imported { .. } => {}
            OrderEvent::Paid { .. } | OrderEvent::PaidLate { .. } => self.payment = PaymentStatus::Paid,
            OrderEvent::Reinstated { .. } => {
                self.status = OrderStatus::Pending;
                self.cancelled_by = None;
                self.cancel_reason = None;
            }
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
            OrderEvent::UnitsReturned { units, .. } => {
                self.returned_units = self.returned_units.saturating_add(units.get());
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
            sale: line.sale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{cancelled, customer, day, imported, order, paid, placed, refunded, store, usd};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn order_shows_its_lines_and_status() {
        let row: Order = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20").row();
        assert_eq!((row.status, row.payment), (OrderStatus::Pending, PaymentStatus::Paid));
        assert_eq!((row.total_minor, row.units, row.lines.len()), (1000, 2, 1));
        assert_eq!((row.placed_at, row.changed_at), (Story::at(1), Story::at(2)));
    }

    #[test]
    fn payment_is_refunded_when_refunds_reach_the_total() {
        let paid = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let part = refunded(paid, 1, 400, 400, "2026-11-21");
        assert_eq!(part.row::<Order>().payment, PaymentStatus::PartRefunded);
        let row: Order = refunded(part, 1, 600, 1000, "2026-11-22").row();
        assert_eq!((row.payment, row.refunded_minor), (PaymentStatus::Refunded, 1000));
    }

    #[test]
    fn late_payment_reinstates_the_order_or_is_due_for_refund() {
        let (customer, store) = (customer(), store());
        let expired = || cancelled(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let reinstated = OrderEvent::Reinstated { customer, store };
        let row: Order = paid(expired().then::<domain::orders::Order>(order(1), reinstated), 1, "2026-11-20").row();
        assert_eq!((row.status, row.payment, row.cancelled_by), (OrderStatus::Pending, PaymentStatus::Paid, None));
        let (amount, reference) = (usd(1000), "pay-1".parse().expect("a reference"));
        let late = OrderEvent::PaidLate { customer, store, amount, reference, on: day("2026-11-20") };
        let row: Order = expired().then::<domain::orders::Order>(order(1), late).row();
        assert_eq!((row.status, row.payment), (OrderStatus::Cancelled, PaymentStatus::Paid));
    }

    #[test]
    fn returned_units_add_up() {
        let returned = || OrderEvent::UnitsReturned {
            customer: customer(),
            store: store(),
            product: ProductId::new(uuid::Uuid::from_u128(7)),
            units: 1.try_into().expect("a quantity"),
        };
        let row: Order = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20")
            .then::<domain::orders::Order>(order(1), returned())
            .then::<domain::orders::Order>(order(1), returned())
            .row();
        assert_eq!((row.units, row.returned_units), (2, 2));
    }

    #[test]
    fn cancelled_order_names_the_party_and_imported_order_its_source() {
        let row: Order = cancelled(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20").row();
        assert_eq!((row.status, row.cancelled_by), (OrderStatus::Cancelled, Some(CancelledBy::Seller)));
        let row: Order = imported(Story::new(), 1, "2026-11-20").row();
        assert!(row.source.is_some() && row.lines.is_empty() && row.units == 3 && row.payment == PaymentStatus::Paid);
    }
}
