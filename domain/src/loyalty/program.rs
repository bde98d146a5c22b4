//! Loyalty programme of a tenant: earning rules and rewards (LOY-09, LOY-14, LOY-15, LOY-16).
//!
//! Invariants: no points are earned while the programme is off, which it is at first; every change of the rules is a
//! new version; a reward costs at least one point.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Money, PositivePoints, Price, RewardId, TenantId, Text, Title};

/// Largest number of rewards on offer. They are part of the state of the programme, so the limit bounds its size.
pub const REWARDS_MOST: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoyaltyProgram {
    enabled: bool,
    /// Version of the current rules; 0 before the first rules.
    version: u32,
    rules: Option<EarningRules>,
    /// Singular and plural name of a point.
    currency: Option<(Text<50>, Text<50>)>,
    rewards: BTreeMap<RewardId, Reward>,
}

/// Rules by which points are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarningRules {
    /// Rate at which a purchase earns points.
    pub purchase: Rate,
    /// Points for signing up, if any.
    pub signup: Option<PositivePoints>,
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
    /// Discount on the price of an order.
    pub value: Price,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LoyaltyProgramEvent {
    /// The rules for earning points were set.
    #[serde(rename = "program.earning_rules_set")]
    EarningRulesSet { version: u32, rules: EarningRules },
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
    RewardAdded { reward: RewardId, name: Title, cost: PositivePoints, value: Price },
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
    pub fn set_earning_rules(&self, rules: EarningRules) -> Decision<Self> {
        if self.rules == Some(rules) {
            return Ok(vec![]);
        }
        Ok(vec![LoyaltyProgramEvent::EarningRulesSet { version: self.version.saturating_add(1), rules }])
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
    pub fn add_reward(&self, reward: RewardId, name: Title, cost: PositivePoints, value: Price) -> Decision<Self> {
        match self.rewards.get(&reward) {
            Some(known) if (&known.name, known.cost, known.value) == (&name, cost, value) => Ok(vec![]),
            Some(_) => Err(LoyaltyProgramRejection::RewardExists { reward }),
            None if self.rewards.len() >= REWARDS_MOST => {
                Err(LoyaltyProgramRejection::TooManyRewards { most: REWARDS_MOST })
            }
            None => Ok(vec![LoyaltyProgramEvent::RewardAdded { reward, name, cost, value }]),
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

    /// Points for a purchase now, and the version of the rules.
    pub fn points_for(&self, amount: Money) -> Option<(PositivePoints, u32)> {
        Some((self.active_rules()?.purchase.points_for(amount)?, self.version))
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
    type Id = TenantId;
    type Event = LoyaltyProgramEvent;
    type Rejection = LoyaltyProgramRejection;

    fn apply(&mut self, event: &LoyaltyProgramEvent) {
        match event.clone() {
            LoyaltyProgramEvent::EarningRulesSet { version, rules } => {
                self.version = version;
                self.rules = Some(rules);
            }
            LoyaltyProgramEvent::Enabled {} => self.enabled = true,
            LoyaltyProgramEvent::Disabled {} => self.enabled = false,
            LoyaltyProgramEvent::CurrencyNamed { singular, plural } => self.currency = Some((singular, plural)),
            LoyaltyProgramEvent::RewardAdded { reward, name, cost, value } => {
                self.rewards.insert(reward, Reward { name, cost, value });
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
    use crate::testing::values::{id, money, parsed, points, price};
    use crate::testing::{Given, given};

    fn rules(per_dollar: i64) -> EarningRules {
        let per_minor = NonZeroU32::new(100).expect("a number");
        EarningRules { purchase: Rate { points: points(per_dollar), per_minor }, signup: Some(points(200)) }
    }

    fn enabled() -> Given<LoyaltyProgram> {
        given([])
            .when(|program: &LoyaltyProgram| program.set_earning_rules(rules(1)))
            .then_once([LoyaltyProgramEvent::EarningRulesSet { version: 1, rules: rules(1) }])
            .when(LoyaltyProgram::enable)
            .then_once([LoyaltyProgramEvent::Enabled {}])
    }

    fn mug_reward() -> (RewardId, Title, PositivePoints, Price) {
        (RewardId::new(id(1)), parsed("5 off"), points(500), price(500))
    }

    fn with_reward() -> Given<LoyaltyProgram> {
        let (reward, name, cost, value) = mug_reward();
        enabled()
            .when(|program| {
                let (reward, name, cost, value) = mug_reward();
                program.add_reward(reward, name, cost, value)
            })
            .then_once([LoyaltyProgramEvent::RewardAdded { reward, name, cost, value }])
    }

    #[test]
    fn purchases_earn_points_rounded_down() {
        enabled().holds(|program| {
            program.points_for(money(5700)) == Some((points(57), 1))
                && program.points_for(money(199)) == Some((points(1), 1))
                && program.points_for(money(99)).is_none()
                && program.points_for(money(-5700)).is_none()
        });
    }

    #[test]
    fn points_above_the_largest_number_are_capped() {
        let rate = Rate { points: PositivePoints::MOST, per_minor: NonZeroU32::MIN };
        assert_eq!(rate.points_for(money(1_000_000_000_000_000)), Some(PositivePoints::MOST));
    }

    #[test]
    fn no_points_are_earned_while_the_programme_is_off() {
        given([LoyaltyProgramEvent::EarningRulesSet { version: 1, rules: rules(1) }])
            .holds(|program: &LoyaltyProgram| program.points_for(money(5700)).is_none());
        given([LoyaltyProgramEvent::Enabled {}]).holds(|program: &LoyaltyProgram| program.signup_points().is_none());
        enabled().when(LoyaltyProgram::disable).then_once([LoyaltyProgramEvent::Disabled {}]).holds(|program| {
            program.points_for(money(5700)).is_none()
                && program.signup_points().is_none()
                && program.require_enabled() == Err(LoyaltyProgramRejection::ProgramOff {})
        });
    }

    #[test]
    fn every_change_of_the_rules_is_a_new_version() {
        enabled()
            .when(|program| program.set_earning_rules(rules(2)))
            .then_once([LoyaltyProgramEvent::EarningRulesSet { version: 2, rules: rules(2) }])
            .holds(|program| program.points_for(money(100)) == Some((points(2), 2)));
    }

    #[test]
    fn points_can_be_named() {
        let name = parsed::<Text<50>>;
        enabled()
            .when(|program| program.name_currency(name("Star"), name("Stars")))
            .then_once([LoyaltyProgramEvent::CurrencyNamed { singular: name("Star"), plural: name("Stars") }]);
    }

    #[test]
    fn reward_on_offer_cannot_be_added_with_other_terms() {
        let (reward, name, _, value) = mug_reward();
        with_reward()
            .when(|program| program.add_reward(reward, name.clone(), points(400), value))
            .then_rejected(LoyaltyProgramRejection::RewardExists { reward });
    }

    #[test]
    fn retired_reward_is_unavailable() {
        let (reward, ..) = mug_reward();
        with_reward().holds(|program| program.reward(reward).map(|reward| reward.cost) == Ok(points(500)));
        with_reward()
            .when(|program| program.retire_reward(reward))
            .then_once([LoyaltyProgramEvent::RewardRetired { reward }])
            .holds(|program| program.reward(reward) == Err(LoyaltyProgramRejection::RewardUnavailable { reward }));
    }

    #[test]
    fn number_of_rewards_on_offer_is_limited() {
        let (_, name, cost, value) = mug_reward();
        let mut program = LoyaltyProgram::default();
        for number in 1..=200 {
            let reward = RewardId::new(id(number));
            program.apply(&LoyaltyProgramEvent::RewardAdded { reward, name: name.clone(), cost, value });
        }
        assert_eq!(
            program.add_reward(RewardId::new(id(201)), name, cost, value),
            Err(LoyaltyProgramRejection::TooManyRewards { most: REWARDS_MOST })
        );
        assert!(serde_json::to_string(&program).expect("JSON").len() < 64 * 1024);
    }
}
