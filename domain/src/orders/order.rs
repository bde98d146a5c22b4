//! A purchase from one tenant (ORD-01, ORD-03 to ORD-08, ORD-10, ORD-13, ORD-14, ORD-17, ORD-18).
//!
//! Invariants: an order takes only the steps that [`OrderStatus::next`] lists; its prices stay what they were when it
//! was placed; it is paid once and in full, and nothing leaves unpaid; refunds never exceed what was paid. An imported
//! order is paid and moves in the system it came from; here it can only be cancelled and refunded after that system.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CancelledBy, OrderLine, OrderStatus, PaymentStatus};
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{
    Currency, CustomerId, Date, Fingerprint, OrderId, Price, ProductId, Quantity, Reason, StoreId, Text, Units,
};

/// An order is placed in one decision on two streams per line; so many lines fit on one desk.
pub const LINES_MOST: usize = 100;
/// Refunds live in the state of their order; so many of them keep it small.
pub const REFUNDS_MOST: usize = 100;

/// What a payment or a refund is called at whoever moved the money.
pub type Reference = Text<200>;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    terms: Option<Terms>,
    status: OrderStatus,
    payment: Option<Fingerprint>,
    /// All that went back so far.
    refunded: Option<Price>,
    /// What went back under which reference, by which a repeat is recognised.
    refunds: BTreeMap<Fingerprint, Price>,
}

/// What never changes about an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Terms {
    customer: CustomerId,
    store: StoreId,
    total: Price,
    lines: Vec<(ProductId, Quantity)>,
    origin: Origin,
}

/// Where an order began, and what else tells whether it is the same that is sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Origin {
    /// All that was agreed, prices and names included.
    Here(Fingerprint),
    /// In another shop system.
    Elsewhere { units: Units, ordered_on: Date, source: Text<100> },
}

/// An order as it is placed here.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub customer: CustomerId,
    pub store: StoreId,
    pub lines: Vec<OrderLine>,
    pub currency: Currency,
    /// The business day in the store's zone.
    pub placed_on: Date,
}

/// An order as another shop system reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub customer: CustomerId,
    pub store: StoreId,
    pub total: Price,
    pub units: Units,
    /// The business day in the store's zone.
    pub ordered_on: Date,
    /// The system, and what the order is called there.
    pub source: Text<100>,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum OrderEvent {
    /// A customer ordered, at these prices.
    #[serde(rename = "order.placed")]
    Placed { customer: CustomerId, store: StoreId, lines: Vec<OrderLine>, total: Price, placed_on: Date },
    /// Another shop system took an order and its payment.
    #[serde(rename = "order.imported")]
    Imported { customer: CustomerId, store: StoreId, total: Price, units: Units, ordered_on: Date, source: Text<100> },
    /// The order was paid in full.
    #[serde(rename = "order.paid")]
    Paid { customer: CustomerId, store: StoreId, amount: Price, reference: Reference, on: Date },
    /// The seller took the order on.
    #[serde(rename = "order.accepted")]
    Accepted { customer: CustomerId, store: StoreId },
    /// The order is packed.
    #[serde(rename = "order.ready")]
    Ready { customer: CustomerId, store: StoreId },
    /// The order is on its way.
    #[serde(rename = "order.in_transit")]
    InTransit { customer: CustomerId, store: StoreId },
    /// The order has arrived.
    #[serde(rename = "order.delivered")]
    Delivered { customer: CustomerId, store: StoreId },
    /// The order was ended; `refund_due` is what has to go back to the customer.
    #[serde(rename = "order.cancelled")]
    Cancelled {
        by: CancelledBy,
        reason: Reason,
        customer: CustomerId,
        store: StoreId,
        total: Price,
        refund_due: Option<Price>,
        on: Date,
    },
    /// Money went back; `refunded` is all that went back so far, this amount included.
    #[serde(rename = "order.refunded")]
    Refunded {
        customer: CustomerId,
        store: StoreId,
        amount: Price,
        refunded: Price,
        total: Price,
        reference: Reference,
        on: Date,
    },
}

