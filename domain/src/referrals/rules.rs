//! Rules of a tenant's referrals (REF-03, REF-05).
//!
//! Invariant: no referral begins before rules are set or while they are off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::{PositivePoints, Seconds, TenantId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReferralTerms {
    rules: Option<ReferralRules>,
}

/// Rules by which referrals are rewarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferralRules {
    /// True while friends can be referred.
    pub enabled: bool,
    pub condition: Condition,
    /// Points for the customer who brought the friend.
    pub advocate_points: Option<PositivePoints>,
    /// Points for the friend.
    pub friend_points: Option<PositivePoints>,
    /// Number of friends at which the progress of an advocate is 100 %.
    pub goal: u16,
    /// Days after the first order in which its cancellation refuses the referral; 0 to reward it at once.
    pub window_days: u16,
}

/// Condition of the reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The friend registers.
    Signup,
    /// The friend pays a first order.
    Purchase,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReferralTermsEvent {
    /// The rules were set.
    #[serde(rename = "referral_rules.set")]
    Set { rules: ReferralRules },
}

/// Rejections of a tenant's referrals as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReferralTermsRejection {
    #[error("referrals are off")]
    ReferralsOff {},
}

impl Rejection for ReferralTermsRejection {}

impl ReferralRules {
    /// Time from the first order to the reward.
    pub fn window(self) -> Seconds {
        Seconds(i64::from(self.window_days).saturating_mul(24 * 60 * 60))
    }
}

impl ReferralTerms {
    /// Sets the rules. Referrals that were begun before follow the new ones.
    pub fn set(&self, rules: ReferralRules) -> Decision<Self> {
        match self.rules == Some(rules) {
            true => Ok(vec![]),
            false => Ok(vec![ReferralTermsEvent::Set { rules }]),
        }
    }

    /// The rules; a rejection while referrals are off.
    pub fn active(&self) -> Result<ReferralRules, ReferralTermsRejection> {
        self.rules.filter(|rules| rules.enabled).ok_or(ReferralTermsRejection::ReferralsOff {})
    }
}

impl Aggregate for ReferralTerms {
    const TYPE: &'static str = "ReferralTerms";
    type Id = TenantId;
    type Event = ReferralTermsEvent;
    type Rejection = ReferralTermsRejection;

    fn apply(&mut self, event: &ReferralTermsEvent) {
        let ReferralTermsEvent::Set { rules } = *event;
        self.rules = Some(rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::points;

    #[test]
    fn referrals_are_off_until_rules_turn_them_on() {
        let rules = |enabled| ReferralRules {
            enabled,
            condition: Condition::Purchase,
            advocate_points: Some(points(100)),
            friend_points: None,
            goal: 3,
            window_days: 14,
        };
        given([]).holds(|terms: &ReferralTerms| terms.active() == Err(ReferralTermsRejection::ReferralsOff {}));
        given([])
            .when(|terms: &ReferralTerms| terms.set(rules(true)))
            .then_once([ReferralTermsEvent::Set { rules: rules(true) }])
            .when(|terms| terms.set(rules(false)))
            .then_once([ReferralTermsEvent::Set { rules: rules(false) }])
            .holds(|terms| terms.active().is_err());
        assert_eq!(rules(true).window(), Seconds(14 * 24 * 60 * 60));
    }
}
