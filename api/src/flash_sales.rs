//! Relations of the flash sale read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("FlashSale", "product", "Product", &["product"]);
    of.one("FlashSale", "store", "Store", &["store"]);
    of.one("SaleOffer", "product", "Product", &["product"]);
}
