//! Referral commands and policies.

mod policies;
mod progress;
mod referral;

pub use policies::*;
pub use progress::*;
pub use referral::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<SetReferralRules>();
    each.command::<IssueReferralCode>();
    each.command::<StartReferral>();
    each.command::<CompleteReferral>();
    each.command::<QualifyReferral>();
    each.command::<FinishReferral>();
    each.command::<RefuseReferral>();
    each.policy::<QualifyOnSignup>();
    each.policy::<QualifyOnOrderPaid>();
    each.policy::<RefuseOnOrderCancelled>();
    each.policy::<FinishOnQualified>();
}
