//! Loyalty: points, the rules for earning them, rewards, tiers and badges.

mod account;
mod badge_award;
mod badge_book;
mod earning;
mod entry_kind;
mod membership;
mod multiplier;
mod program;
mod redemption;
mod tier_ladder;

pub use account::{Earned, LoyaltyAccount, LoyaltyAccountEvent, LoyaltyAccountRejection, Totals};
pub use badge_award::{BadgeAward, BadgeAwardEvent};
pub use badge_book::{BADGES_MOST, Badge, BadgeAction, BadgeBook, BadgeBookEvent, BadgeBookRejection};
pub use earning::{Earning, EarningEvent, EarningRejection};
pub use entry_kind::EntryKind;
pub use membership::{Membership, MembershipEvent};
pub use multiplier::Multiplier;
pub use program::{
    EarningRules, LoyaltyProgram, LoyaltyProgramEvent, LoyaltyProgramRejection, REWARDS_MOST, Rate, Reward, RewardKind,
};
pub use redemption::{Redemption, RedemptionEvent, RedemptionRejection, RedemptionStatus, UseReference};
pub use tier_ladder::{Perk, Standing, TIERS_MOST, Tier, TierLadder, TierLadderEvent, TierLadderRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<BadgeAward>();
    each.aggregate::<BadgeBook>();
    each.aggregate::<Earning>();
    each.aggregate::<LoyaltyAccount>();
    each.aggregate::<LoyaltyProgram>();
    each.aggregate::<Membership>();
    each.aggregate::<Redemption>();
    each.aggregate::<TierLadder>();
}
