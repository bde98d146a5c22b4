//! One line of an order, priced when the order was placed (ORD-17).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OrderRejection;
use crate::shared::{FlashSaleId, Price, ProductId, Quantity, Sku, Title};

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
    /// Flash sale in which the units were sold; absent outside of a sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sale: Option<FlashSaleId>,
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
        Ok(Self { product, sku, name, quantity, unit_price, total, sale: None })
    }

    /// The same line, sold in a flash sale at its price.
    pub fn in_sale(self, sale: FlashSaleId, unit_price: Price) -> Result<Self, OrderRejection> {
        let Self { product, sku, name, quantity, .. } = self;
        Ok(Self { sale: Some(sale), ..Self::new(product, sku, name, quantity, unit_price)? })
    }

    pub fn total(&self) -> Price {
        self.total
    }
}
