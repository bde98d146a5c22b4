//! Catalogue: products and their prices.

mod product;

pub use product::{Product, ProductEvent, ProductRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Product>();
}
