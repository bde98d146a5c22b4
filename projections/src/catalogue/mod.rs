//! Catalogue: products, their price history, and categories.

mod category;
mod price_change;
mod product;

pub use category::{Category, CategoryStatus};
pub use price_change::PriceChange;
pub use product::{Product, ProductStatus, Variant};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Product>();
    each.read_model::<PriceChange>();
    each.read_model::<Category>();
}
