//! Catalogue commands: products.

mod product;

pub use product::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<CreateProduct>();
    each.command::<ReviseProduct>();
    each.command::<ChangePrice>();
    each.command::<PublishProduct>();
    each.command::<UnpublishProduct>();
    each.command::<ArchiveProduct>();
    each.command::<RestoreProduct>();
}
