//! Figures of activity.

mod activity_day;

pub use activity_day::ActivityDay;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<ActivityDay>();
}
