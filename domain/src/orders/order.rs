//! Order: a purchase from one tenant (ORD-01, ORD-03 to ORD-08, ORD-10, ORD-13, ORD-14, ORD-17, ORD-18).
//!
//! Invariants: the status changes only as [`OrderStatus::next`] lists, except that a late payment reinstates an order
//! that was not paid in time; prices never change after placement; an order is paid once and in full, and an unpaid one
//! is not shipped; refunds never exceed the payment, and returned units never those that were shipped. An imported order
//! is paid and fulfilled in the system that it came from; here only its refunds and its cancellation are recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::order_event::UPCASTERS;
use super::public_order_event::OrderPlaced;
use super::{CancelledBy, OrderEvent, OrderLine, OrderRejection, OrderStatus, PaymentStatus, Reference};
use crate::kernel::{Aggregate, Decision, PublicForm, Upcaster};
use crate::shared::{
    Currency, CustomerId, Date, Fingerprint, FlashSaleId, OrderId, Price, PriceBreakdown, ProductId, Quantity, Reason,
    StoreId, Text, Timestamp, Units,
};

/// Largest number of lines of an order. Its placement reads up to three streams per line (product, stock item and flash
/// sale), and a command may read a limited number of streams.
pub const LINES_MOST: usize = 100;
/// Largest number of refunds of an order that leave a part of the payment; the last one, of all that is left, is always
/// accepted. Refunds are part of the state of the order, so the limit bounds its size.
pub const REFUNDS_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    terms: Option<Terms>,
    status: OrderStatus,
    /// Time of the placement; absent for an imported order and one of an earlier release.
    #[serde(default)]
    placed_at: Option<Timestamp>,
    /// True if the engine cancelled the order because it was not paid in time.
    expired: bool,
    /// Digest of the payment's reference.
    payment: Option<Fingerprint>,
    /// Sum of all refunds.
    refunded: Option<Price>,
    /// Amount of each refund, by the digest of its reference; recognises a repeat.
    refunds: BTreeMap<Fingerprint, Price>,
    /// Returned units by product.
    returned: BTreeMap<ProductId, i64>,
}

/// Terms of an order; they never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Terms {
    customer: CustomerId,
    store: StoreId,
    total: Price,
    lines: Vec<(ProductId, Quantity)>,
    /// Flash sales of the products that were sold in one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sales: BTreeMap<ProductId, FlashSaleId>,
    origin: Origin,
}

/// System in which an order was placed, with the data that a repeat of the command must match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Origin {
    /// Placed here. Digest of customer, store, total and lines with their names and prices.
    #[serde(rename = "Here")]
    Own(Fingerprint),
    /// Placed in another shop system.
    #[serde(rename = "Elsewhere")]
    Imported { units: Units, ordered_on: Date, source: Text<100> },
}

/// Data of an order that is placed here.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub customer: CustomerId,
    pub store: StoreId,
    pub lines: Vec<OrderLine>,
    pub currency: Currency,
    /// Business day in the store's zone.
    pub placed_on: Date,
    pub placed_at: Timestamp,
}

/// Data of an order that is imported from another shop system.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub customer: CustomerId,
    pub store: StoreId,
    pub total: Price,
    pub units: Units,
    /// Business day in the store's zone.
    pub ordered_on: Date,
    /// The other system and its order number.
    pub source: Text<100>,
}

impl Order {
    /// Rejects an order without lines or with too many. Called before the products and stock of the lines are loaded.
    pub fn require_line_count(lines: usize) -> Result<(), OrderRejection> {
        match lines {
            0 => Err(OrderRejection::EmptyOrder {}),
            1..=LINES_MOST => Ok(()),
            _ => Err(OrderRejection::TooManyLines { most: LINES_MOST }),
        }
    }

    /// Places an order at the prices of its lines.
    pub fn place(&self, placement: Placement) -> Decision<Self> {
        let Placement { customer, store, lines, currency, placed_on, placed_at } = placement;
        let placed_at = Some(placed_at);
        let price = PriceBreakdown::of_goods(sum_of(&lines, currency)?);
        self.create(OrderEvent::Placed { customer, store, lines, price, placed_on, placed_at })
    }

    /// Imports a paid order of another shop system.
    pub fn import(&self, import: Import) -> Decision<Self> {
        let Import { customer, store, total, units, ordered_on, source } = import;
        self.create(OrderEvent::Imported { customer, store, total, units, ordered_on, source })
    }

