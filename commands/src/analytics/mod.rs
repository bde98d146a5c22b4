//! Analytics commands.

mod activity;

pub use activity::TrackActivity;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<TrackActivity>();
}
