//! Social: posts and their likes.

mod like;
mod post;

pub use like::Like;
pub use post::{Post, PostStatus};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Like>();
    each.read_model::<Post>();
}
