//! Social: posts of a tenant, and what customers like, follow and vote for.

mod post;
mod relation;

pub use post::{Media, MediaKind, Post, PostEvent, PostKind, PostRejection};
pub use relation::{Relation, RelationEvent, RelationKind};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Post>();
    each.aggregate::<Relation>();
}
