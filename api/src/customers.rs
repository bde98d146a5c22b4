//! Relations of the customers read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Customer", "carts", "Cart", "customer");
    of.many("Cart", "lines", "CartLine", "cart");
    of.one("Cart", "order", "Order", &["order"]);
    of.one("CartLine", "product", "Product", &["product"]);
    of.many("Customer", "wishlists", "Wishlist", "customer");
    of.many("Wishlist", "wishes", "Wish", "wishlist");
    of.one("Wish", "product", "Product", &["product"]);
    of.many("Customer", "paymentMethods", "PaymentMethod", "customer");
    of.many("Customer", "orders", "Order", "customer");
    of.many("Customer", "purchaseHistories", "PurchaseHistory", "customer");
    of.one("Customer", "pointsBalance", "PointsBalance", &["customer"]);
    of.many("Customer", "pointsEntries", "PointsEntry", "customer");
    of.many("Customer", "redemptions", "Redemption", "customer");
    of.one("Customer", "tierStatus", "TierStatus", &["customer"]);
    of.many("Customer", "badgeAwards", "BadgeAward", "customer");
    of.one("Customer", "referralProgress", "ReferralProgress", &["customer"]);
    of.many("Customer", "referrals", "Referral", "advocate");
}
