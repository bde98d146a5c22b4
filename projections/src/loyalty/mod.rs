//! Loyalty: the programme with its rewards, tiers and badges, points balances with their entries, redemptions, and the
//! activity log of the team.

mod activity;
mod badge;
mod badge_award;
mod loyalty_program;
mod points_balance;
mod points_entry;
mod redemption;
mod reward;
mod tier;
mod tier_status;

pub use activity::{Activity, ActivityKind};
pub use badge::Badge;
pub use badge_award::BadgeAward;
pub use loyalty_program::LoyaltyProgram;
pub use points_balance::PointsBalance;
pub use points_entry::{EntryReason, PointsEntry};
pub use redemption::Redemption;
pub use reward::{Reward, RewardStatus};
pub use tier::Tier;
pub use tier_status::TierStatus;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Activity>();
    each.read_model::<Badge>();
    each.read_model::<BadgeAward>();
    each.read_model::<LoyaltyProgram>();
    each.read_model::<PointsBalance>();
    each.read_model::<PointsEntry>();
    each.read_model::<Redemption>();
    each.read_model::<Reward>();
    each.read_model::<Tier>();
    each.read_model::<TierStatus>();
}
