//! Loyalty programme of a tenant: earning rules and rewards (LOY-09, LOY-14, LOY-15, LOY-16).
//!
//! Invariants: no points are earned while the programme is off, which it is at first; every change of the rules is a
//! new version; an order earns by the version that was in force when it was placed; a reward costs at least one point.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Money, PositivePoints, Price, RewardId, Seconds, TenantId, Text, Timestamp, Title};

/// Largest number of rewards on offer. They are part of the state of the programme, so the limit bounds its size.
pub const REWARDS_MOST: usize = 50;
/// Number of versions of the rules that are kept for orders that were placed under them.
const VERSIONS_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoyaltyProgram {
    enabled: bool,
    /// Version of the current rules; 0 before the first rules.
    version: u32,
    rules: Option<EarningRules>,
    /// Latest versions of the rules with the time from which each is in force, in the order of their versions.
    #[serde(default)]
    versions: Vec<RulesVersion>,
    /// Singular and plural name of a point.
    currency: Option<(Text<50>, Text<50>)>,
    rewards: BTreeMap<RewardId, Reward>,
}

/// One version of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RulesVersion {
    version: u32,
    since: Timestamp,
    rules: EarningRules,
}

/// Rules by which points are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarningRules {
    /// Rate at which a purchase earns points.
    pub purchase: Rate,
    /// Points for signing up, if any.
    pub signup: Option<PositivePoints>,
    /// Points for a review of a product or a store, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<PositivePoints>,
}

/// Points per number of minor units: 1 per 100 is one point for every whole dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub points: PositivePoints,
    pub per_minor: NonZeroU32,
}

/// A reward that points buy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    pub name: Title,
    /// Cost in points.
    pub cost: PositivePoints,
    /// Discount on the price of an order, or the worth of another kind of reward.
    pub value: Price,
    #[serde(default, skip_serializing_if = "RewardKind::is_discount")]
    pub kind: RewardKind,
    /// Days after which an unused redemption expires; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_days: Option<u16>,
}

/// Kind of a reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// Lowers the price of an order.
    #[default]
    Discount,
    /// No shipping costs for an order.
    FreeShipping,
    /// A product for free.
    Gift,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LoyaltyProgramEvent {
    /// The rules for earning points were set.
    #[serde(rename = "program.earning_rules_set")]
    EarningRulesSet {
        version: u32,
        rules: EarningRules,
        /// Time from which they are in force. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// The programme was turned on.
    #[serde(rename = "program.enabled")]
    Enabled {},
    /// The programme was turned off; balances are kept.
    #[serde(rename = "program.disabled")]
    Disabled {},
    /// The name of a point was set.
    #[serde(rename = "program.currency_named")]
    CurrencyNamed { singular: Text<50>, plural: Text<50> },
    /// A reward was put on offer.
    #[serde(rename = "program.reward_added")]
    RewardAdded {
        reward: RewardId,
        name: Title,
        cost: PositivePoints,
        value: Price,
        #[serde(default, skip_serializing_if = "RewardKind::is_discount")]
        kind: RewardKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_days: Option<u16>,
    },
    /// The terms of a reward on offer were replaced; redemptions that were bought keep theirs.
    #[serde(rename = "program.reward_revised")]
    RewardRevised { reward: RewardId, terms: Reward },
    /// A reward was taken off offer; redemptions that were bought stay valid.
    #[serde(rename = "program.reward_retired")]
    RewardRetired { reward: RewardId },
}

/// Rejections of a loyalty programme.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoyaltyProgramRejection {
    #[error("the points programme is off")]
    ProgramOff {},
    #[error("this reward is not on offer")]
    RewardUnavailable { reward: RewardId },
    #[error("this reward is on offer already, with other terms")]
    RewardExists { reward: RewardId },
    #[error("at most {most} rewards can be on offer")]
    TooManyRewards { most: usize },
}

impl Rejection for LoyaltyProgramRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::RewardExists { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl RewardKind {
    fn is_discount(&self) -> bool {
        *self == Self::Discount
    }
}

impl Reward {
    /// Time at which a redemption that is bought now expires.
    pub fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.valid_days.map(|days| now.after(Seconds(i64::from(days).saturating_mul(24 * 60 * 60))))
    }
}

