//! How far an order has come, and who may end it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an order stands on its way to the customer.
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

/// Whether an order is paid; a second axis, independent of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Unpaid,
    Paid,
    PartRefunded,
    Refunded,
}

/// Who ended an order before it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    Customer,
    Seller,
    /// A rule of the shop, such as a time limit.
    Engine,
    /// The shop system the order was imported from.
    Source,
}

impl OrderStatus {
    /// Where an order can go from here.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Processing, Self::Cancelled],
            Self::Processing => &[Self::Ready, Self::Cancelled],
            Self::Ready => &[Self::InTransit, Self::Cancelled],
            Self::InTransit => &[Self::Delivered],
            Self::Delivered | Self::Cancelled => &[],
        }
    }
}

/// Shown as it is stored.
impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
