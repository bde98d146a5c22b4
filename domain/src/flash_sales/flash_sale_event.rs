//! Events and rejections of a flash sale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Rejection, Retry};
use crate::shared::{CustomerId, OrderId, Price, ProductId, Quantity, SaleOccasionId, StoreId, Timestamp};

/// Terms of a flash sale that can change until it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaleTerms {
    /// First moment of the sale. A sale whose start has passed starts at once.
    pub starts_at: Timestamp,
    /// First moment after the sale.
    pub ends_at: Timestamp,
    /// Units set aside for the sale, from the time at which it is scheduled.
    pub allotment: Quantity,
    /// Price of one unit during the sale, below the price of the product.
    pub price: Price,
    /// Largest number of units that one customer can buy in the sale; null for no limit.
    pub limit: Option<Quantity>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum FlashSaleEvent {
    /// A flash sale of one product at one store was scheduled.
    #[serde(rename = "flash_sale.scheduled")]
    Scheduled {
        product: ProductId,
        store: StoreId,
        terms: SaleTerms,
        /// Occasion that the sale belongs to; absent for a sale of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        occasion: Option<SaleOccasionId>,
    },
    /// The terms were changed before the start.
    #[serde(rename = "flash_sale.changed")]
    Changed { terms: SaleTerms },
    /// The sale was cancelled; orders that were placed in it keep their price.
    #[serde(rename = "flash_sale.cancelled")]
    Cancelled {},
    /// The window of the sale has begun.
    #[serde(rename = "flash_sale.started")]
    Started {},
    /// The window of the sale is over.
    #[serde(rename = "flash_sale.ended")]
    Ended {},
    /// An order took units of the allotment until the deadline for its payment.
    #[serde(rename = "flash_sale.claimed")]
    Claimed { order: OrderId, customer: CustomerId, units: Quantity, until: Timestamp },
    /// An order was paid: its units are sold for this amount.
    #[serde(rename = "flash_sale.claim_confirmed")]
    ClaimConfirmed {
        order: OrderId,
        customer: CustomerId,
        units: i64,
        amount: Price,
        /// Customers with a paid order in the sale, from then on. Absent in events that were written before buyers were
        /// counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        buyers: Option<i64>,
    },
    /// An order was cancelled and gave its units back; `amount` is what it had paid for them.
    #[serde(rename = "flash_sale.claim_released")]
    ClaimReleased {
        order: OrderId,
        customer: CustomerId,
        units: i64,
        amount: Option<Price>,
        /// Customers with a paid order in the sale, from then on; absent if this order was not paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        buyers: Option<i64>,
    },
    /// An order was not paid in time; its units can be bought again.
    #[serde(rename = "flash_sale.claim_expired")]
    ClaimExpired { order: OrderId, customer: CustomerId, units: i64 },
    /// No unit of the allotment is left.
    #[serde(rename = "flash_sale.sold_out")]
    SoldOut {},
    /// Units of the allotment are left again.
    #[serde(rename = "flash_sale.available_again")]
    AvailableAgain { left: i64 },
}

/// Rejections of a flash sale.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlashSaleRejection {
    #[error("there is no such flash sale")]
    SaleUnknown {},
    #[error("this flash sale exists already, with other terms")]
    SaleExists {},
    #[error("the sale must end after its start, {starts_at}, and after now")]
    SaleWindowEmpty { starts_at: Timestamp, ends_at: Timestamp },
    #[error("a sale has at most {most} units")]
    AllotmentTooLarge { most: i64 },
    #[error("the price of the sale must be below the price of the product, {normal}")]
    SalePriceNotReduced { normal: Price },
    #[error("this sale has started and can no longer be changed")]
    SaleStarted {},
    #[error("the window of this sale is that of its occasion and does not change")]
    SaleInOccasion {},
    #[error("this sale was cancelled")]
    SaleCancelled {},
    #[error("this sale is not running")]
    SaleNotRunning {},
    #[error("this sale is over")]
    SaleOver {},
    #[error("only {left} of {wanted} units are left in the sale")]
    SaleSoldOut { left: i64, wanted: i64 },
    #[error("a customer can buy {most} units in this sale, and this one has {bought} of them already")]
    SaleLimitReached { most: i64, bought: i64 },
    #[error("the price of these units is too large")]
    SaleAmountTooLarge {},
}

impl Rejection for FlashSaleRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::SaleExists {}
            | Self::AllotmentTooLarge { .. }
            | Self::SaleStarted {}
            | Self::SaleInOccasion {}
            | Self::SaleCancelled {}
            | Self::SaleOver {}
            | Self::SaleAmountTooLarge {} => Retry::Never,
            _ => Retry::NewId,
        }
    }
}