/// Why an order could not be placed or changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderRejection {
    #[error("there is no such order")]
    OrderUnknown {},
    #[error("this order exists already, with other terms")]
    OrderExists {},
    #[error("an order needs at least one line")]
    EmptyOrder {},
    #[error("an order has at most {most} lines")]
    TooManyLines { most: usize },
    #[error("this order is in {expected}, a line is in {found}")]
    MixedCurrency { expected: Currency, found: Currency },
    #[error("the total is too large")]
    TotalTooLarge {},
    #[error("an order that is {from} cannot become {to}")]
    IllegalMove { from: OrderStatus, to: OrderStatus, allowed: Vec<OrderStatus> },
    #[error("this order is not paid")]
    NotPaid {},
    #[error("this order was paid already, under another reference")]
    AlreadyPaid {},
    #[error("{due} are due, not {paid}")]
    PaymentDiffers { due: Price, paid: Price },
    #[error("this order was cancelled")]
    OrderCancelled {},
    #[error("{left} are left to refund, not {wanted}")]
    RefundAbovePaid { left: Price, wanted: Price },
    #[error("under this reference {recorded} were refunded, not {wanted}")]
    RefundDiffers { recorded: Price, wanted: Price },
    #[error("an order has at most {most} refunds")]
    TooManyRefunds { most: usize },
    #[error("this order was imported; it moves in the system it came from")]
    OrderImported {},
    #[error("this order was placed here, not imported")]
    OrderNotImported {},
}

impl Rejection for OrderRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::OrderUnknown {}
            | Self::IllegalMove { .. }
            | Self::NotPaid {}
            | Self::RefundAbovePaid { .. }
            | Self::TooManyRefunds { .. } => Retry::NewId,
            _ => Retry::Never,
        }
    }
}

impl Order {
    /// Says no to an order of so many lines, before anything is looked up for them.
    pub fn require_lines(lines: usize) -> Result<(), OrderRejection> {
        match lines {
            0 => Err(OrderRejection::EmptyOrder {}),
            1..=LINES_MOST => Ok(()),
            _ => Err(OrderRejection::TooManyLines { most: LINES_MOST }),
        }
    }

    /// Places an order at the prices of its lines.
    pub fn place(&self, placement: Placement) -> Decision<Self> {
        let Placement { customer, store, lines, currency, placed_on } = placement;
        let total = total(&lines, currency)?;
        self.begin(OrderEvent::Placed { customer, store, lines, total, placed_on })
    }

    /// Takes over a paid order of another shop system.
    pub fn import(&self, import: Import) -> Decision<Self> {
        let Import { customer, store, total, units, ordered_on, source } = import;
        self.begin(OrderEvent::Imported { customer, store, total, units, ordered_on, source })
    }

    /// Records the payment: the whole total, once.
    pub fn record_payment(&self, amount: Price, reference: Reference, on: Date) -> Decision<Self> {
        let terms = self.terms()?;
        let &Terms { customer, store, total, .. } = terms;
        if amount != total {
            return Err(OrderRejection::PaymentDiffers { due: total, paid: amount });
        }
        match self.payment {
            Some(known) if known == Fingerprint::of(&reference) => Ok(vec![]),
            _ if self.status == OrderStatus::Cancelled => Err(OrderRejection::OrderCancelled {}),
            None if !terms.imported() => Ok(vec![OrderEvent::Paid { customer, store, amount, reference, on }]),
            _ => Err(OrderRejection::AlreadyPaid {}),
        }
    }

    /// The seller takes the order on.
    pub fn accept(&self) -> Decision<Self> {
        self.advance(OrderStatus::Processing, |customer, store| OrderEvent::Accepted { customer, store })
    }

    /// The seller does not want the order.
    pub fn reject(&self, reason: Reason, on: Date) -> Decision<Self> {
        self.cancel(CancelledBy::Seller, reason, on)
    }

