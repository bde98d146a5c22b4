//! Relations of the orders read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("Order", "customer", "Customer", &["customer"]);
    of.one("Order", "store", "Store", &["store"]);
    of.many("Order", "timeline", "OrderStep", "order");
    of.many("Order", "salesReceipts", "SalesReceipt", "order");
    of.one("SalesReceipt", "order", "Order", &["order"]);
    of.one("OrderStep", "order", "Order", &["order"]);
    of.one("SalesDay", "store", "Store", &["store"]);
    of.one("PurchaseHistory", "customer", "Customer", &["customer"]);
}
