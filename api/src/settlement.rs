//! Relations of the settlement read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("Transaction", "order", "Order", &["order"]);
    of.one("Transaction", "store", "Store", &["store"]);
}
