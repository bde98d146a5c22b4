//! Loyalty commands and policies: points, rewards, redemptions, tiers and badges.

mod account;
mod accrual;
mod badge;
mod cause;
mod policies;
mod program;
mod redemption;
mod tier;

pub use account::*;
pub use accrual::*;
pub use badge::*;
pub use policies::*;
pub use program::*;
pub use redemption::*;
pub use tier::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<SetEarningRules>();
    each.command::<EnableProgram>();
    each.command::<DisableProgram>();
    each.command::<NameCurrency>();
    each.command::<AddReward>();
    each.command::<ReviseReward>();
    each.command::<RetireReward>();
    each.command::<EarnPoints>();
    each.command::<EarnForOrder>();
    each.command::<EarnForSignup>();
    each.command::<EarnForReview>();
    each.command::<EarnForReferral>();
    each.command::<ReverseForOrder>();
    each.command::<ReverseForReview>();
    each.command::<AdjustPoints>();
    each.command::<RedeemReward>();
    each.command::<ApplyRewardCode>();
    each.command::<MarkRedemptionApplied>();
    each.command::<CancelRedemption>();
    each.command::<ExpireRedemption>();
    each.command::<AddTier>();
    each.command::<ReviseTier>();
    each.command::<RemoveTier>();
    each.command::<SetTier>();
    each.command::<EvaluateTier>();
    each.command::<GrantEntryReward>();
    each.command::<DefineBadge>();
    each.command::<RetireBadge>();
    each.command::<AwardBadge>();
    each.command::<AwardBadges>();
    each.policy::<EarnOnOrderPaid>();
    each.policy::<EarnOnOrderImported>();
    each.policy::<EarnOnSignup>();
    each.policy::<ReverseOnOrderRefunded>();
    each.policy::<ReverseOnOrderCancelled>();
    each.policy::<EarnOnReviewPublished>();
    each.policy::<ReverseOnReviewGone>();
    each.policy::<RewardOnFriendCompleted>();
    each.policy::<AwardOnPurchase>();
    each.policy::<ExpireOnRedemptionOpened>();
    each.policy::<GrantOnTierChanged>();
}
