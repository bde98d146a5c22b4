//! Catalogue: products.

mod product;

pub use product::{Product, ProductStatus};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Product>();
}
