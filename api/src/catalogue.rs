//! Ways between read models that begin at products.

use crate::graphql::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Product", "stockLevels", "StockLevel", "product");
}
