//! Relations of the loyalty read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("PointsBalance", "customer", "Customer", &["customer"]);
    of.many("PointsBalance", "entries", "PointsEntry", "customer");
    of.one("PointsEntry", "customer", "Customer", &["customer"]);
    of.one("Redemption", "customer", "Customer", &["customer"]);
    of.one("Redemption", "reward", "Reward", &["reward"]);
    of.many("Reward", "redemptions", "Redemption", "reward");
}
