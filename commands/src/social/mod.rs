//! Social commands.

mod post;

pub use post::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<PublishPost>();
    each.command::<DeletePost>();
    each.command::<LikePost>();
    each.command::<UnlikePost>();
}
