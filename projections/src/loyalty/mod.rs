//! Loyalty: the programme with its rewards, points balances with their entries, and redemptions.

mod loyalty_program;
mod points_balance;
mod points_entry;
mod redemption;
mod reward;

pub use loyalty_program::LoyaltyProgram;
pub use points_balance::PointsBalance;
pub use points_entry::{EntryReason, PointsEntry};
pub use redemption::Redemption;
pub use reward::{Reward, RewardStatus};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<LoyaltyProgram>();
    each.read_model::<PointsBalance>();
    each.read_model::<PointsEntry>();
    each.read_model::<Redemption>();
    each.read_model::<Reward>();
}
