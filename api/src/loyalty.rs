//! Ways between read models that begin at points.

use crate::graphql::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("PointsBalance", "customer", "Customer", &["customer"]);
    of.many("PointsBalance", "entries", "PointsEntry", "customer");
    of.one("PointsEntry", "customer", "Customer", &["customer"]);
}
