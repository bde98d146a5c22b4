//! Status of an order.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fulfilment status of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    #[default]
    Pending,
    Processing,
    Ready,
    InTransit,
    Delivered,
    Cancelled,
}

/// Payment status of an order, independent of its fulfilment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Unpaid,
    Paid,
    PartRefunded,
    Refunded,
}

/// Party that cancelled an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    Customer,
    Seller,
    /// A rule of the shop, such as a time limit.
    Engine,
    /// The shop system from which the order was imported.
    Source,
}

impl OrderStatus {
    /// Statuses to which an order with this status can change.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Processing, Self::Cancelled],
            Self::Processing => &[Self::Ready, Self::Cancelled],
            Self::Ready => &[Self::InTransit, Self::Cancelled],
            Self::InTransit => &[Self::Delivered],
            Self::Delivered | Self::Cancelled => &[],
        }
    }

    /// True if an order with this status can have the other one later, after one or more changes.
    pub(super) fn may_become(self, to: Self) -> bool {
        self.next().iter().any(|next| *next == to || next.may_become(to))
    }
}

/// Same text as in JSON.
impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