    /// The order is packed. Only a paid order leaves the house.
    pub fn mark_ready(&self) -> Decision<Self> {
        let events = self.advance(OrderStatus::Ready, |customer, store| OrderEvent::Ready { customer, store })?;
        if self.is_kept() { Ok(events) } else { Err(OrderRejection::NotPaid {}) }
    }

    /// The order leaves the house, unless all of its money went back meanwhile.
    pub fn mark_in_transit(&self) -> Decision<Self> {
        let events =
            self.advance(OrderStatus::InTransit, |customer, store| OrderEvent::InTransit { customer, store })?;
        if events.is_empty() || self.is_kept() { Ok(events) } else { Err(OrderRejection::NotPaid {}) }
    }

    pub fn mark_delivered(&self) -> Decision<Self> {
        self.advance(OrderStatus::Delivered, |customer, store| OrderEvent::Delivered { customer, store })
    }

    /// Ends the order before it is on its way. What was paid has to go back.
    pub fn cancel(&self, by: CancelledBy, reason: Reason, on: Date) -> Decision<Self> {
        let Some(&Terms { customer, store, total, .. }) = self.leaving_for(OrderStatus::Cancelled)? else {
            return Ok(vec![]);
        };
        let refund_due = Some(self.refundable(total)).filter(|due| due.minor() > 0);
        Ok(vec![OrderEvent::Cancelled { by, reason, customer, store, total, refund_due, on }])
    }

