//! Referrals: codes, friends and progress.

mod referral;
mod referral_progress;

pub use referral::Referral;
pub use referral_progress::ReferralProgress;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Referral>();
    each.read_model::<ReferralProgress>();
}
