//! One line of an order, priced when the order was placed (ORD-17).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OrderRejection;
use crate::shared::{Price, ProductId, Quantity, Sku, Title};

/// A quantity of one product, with its name and price at the time of the order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    pub product: ProductId,
    pub sku: Sku,
    pub name: Title,
    pub quantity: Quantity,
    pub unit_price: Price,
    /// Unit price times quantity.
    // Private, so that `new` alone computes it.
    total: Price,
}

impl OrderLine {
    pub fn new(
        product: ProductId,
        sku: Sku,
        name: Title,
        quantity: Quantity,
        unit_price: Price,
    ) -> Result<Self, OrderRejection> {
        let total = unit_price.times(quantity).ok_or(OrderRejection::TotalTooLarge {})?;
        Ok(Self { product, sku, name, quantity, unit_price, total })
    }

    pub fn total(&self) -> Price {
        self.total
    }
}
