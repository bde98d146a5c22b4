//! Relations of the catalogue read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("Product", "category", "Category", &["category"]);
    of.many("Category", "products", "Product", "category");
    of.many("Category", "categories", "Category", "parent");
    of.many("Product", "priceHistory", "PriceChange", "product");
    of.one("PriceChange", "product", "Product", &["product"]);
    of.many("Product", "stockLevels", "StockLevel", "product");
    of.many("Product", "wishes", "Wish", "product");
    of.one("Product", "rating", "Rating", &["product"]);
    of.many("Product", "reviews", "Review", "product");
    of.many("Product", "questions", "Question", "product");
}