impl Rate {
    /// Points for an amount, rounded down; `None` if it is less than one point.
    pub fn points_for(self, amount: Money) -> Option<PositivePoints> {
        let points = i128::from(amount.minor)
            .checked_mul(self.points.get().into())
            .and_then(|product| product.checked_div(self.per_minor.get().into()))
            .filter(|points| *points > 0)?;
        // More points than one field can hold are capped.
        let points = i64::try_from(points).ok().and_then(|points| PositivePoints::try_from(points).ok());
        Some(points.unwrap_or(PositivePoints::MOST))
    }
}

impl LoyaltyProgram {
    /// Sets the rules for earning points. Points earned before are kept.
    pub fn set_earning_rules(&self, rules: EarningRules, now: Timestamp) -> Decision<Self> {
        if self.rules == Some(rules) {
            return Ok(vec![]);
        }
        let version = self.version.saturating_add(1);
        Ok(vec![LoyaltyProgramEvent::EarningRulesSet { version, rules, since: Some(now) }])
    }

    pub fn enable(&self) -> Decision<Self> {
        match self.enabled {
            true => Ok(vec![]),
            false => Ok(vec![LoyaltyProgramEvent::Enabled {}]),
        }
    }

    pub fn disable(&self) -> Decision<Self> {
        match self.enabled {
            true => Ok(vec![LoyaltyProgramEvent::Disabled {}]),
            false => Ok(vec![]),
        }
    }

    /// Sets the name of a point, such as Star and Stars.
    pub fn name_currency(&self, singular: Text<50>, plural: Text<50>) -> Decision<Self> {
        match &self.currency {
            Some((one, many)) if *one == singular && *many == plural => Ok(vec![]),
            _ => Ok(vec![LoyaltyProgramEvent::CurrencyNamed { singular, plural }]),
        }
    }

    /// Puts a reward on offer. A repeat with the same terms changes nothing.
    pub fn add_reward(&self, reward: RewardId, terms: Reward) -> Decision<Self> {
        match self.rewards.get(&reward) {
            Some(known) if *known == terms => Ok(vec![]),
            Some(_) => Err(LoyaltyProgramRejection::RewardExists { reward }),
            None if self.rewards.len() >= REWARDS_MOST => {
                Err(LoyaltyProgramRejection::TooManyRewards { most: REWARDS_MOST })
            }
            None => {
                let Reward { name, cost, value, kind, valid_days } = terms;
                Ok(vec![LoyaltyProgramEvent::RewardAdded { reward, name, cost, value, kind, valid_days }])
            }
        }
    }

    /// Replaces the terms of a reward on offer.
    pub fn revise_reward(&self, reward: RewardId, terms: Reward) -> Decision<Self> {
        match *self.reward(reward)? == terms {
            true => Ok(vec![]),
            false => Ok(vec![LoyaltyProgramEvent::RewardRevised { reward, terms }]),
        }
    }

    /// Takes a reward off offer. Does nothing if it is not on offer.
    pub fn retire_reward(&self, reward: RewardId) -> Decision<Self> {
        match self.rewards.contains_key(&reward) {
            true => Ok(vec![LoyaltyProgramEvent::RewardRetired { reward }]),
            false => Ok(vec![]),
        }
    }

    /// Version of the current rules; a rejection while the programme is off.
    pub fn require_enabled(&self) -> Result<u32, LoyaltyProgramRejection> {
        if self.enabled { Ok(self.version) } else { Err(LoyaltyProgramRejection::ProgramOff {}) }
    }

    /// Points for an order and the version of the rules that was in force when it was placed; without a time, the
    /// current one.
    pub fn points_for(&self, amount: Money, placed_at: Option<Timestamp>) -> Option<(PositivePoints, u32)> {
        let (rules, version) = match placed_at {
            None => (self.active_rules()?, self.version),
            Some(placed_at) => {
                self.active_rules()?;
                let in_force = self.versions.iter().rev().find(|version| version.since <= placed_at)?;
                (in_force.rules, in_force.version)
            }
        };
        Some((rules.purchase.points_for(amount)?, version))
    }

