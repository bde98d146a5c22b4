//! Relations of the inventory read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("StockLevel", "product", "Product", &["product"]);
    of.one("StockLevel", "store", "Store", &["store"]);
    of.many("StockLevel", "movements", "StockMovement", "stock_item");
    of.many("StockLevel", "reservations", "Reservation", "stock_item");
    of.one("StockMovement", "stockLevel", "StockLevel", &["stock_item"]);
    of.one("Reservation", "stockLevel", "StockLevel", &["stock_item"]);
    of.one("StockDay", "stockLevel", "StockLevel", &["stock_item"]);
    of.one("LowStockAlert", "stockLevel", "StockLevel", &["stock_item"]);
    of.one("StockShortage", "stockLevel", "StockLevel", &["stock_item"]);
    of.one("Reservation", "order", "Order", &["order"]);
}