    /// Records the payment of the whole total. A repeat with the same reference changes nothing. The payment of a cancelled
    /// order is due for refund; the caller [reinstates](Self::reinstate) it first if it can still be fulfilled.
    pub fn record_payment(&self, amount: Price, reference: Reference, on: Date) -> Decision<Self> {
        let terms = self.terms()?;
        let &Terms { customer, store, total, .. } = terms;
        if amount != total {
            return Err(OrderRejection::PaymentDiffers { due: total, paid: amount });
        }
        match self.payment {
            Some(known) if known == Fingerprint::of(&reference) => Ok(vec![]),
            None if terms.is_imported() => Err(OrderRejection::AlreadyPaid {}),
            None if self.status == OrderStatus::Cancelled => {
                Ok(vec![OrderEvent::PaidLate { customer, store, amount, reference, on }])
            }
            None => Ok(vec![OrderEvent::Paid { customer, store, amount, reference, on }]),
            Some(_) => Err(OrderRejection::AlreadyPaid {}),
        }
    }

    /// Makes an order pending again that was cancelled because it was not paid in time. The caller ensures that its stock
    /// is there and that it is paid. Does nothing to an order that is not cancelled.
    pub fn reinstate(&self) -> Decision<Self> {
        let &Terms { customer, store, .. } = self.terms()?;
        match self.status {
            OrderStatus::Cancelled if self.can_be_reinstated() => Ok(vec![OrderEvent::Reinstated { customer, store }]),
            OrderStatus::Cancelled => Err(OrderRejection::OrderCancelled {}),
            _ => Ok(vec![]),
        }
    }

    /// Accepts the order on behalf of the seller.
    pub fn accept(&self) -> Decision<Self> {
        self.advance(OrderStatus::Processing, |customer, store| OrderEvent::Accepted { customer, store })
    }

    /// Cancels the order on behalf of the seller.
    pub fn reject(&self, reason: Reason, on: Date) -> Decision<Self> {
        self.cancel(CancelledBy::Seller, reason, on)
    }

    /// Marks the order as packed. It must be paid and not fully refunded.
    pub fn mark_ready(&self) -> Decision<Self> {
        let events = self.advance(OrderStatus::Ready, |customer, store| OrderEvent::Ready { customer, store })?;
        self.require_payment_left()?;
        Ok(events)
    }

    /// Marks the order as shipped. It must be paid and not fully refunded.
    pub fn mark_in_transit(&self) -> Decision<Self> {
        let events =
            self.advance(OrderStatus::InTransit, |customer, store| OrderEvent::InTransit { customer, store })?;
        if !events.is_empty() {
            self.require_payment_left()?;
        }
        Ok(events)
    }

    pub fn mark_delivered(&self) -> Decision<Self> {
        self.advance(OrderStatus::Delivered, |customer, store| OrderEvent::Delivered { customer, store })
    }

    /// Cancels the order before it is shipped. The part of the payment that was not refunded yet becomes due for
    /// refund.
    pub fn cancel(&self, by: CancelledBy, reason: Reason, on: Date) -> Decision<Self> {
        let Some(&Terms { customer, store, total, .. }) = self.transition_to(OrderStatus::Cancelled)? else {
            return Ok(vec![]);
        };
        let refund_due = Some(self.refundable(total)).filter(|due| due.minor() > 0);
        Ok(vec![OrderEvent::Cancelled { by, reason, customer, store, total, refund_due, on }])
    }

    /// Records that the source system of an imported order has cancelled and refunded it. This has happened already, so
    /// it is recorded even if the reference was used before or the number of refunds is at its limit.
    pub fn cancel_imported(&self, reason: Reason, reference: Reference, on: Date) -> Decision<Self> {
        let terms = self.terms()?;
        let &Terms { customer, store, total, .. } = terms;
        if !terms.is_imported() {
            return Err(OrderRejection::OrderNotImported {});
        }
        if self.status == OrderStatus::Cancelled {
            return Ok(vec![]);
        }
        let (amount, refunded, by) = (self.refundable(total), total, CancelledBy::Source);
        let mut events = vec![];
        if amount.minor() > 0 {
            events.push(OrderEvent::Refunded { customer, store, amount, refunded, total, reference, on });
        }
        events.push(OrderEvent::Cancelled { by, reason, customer, store, total, refund_due: None, on });
        Ok(events)
    }

    /// Records a refund. A repeat with the same reference changes nothing. At the limit of refunds, only a refund of all
    /// that is left is accepted.
    pub fn record_refund(&self, amount: Price, reference: Reference, on: Date) -> Decision<Self> {
        let &Terms { customer, store, total, .. } = self.terms()?;
        if let Some(&recorded) = self.refunds.get(&Fingerprint::of(&reference)) {
            let differs = OrderRejection::RefundDiffers { recorded, wanted: amount };
            return if recorded == amount { Ok(vec![]) } else { Err(differs) };
        }
        if !self.is_paid() {
            return Err(OrderRejection::NotPaid {});
        }
        let left = self.refundable(total);
        let after = left.minus(amount).ok_or(OrderRejection::RefundAbovePaid { left, wanted: amount })?;
        // A refund of zero is not recorded.
        if after == left {
            return Ok(vec![]);
        }
        if self.refunds.len() >= REFUNDS_MOST && after.minor() > 0 {
            return Err(OrderRejection::TooManyRefunds { most: REFUNDS_MOST, left });
        }
        let refunded = total.minus(after).unwrap_or(total);
        Ok(vec![OrderEvent::Refunded { customer, store, amount, refunded, total, reference, on }])
    }

