//! Loyalty: points, the rules for earning them, and rewards.

mod account;
mod earning;
mod entry_kind;
mod program;
mod redemption;

pub use account::{LoyaltyAccount, LoyaltyAccountEvent, LoyaltyAccountRejection, Totals};
pub use earning::{Earning, EarningEvent, EarningRejection};
pub use entry_kind::EntryKind;
pub use program::{
    EarningRules, LoyaltyProgram, LoyaltyProgramEvent, LoyaltyProgramRejection, REWARDS_MOST, Rate, Reward,
};
pub use redemption::{Redemption, RedemptionEvent, RedemptionRejection, RedemptionStatus};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Earning>();
    each.aggregate::<LoyaltyAccount>();
    each.aggregate::<LoyaltyProgram>();
    each.aggregate::<Redemption>();
}
