//! What is sold, and at which price.

mod product;

pub use product::{Product, ProductEvent, ProductRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Product>();
}