    /// Records that the customer returned units of a product. Rejects more units than left the store for this order and
    /// did not come back before.
    pub fn take_back(&self, product: ProductId, units: Quantity) -> Decision<Self> {
        let terms = self.terms()?;
        if terms.is_imported() {
            return Err(OrderRejection::OrderImported {});
        }
        if !matches!(self.status, OrderStatus::InTransit | OrderStatus::Delivered) {
            return Err(OrderRejection::NotShipped { status: self.status });
        }
        let lines = terms.lines.iter().filter(|(sold, _)| *sold == product);
        let shipped = lines.fold(0_i64, |sum, (_, quantity)| sum.saturating_add(quantity.get()));
        let left = shipped.saturating_sub(self.returned.get(&product).copied().unwrap_or(0));
        if units.get() > left {
            return Err(OrderRejection::ReturnAboveShipped { left, wanted: units.get() });
        }
        Ok(vec![OrderEvent::UnitsReturned { customer: terms.customer, store: terms.store, product, units }])
    }

    pub fn customer(&self) -> Result<CustomerId, OrderRejection> {
        self.terms().map(|terms| terms.customer)
    }

    /// Time of the placement; `None` for an imported order and one of an earlier release.
    pub fn placed_at(&self) -> Option<Timestamp> {
        self.placed_at
    }

    pub fn store(&self) -> Result<StoreId, OrderRejection> {
        self.terms().map(|terms| terms.store)
    }

    pub fn total(&self) -> Result<Price, OrderRejection> {
        self.terms().map(|terms| terms.total)
    }

    /// Product and quantity of each line; empty for an imported order.
    pub fn lines(&self) -> impl Iterator<Item = (ProductId, Quantity)> {
        self.terms.iter().flat_map(|terms| terms.lines.iter().copied())
    }

    /// Flash sales of the products that were sold in one.
    pub fn sales(&self) -> BTreeMap<ProductId, FlashSaleId> {
        self.terms.as_ref().map(|terms| terms.sales.clone()).unwrap_or_default()
    }

    /// Sum of all refunds.
    pub fn refunded(&self) -> Result<Price, OrderRejection> {
        let currency = self.terms()?.total.currency();
        Ok(self.refunded.unwrap_or(Price::zero(currency)))
    }

    pub fn status(&self) -> Result<OrderStatus, OrderRejection> {
        self.terms().map(|_| self.status)
    }

    pub fn payment_status(&self) -> Result<PaymentStatus, OrderRejection> {
        let total = self.terms()?.total;
        Ok(match (self.is_paid(), self.refundable(total)) {
            (false, _) => PaymentStatus::Unpaid,
            (true, left) if left == total => PaymentStatus::Paid,
            (true, left) if left.minor() > 0 => PaymentStatus::PartRefunded,
            (true, _) => PaymentStatus::Refunded,
        })
    }

    /// True if the order was cancelled because it was not paid in time, and was not paid since.
    pub fn can_be_reinstated(&self) -> bool {
        self.status == OrderStatus::Cancelled && self.expired && !self.is_paid()
    }

    /// True if the total was paid, even if it was refunded since.
    pub fn is_paid(&self) -> bool {
        self.payment.is_some() || self.terms.as_ref().is_some_and(Terms::is_imported)
    }

    /// Rejects an order that is not paid, or whose payment was refunded in full. Nothing is refunded of an order with a
    /// total of zero.
    fn require_payment_left(&self) -> Result<(), OrderRejection> {
        let total = self.terms()?.total;
        if !self.is_paid() {
            return Err(OrderRejection::NotPaid {});
        }
        if total.minor() > 0 && self.refunded == Some(total) { Err(OrderRejection::OrderRefunded {}) } else { Ok(()) }
    }

    fn terms(&self) -> Result<&Terms, OrderRejection> {
        self.terms.as_ref().ok_or(OrderRejection::OrderUnknown {})
    }

    /// Creates the order. A repeat with the same terms changes nothing.
    fn create(&self, event: OrderEvent) -> Decision<Self> {
        match &self.terms {
            None => Ok(vec![event]),
            known if *known == Terms::of(&event) => Ok(vec![]),
            Some(_) => Err(OrderRejection::OrderExists {}),
        }
    }

