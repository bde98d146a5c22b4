//! Points: what earns them, who has how many, and what they buy.

mod account;
mod earning;
mod entry_kind;
mod program;

pub use account::{LoyaltyAccount, LoyaltyAccountEvent, LoyaltyAccountRejection, OPEN_REDEMPTIONS_MOST, Totals};
pub use earning::{Earning, EarningEvent, EarningRejection};
pub use entry_kind::EntryKind;
pub use program::{
    EarningRules, LoyaltyProgram, LoyaltyProgramEvent, LoyaltyProgramRejection, REWARDS_MOST, Rate, Reward,
};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Earning>();
    each.aggregate::<LoyaltyAccount>();
    each.aggregate::<LoyaltyProgram>();
}
