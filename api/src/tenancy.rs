//! Relations of the tenancy read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Store", "stockLevels", "StockLevel", "store");
    of.many("Store", "orders", "Order", "store");
    of.many("Store", "salesDays", "SalesDay", "store");
    of.many("Store", "salesWeeks", "SalesWeek", "store");
    of.many("Store", "salesMonths", "SalesMonth", "store");
    of.one("Store", "rating", "Rating", &["store"]);
    of.many("Store", "reviews", "Review", "store");
}
