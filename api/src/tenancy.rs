//! Ways between read models that begin at stores.

use crate::graphql::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Store", "stockLevels", "StockLevel", "store");
    of.many("Store", "orders", "Order", "store");
    of.many("Store", "salesDays", "SalesDay", "store");
}
