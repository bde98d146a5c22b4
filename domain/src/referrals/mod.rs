//! Referrals: customers who bring friends, and the rules of their reward.

mod advocate;
mod referral;
mod rules;

pub use advocate::{Advocate, AdvocateEvent};
pub use referral::{Referral, ReferralEvent, ReferralRejection, ReferralStatus};
pub use rules::{Condition, ReferralRules, ReferralTerms, ReferralTermsEvent, ReferralTermsRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Advocate>();
    each.aggregate::<Referral>();
    each.aggregate::<ReferralTerms>();
}
