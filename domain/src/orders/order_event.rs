//! Events and rejections of an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CancelledBy, OrderLine, OrderStatus};
use crate::kernel::{Rejection, Retry, Upcaster};
use crate::shared::{
    Currency, CustomerId, Date, OrderId, Price, PriceBreakdown, ProductId, Quantity, Reason, StoreId, Text, Timestamp,
    Units,
};

/// Reference of a payment or a refund in the system that moved the money.
pub type Reference = Text<200>;

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum OrderEvent {
    /// A customer placed an order at these prices. Version 1 had a total without its parts.
    #[serde(rename = "order.placed")]
    Placed {
        customer: CustomerId,
        store: StoreId,
        lines: Vec<OrderLine>,
        price: PriceBreakdown,
        placed_on: Date,
        /// Time of the placement. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed_at: Option<Timestamp>,
    },
    /// A paid order was imported from another shop system.
    #[serde(rename = "order.imported")]
    Imported { customer: CustomerId, store: StoreId, total: Price, units: Units, ordered_on: Date, source: Text<100> },
    /// The order was paid in full.
    #[serde(rename = "order.paid")]
    Paid { customer: CustomerId, store: StoreId, amount: Price, reference: Reference, on: Date },
    /// The order was paid after its cancellation, and its stock was gone; the whole amount is due for refund.
    #[serde(rename = "order.paid_late")]
    PaidLate { customer: CustomerId, store: StoreId, amount: Price, reference: Reference, on: Date },
    /// The order is pending again: it was cancelled because it was not paid in time, and then it was paid while its stock
    /// was still there.
    #[serde(rename = "order.reinstated")]
    Reinstated { customer: CustomerId, store: StoreId },
    /// The seller accepted the order.
    #[serde(rename = "order.accepted")]
    Accepted { customer: CustomerId, store: StoreId },
    /// The order is packed and ready to be shipped.
    #[serde(rename = "order.ready")]
    Ready { customer: CustomerId, store: StoreId },
    /// The order is on its way.
    #[serde(rename = "order.in_transit")]
    InTransit { customer: CustomerId, store: StoreId },
    /// The order was delivered.
    #[serde(rename = "order.delivered")]
    Delivered { customer: CustomerId, store: StoreId },
    /// The order was cancelled; `refund_due` is the amount to be refunded to the customer.
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
    /// Money was refunded; `refunded` is the sum of all refunds, including this amount.
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
    /// The customer returned units of a product, and they were put into stock.
    #[serde(rename = "order.units_returned")]
    UnitsReturned { customer: CustomerId, store: StoreId, product: ProductId, units: Quantity },
}

/// Steps from older versions of the events.
pub(super) const UPCASTERS: &[Upcaster] = &[Upcaster {
    event: "order.placed",
    from: 1,
    step: |fields| {
        let total = fields.remove("total").ok_or("`total` is missing")?;
        let goods: Price = serde_json::from_value(total).map_err(|error| error.to_string())?;
        let price = serde_json::to_value(PriceBreakdown::of_goods(goods)).map_err(|error| error.to_string())?;
        fields.insert("price".into(), price);
        Ok(())
    },
}];

/// Rejections of an order.
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
    #[error("this order was refunded in full")]
    OrderRefunded {},
    #[error("this order was paid already, under another reference")]
    AlreadyPaid {},
    #[error("{due} is due, not {paid}")]
    PaymentDiffers { due: Price, paid: Price },
    #[error("this order was cancelled")]
    OrderCancelled {},
    #[error(
        "this order was cancelled because it was not paid in time; a payment opens it again while its stock is there"
    )]
    OrderExpired {},
    #[error("only {left} can be refunded, not {wanted}")]
    RefundAbovePaid { left: Price, wanted: Price },
    #[error("this reference was used for a refund of {recorded}, not of {wanted}")]
    RefundDiffers { recorded: Price, wanted: Price },
    #[error("after {most} refunds, only all that is left can be refunded at once: {left}")]
    TooManyRefunds { most: usize, left: Price },
    #[error("an order that is {status} has not left the store")]
    NotShipped { status: OrderStatus },
    #[error("only {left} units of this product can still come back from this order, not {wanted}")]
    ReturnAboveShipped { left: i64, wanted: i64 },
    #[error("this order was imported; it moves in the system it came from")]
    OrderImported {},
    #[error("this order was placed here, not imported")]
    OrderNotImported {},
    #[error("this order of the other system was imported already, as {order}")]
    SourceImported { order: OrderId },
}

impl Rejection for OrderRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::OrderUnknown {} | Self::NotPaid {} | Self::OrderExpired {} => Retry::NewId,
            Self::IllegalMove { from, to, .. } if from.may_become(*to) => Retry::NewId,
            Self::NotShipped { status } if status.may_become(OrderStatus::InTransit) => Retry::NewId,
            _ => Retry::Never,
        }
    }
}
