//! Loyalty: points balances and their entries.

mod points_balance;
mod points_entry;

pub use points_balance::PointsBalance;
pub use points_entry::{EntryReason, PointsEntry};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<PointsBalance>();
    each.read_model::<PointsEntry>();
}
