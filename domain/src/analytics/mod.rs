//! Analytics: activity of customers and of the team.

mod activity;
mod activity_kind;

pub use activity::{Activity, ActivityEvent};
pub use activity_kind::ActivityKind;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Activity>();
}
