//! Catalogue: products with their variants, and the categories that order them.

mod category_tree;
mod product;
mod product_event;
mod product_restriction;

pub use category_tree::{
    CATEGORIES_MOST, CategoryTree, CategoryTreeEvent, CategoryTreeRejection, TEMPLATE_FIELDS_MOST, TemplateField,
};
pub use product::{Product, SPECIFICATIONS_MOST, VARIANTS_MOST};
pub use product_event::{ProductEvent, ProductRejection, Specification};
pub use product_restriction::{ProductRestriction, ProductRestrictionEvent, ProductRestrictionRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Product>();
    each.aggregate::<CategoryTree>();
    each.aggregate::<ProductRestriction>();
}