    /// Terms of an order that may change to this status; `None` if it has this status already.
    fn transition_to(&self, to: OrderStatus) -> Result<Option<&Terms>, OrderRejection> {
        let terms = self.terms()?;
        let from = self.status;
        if terms.is_imported() {
            Err(OrderRejection::OrderImported {})
        } else if from == to {
            Ok(None)
        } else if from.next().contains(&to) {
            Ok(Some(terms))
        } else if self.can_be_reinstated() {
            Err(OrderRejection::OrderExpired {})
        } else {
            Err(OrderRejection::IllegalMove { from, to, allowed: from.next().into() })
        }
    }

    /// The event, if the order may change to this status; no event if it has this status already.
    fn advance(&self, to: OrderStatus, event: fn(CustomerId, StoreId) -> OrderEvent) -> Decision<Self> {
        Ok(self.transition_to(to)?.map(|terms| event(terms.customer, terms.store)).into_iter().collect())
    }

    /// The paid amount that is not refunded.
    fn refundable(&self, total: Price) -> Price {
        let none = Price::zero(total.currency());
        match self.is_paid() {
            true => total.minus(self.refunded.unwrap_or(none)).unwrap_or(none),
            false => none,
        }
    }
}

impl Terms {
    /// Terms that are set by the first event of an order; `None` for other events. The day of placement is not among
    /// them, so that a repeat on the next day is recognised.
    fn of(event: &OrderEvent) -> Option<Self> {
        match *event {
            OrderEvent::Placed { customer, store, ref lines, ref price, .. } => {
                let total = price.total();
                let origin = Origin::Own(Fingerprint::of(&(customer, store, lines, total)));
                let sales = lines.iter().filter_map(|line| Some((line.product, line.sale?))).collect();
                let lines = lines.iter().map(|line| (line.product, line.quantity)).collect();
                Some(Self { customer, store, total, lines, sales, origin })
            }
            OrderEvent::Imported { customer, store, total, units, ordered_on, ref source } => {
                let origin = Origin::Imported { units, ordered_on, source: source.clone() };
                Some(Self { customer, store, total, lines: vec![], sales: BTreeMap::new(), origin })
            }
            _ => None,
        }
    }

    fn is_imported(&self) -> bool {
        matches!(self.origin, Origin::Imported { .. })
    }
}

/// Total of new lines; rejects a wrong number of lines, a line in another currency and a total that is too large.
fn sum_of(lines: &[OrderLine], currency: Currency) -> Result<Price, OrderRejection> {
    Order::require_line_count(lines.len())?;
    lines.iter().map(OrderLine::total).try_fold(Price::zero(currency), |sum, line| {
        if line.currency() != currency {
            return Err(OrderRejection::MixedCurrency { expected: currency, found: line.currency() });
        }
        sum.plus(line).ok_or(OrderRejection::TotalTooLarge {})
    })
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    const STATE_VERSION: i32 = 4;
    const UPCASTERS: &'static [Upcaster] = UPCASTERS;
    const PUBLIC_FORMS: &'static [PublicForm<OrderEvent>] = &[PublicForm::shaped::<OrderPlaced>()];
    type Id = OrderId;
    type Event = OrderEvent;
    type Rejection = OrderRejection;

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { placed_at, .. } => {
                self.terms = Terms::of(event);
                self.placed_at = *placed_at;
            }
            OrderEvent::Imported { .. } => {
                self.terms = Terms::of(event);
                self.status = OrderStatus::Processing;
            }
            OrderEvent::Paid { reference, .. } | OrderEvent::PaidLate { reference, .. } => {
                self.payment = Some(Fingerprint::of(reference))
            }
            OrderEvent::Accepted { .. } => self.status = OrderStatus::Processing,
            OrderEvent::Ready { .. } => self.status = OrderStatus::Ready,
            OrderEvent::InTransit { .. } => self.status = OrderStatus::InTransit,
            OrderEvent::Delivered { .. } => self.status = OrderStatus::Delivered,
            OrderEvent::Cancelled { by, .. } => {
                self.status = OrderStatus::Cancelled;
                self.expired = *by == CancelledBy::Engine;
            }
            OrderEvent::Reinstated { .. } => {
                self.status = OrderStatus::Pending;
                self.expired = false;
            }
            OrderEvent::Refunded { reference, amount, refunded, .. } => {
                self.refunded = Some(*refunded);
                self.refunds.entry(Fingerprint::of(reference)).or_insert(*amount);
            }
            OrderEvent::UnitsReturned { product, units, .. } => {
                let returned = self.returned.entry(*product).or_default();
                *returned = returned.saturating_add(units.get());
            }
        }
    }
}
