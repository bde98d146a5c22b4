//! Relations of the loyalty read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("PointsBalance", "customer", "Customer", &["customer"]);
    of.many("PointsBalance", "entries", "PointsEntry", "customer");
    of.one("PointsEntry", "customer", "Customer", &["customer"]);
}