    /// Ends an imported order after its own system did, which has also given the money back. That has happened, so it
    /// is recorded whatever the reference was used for and however many refunds there were.
    pub fn cancel_imported(&self, reason: Reason, reference: Reference, on: Date) -> Decision<Self> {
        let terms = self.terms()?;
        let &Terms { customer, store, total, .. } = terms;
        if !terms.imported() {
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

    /// Records that money went back. The same reference counts once.
    pub fn record_refund(&self, amount: Price, reference: Reference, on: Date) -> Decision<Self> {
        let &Terms { customer, store, total, .. } = self.terms()?;
        if let Some(&recorded) = self.refunds.get(&Fingerprint::of(&reference)) {
            let differs = OrderRejection::RefundDiffers { recorded, wanted: amount };
            return if recorded == amount { Ok(vec![]) } else { Err(differs) };
        }
        let left = self.refundable(total);
        let after = left.minus(amount).ok_or(OrderRejection::RefundAbovePaid { left, wanted: amount })?;
        if after == left {
            return Ok(vec![]);
        }
        if self.refunds.len() >= REFUNDS_MOST {
            return Err(OrderRejection::TooManyRefunds { most: REFUNDS_MOST });
        }
        let refunded = total.minus(after).unwrap_or(total);
        Ok(vec![OrderEvent::Refunded { customer, store, amount, refunded, total, reference, on }])
    }

    pub fn customer(&self) -> Result<CustomerId, OrderRejection> {
        self.terms().map(|terms| terms.customer)
    }

    pub fn store(&self) -> Result<StoreId, OrderRejection> {
        self.terms().map(|terms| terms.store)
    }

    pub fn total(&self) -> Result<Price, OrderRejection> {
        self.terms().map(|terms| terms.total)
    }

    /// The products with their pieces, line by line; none for an imported order.
    pub fn lines(&self) -> impl Iterator<Item = (ProductId, Quantity)> {
        self.terms.iter().flat_map(|terms| terms.lines.iter().copied())
    }

    /// All that went back so far.
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

    /// Whether the total was ever paid, wherever it is now.
    pub fn is_paid(&self) -> bool {
        self.payment.is_some() || self.terms.as_ref().is_some_and(Terms::imported)
    }

    /// Whether it is paid and not all of that went back.
    fn is_kept(&self) -> bool {
        let all = self.terms.as_ref().map(|terms| terms.total).filter(|total| total.minor() > 0);
        self.is_paid() && (all.is_none() || self.refunded != all)
    }

    fn terms(&self) -> Result<&Terms, OrderRejection> {
        self.terms.as_ref().ok_or(OrderRejection::OrderUnknown {})
    }

    /// An order begins once; beginning again with the same terms changes nothing.
    fn begin(&self, event: OrderEvent) -> Decision<Self> {
        match &self.terms {
            None => Ok(vec![event]),
            known if *known == Terms::of(&event) => Ok(vec![]),
            Some(_) => Err(OrderRejection::OrderExists {}),
        }
    }

    /// The terms, if the order may take this step; nothing, if it has taken it already.
    fn leaving_for(&self, to: OrderStatus) -> Result<Option<&Terms>, OrderRejection> {
        let terms = self.terms()?;
        let from = self.status;
        match from.next().contains(&to) {
            _ if terms.imported() => Err(OrderRejection::OrderImported {}),
            _ if from == to => Ok(None),
            true => Ok(Some(terms)),
            false => Err(OrderRejection::IllegalMove { from, to, allowed: from.next().into() }),
        }
    }

    fn advance(&self, to: OrderStatus, event: fn(CustomerId, StoreId) -> OrderEvent) -> Decision<Self> {
        Ok(self.leaving_for(to)?.map(|terms| event(terms.customer, terms.store)).into_iter().collect())
    }

    /// What was paid and has not gone back.
    fn refundable(&self, total: Price) -> Price {
        let none = Price::zero(total.currency());
        match self.is_paid() {
            true => total.minus(self.refunded.unwrap_or(none)).unwrap_or(none),
            false => none,
        }
    }
}

impl Terms {
    /// What the first event of an order settles. On which day it was placed is no part of it, so that it can be sent
    /// again on the next.
    fn of(event: &OrderEvent) -> Option<Self> {
        match *event {
            OrderEvent::Placed { customer, store, ref lines, total, placed_on: _ } => {
                let origin = Origin::Here(Fingerprint::of(&(customer, store, lines, total)));
                let lines = lines.iter().map(|line| (line.product, line.quantity)).collect();
                Some(Self { customer, store, total, lines, origin })
            }
            OrderEvent::Imported { customer, store, total, units, ordered_on, ref source } => {
                let origin = Origin::Elsewhere { units, ordered_on, source: source.clone() };
                Some(Self { customer, store, total, lines: vec![], origin })
            }
            _ => None,
        }
    }

    fn imported(&self) -> bool {
        matches!(self.origin, Origin::Elsewhere { .. })
    }
}

fn total(lines: &[OrderLine], currency: Currency) -> Result<Price, OrderRejection> {
    Order::require_lines(lines.len())?;
    lines.iter().map(OrderLine::total).try_fold(Price::zero(currency), |sum, line| {
        if line.currency() != currency {
            return Err(OrderRejection::MixedCurrency { expected: currency, found: line.currency() });
        }
        sum.plus(line).ok_or(OrderRejection::TotalTooLarge {})
    })
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    const STATE_VERSION: i32 = 2;
    type Id = OrderId;
    type Event = OrderEvent;
    type Rejection = OrderRejection;

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } => self.terms = Terms::of(event),
            OrderEvent::Imported { .. } => {
                self.terms = Terms::of(event);
                self.status = OrderStatus::Processing;
            }
            OrderEvent::Paid { reference, .. } => self.payment = Some(Fingerprint::of(reference)),
            OrderEvent::Accepted { .. } => self.status = OrderStatus::Processing,
            OrderEvent::Ready { .. } => self.status = OrderStatus::Ready,
            OrderEvent::InTransit { .. } => self.status = OrderStatus::InTransit,
            OrderEvent::Delivered { .. } => self.status = OrderStatus::Delivered,
            OrderEvent::Cancelled { .. } => self.status = OrderStatus::Cancelled,
            OrderEvent::Refunded { reference, amount, refunded, .. } => {
                self.refunded = Some(*refunded);
                self.refunds.entry(Fingerprint::of(reference)).or_insert(*amount);
            }
        }
    }
}
