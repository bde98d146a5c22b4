//! Relations of the customers read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Customer", "orders", "Order", "customer");
    of.many("Customer", "purchaseHistories", "PurchaseHistory", "customer");
    of.one("Customer", "pointsBalance", "PointsBalance", &["customer"]);
    of.many("Customer", "pointsEntries", "PointsEntry", "customer");
    of.many("Customer", "redemptions", "Redemption", "customer");
}
