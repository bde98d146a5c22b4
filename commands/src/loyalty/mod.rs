//! Loyalty commands and policies: points, rewards and redemptions.

mod account;
mod accrual;
mod policies;
mod program;
mod redemption;

pub use account::*;
pub use accrual::*;
pub use policies::*;
pub use program::*;
pub use redemption::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<SetEarningRules>();
    each.command::<EnableProgram>();
    each.command::<DisableProgram>();
    each.command::<NameCurrency>();
    each.command::<AddReward>();
    each.command::<RetireReward>();
    each.command::<EarnPoints>();
    each.command::<EarnForOrder>();
    each.command::<EarnForSignup>();
    each.command::<ReverseForOrder>();
    each.command::<AdjustPoints>();
    each.command::<RedeemReward>();
    each.command::<MarkRedemptionApplied>();
    each.command::<CancelRedemption>();
    each.command::<ExpireRedemption>();
    each.policy::<EarnOnOrderPaid>();
    each.policy::<EarnOnOrderImported>();
    each.policy::<EarnOnSignup>();
    each.policy::<ReverseOnOrderRefunded>();
    each.policy::<ReverseOnOrderCancelled>();
}