    /// Points for a review now, and the version of the rules.
    pub fn review_points(&self) -> Option<(PositivePoints, u32)> {
        Some((self.active_rules()?.review?, self.version))
    }

    /// Points for signing up now, and the version of the rules.
    pub fn signup_points(&self) -> Option<(PositivePoints, u32)> {
        Some((self.active_rules()?.signup?, self.version))
    }

    /// Terms of a reward on offer.
    pub fn reward(&self, reward: RewardId) -> Result<&Reward, LoyaltyProgramRejection> {
        self.rewards.get(&reward).ok_or(LoyaltyProgramRejection::RewardUnavailable { reward })
    }

    fn active_rules(&self) -> Option<EarningRules> {
        self.rules.filter(|_| self.enabled)
    }
}

impl Aggregate for LoyaltyProgram {
    const TYPE: &'static str = "LoyaltyProgram";
    const STATE_VERSION: i32 = 2;
    type Id = TenantId;
    type Event = LoyaltyProgramEvent;
    type Rejection = LoyaltyProgramRejection;

    fn apply(&mut self, event: &LoyaltyProgramEvent) {
        match event.clone() {
            LoyaltyProgramEvent::EarningRulesSet { version, rules, since } => {
                self.version = version;
                self.rules = Some(rules);
                if self.versions.len() >= VERSIONS_MOST {
                    self.versions.remove(0);
                }
                self.versions.push(RulesVersion { version, since: since.unwrap_or_default(), rules });
            }
            LoyaltyProgramEvent::Enabled {} => self.enabled = true,
            LoyaltyProgramEvent::Disabled {} => self.enabled = false,
            LoyaltyProgramEvent::CurrencyNamed { singular, plural } => self.currency = Some((singular, plural)),
            LoyaltyProgramEvent::RewardAdded { reward, name, cost, value, kind, valid_days } => {
                self.rewards.insert(reward, Reward { name, cost, value, kind, valid_days });
            }
            LoyaltyProgramEvent::RewardRevised { reward, terms } => {
                self.rewards.insert(reward, terms);
            }
            LoyaltyProgramEvent::RewardRetired { reward } => {
                self.rewards.remove(&reward);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{at, id, money, parsed, points, price};
    use crate::testing::{Given, given};

    fn rules(per_dollar: i64) -> EarningRules {
        let per_minor = NonZeroU32::new(100).expect("a number");
        EarningRules {
            purchase: Rate { points: points(per_dollar), per_minor },
            signup: Some(points(200)),
            review: None,
        }
    }

    fn enabled() -> Given<LoyaltyProgram> {
        given([])
            .when(|program: &LoyaltyProgram| program.set_earning_rules(rules(1), at(10)))
            .then_once([LoyaltyProgramEvent::EarningRulesSet { version: 1, rules: rules(1), since: Some(at(10)) }])
            .when(LoyaltyProgram::enable)
            .then_once([LoyaltyProgramEvent::Enabled {}])
    }

    const REWARD: RewardId = RewardId::new(id(1));

    fn five_off(cost: i64) -> Reward {
        let kind = RewardKind::Discount;
        Reward { name: parsed("5 off"), cost: points(cost), value: price(500), kind, valid_days: None }
    }

    fn added(reward: RewardId) -> LoyaltyProgramEvent {
        let Reward { name, cost, value, kind, valid_days } = five_off(500);
        LoyaltyProgramEvent::RewardAdded { reward, name, cost, value, kind, valid_days }
    }

    fn with_reward() -> Given<LoyaltyProgram> {
        enabled().when(|program| program.add_reward(REWARD, five_off(500))).then_once([added(REWARD)])
    }

    #[test]
    fn purchases_earn_points_rounded_down() {
        enabled().holds(|program| {
            program.points_for(money(5700), None) == Some((points(57), 1))
                && program.points_for(money(199), None) == Some((points(1), 1))
                && program.points_for(money(99), None).is_none()
                && program.points_for(money(-5700), None).is_none()
        });
    }

    #[test]
    fn points_above_the_largest_number_are_capped() {
        let rate = Rate { points: PositivePoints::MOST, per_minor: NonZeroU32::MIN };
        assert_eq!(rate.points_for(money(1_000_000_000_000_000)), Some(PositivePoints::MOST));
    }

    #[test]
    fn no_points_are_earned_while_the_programme_is_off() {
        given([LoyaltyProgramEvent::EarningRulesSet { version: 1, rules: rules(1), since: Some(at(10)) }])
            .holds(|program: &LoyaltyProgram| program.points_for(money(5700), None).is_none());
        given([LoyaltyProgramEvent::Enabled {}]).holds(|program: &LoyaltyProgram| program.signup_points().is_none());
        enabled().when(LoyaltyProgram::disable).then_once([LoyaltyProgramEvent::Disabled {}]).holds(|program| {
            program.points_for(money(5700), None).is_none()
                && program.signup_points().is_none()
                && program.require_enabled() == Err(LoyaltyProgramRejection::ProgramOff {})
        });
    }

    #[test]
    fn every_change_of_the_rules_is_a_new_version_for_later_orders() {
        enabled()
            .when(|program| program.set_earning_rules(rules(2), at(20)))
            .then_once([LoyaltyProgramEvent::EarningRulesSet { version: 2, rules: rules(2), since: Some(at(20)) }])
            .holds(|program| {
                let points_at = |placed_at| program.points_for(money(100), placed_at);
                points_at(None) == Some((points(2), 2))
                    && points_at(Some(at(20))) == Some((points(2), 2))
                    && points_at(Some(at(19))) == Some((points(1), 1))
                    && points_at(Some(at(9))).is_none()
            });
    }

    #[test]
    fn points_can_be_named() {
        let name = parsed::<Text<50>>;
        enabled()
            .when(|program| program.name_currency(name("Star"), name("Stars")))
            .then_once([LoyaltyProgramEvent::CurrencyNamed { singular: name("Star"), plural: name("Stars") }]);
    }

    #[test]
    fn reward_on_offer_cannot_be_added_with_other_terms_but_revised() {
        with_reward()
            .when(|program| program.add_reward(REWARD, five_off(400)))
            .then_rejected(LoyaltyProgramRejection::RewardExists { reward: REWARD });
        with_reward()
            .when(|program| program.revise_reward(REWARD, five_off(400)))
            .then_once([LoyaltyProgramEvent::RewardRevised { reward: REWARD, terms: five_off(400) }])
            .holds(|program| program.reward(REWARD) == Ok(&five_off(400)));
        enabled()
            .when(|program| program.revise_reward(REWARD, five_off(400)))
            .then_rejected(LoyaltyProgramRejection::RewardUnavailable { reward: REWARD });
    }

    #[test]
    fn retired_reward_is_unavailable() {
        with_reward().holds(|program| program.reward(REWARD).map(|reward| reward.cost) == Ok(points(500)));
        with_reward()
            .when(|program| program.retire_reward(REWARD))
            .then_once([LoyaltyProgramEvent::RewardRetired { reward: REWARD }])
            .holds(|program| {
                program.reward(REWARD) == Err(LoyaltyProgramRejection::RewardUnavailable { reward: REWARD })
            });
    }

    #[test]
    fn redemption_expires_after_the_days_of_its_reward() {
        let reward = Reward { valid_days: Some(2), ..five_off(500) };
        assert_eq!(reward.expiry(at(5)), Some(at(5 + 2 * 24 * 60 * 60)));
        assert_eq!(five_off(500).expiry(at(5)), None);
    }

    #[test]
    fn number_of_rewards_and_of_kept_versions_is_limited() {
        let mut program = LoyaltyProgram::default();
        for number in 1..=200 {
            program.apply(&added(RewardId::new(id(number))));
            let since = Some(at(i64::try_from(number).expect("small")));
            let version = u32::try_from(number).expect("small");
            program.apply(&LoyaltyProgramEvent::EarningRulesSet { version, rules: rules(1), since });
        }
        assert_eq!(
            program.add_reward(RewardId::new(id(201)), five_off(500)),
            Err(LoyaltyProgramRejection::TooManyRewards { most: REWARDS_MOST })
        );
        assert!(serde_json::to_string(&program).expect("JSON").len() < 64 * 1024);
    }
}
