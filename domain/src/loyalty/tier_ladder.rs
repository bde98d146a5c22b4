//! Tier ladder of a tenant: tiers by spending, with their perks (VIP-01, VIP-05, VIP-06).
//!
//! Invariant: the thresholds of the tiers differ, so that the ladder strictly increases; their names differ too.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Multiplier;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Price, RewardId, TenantId, TierId, Title};

/// Largest number of tiers. They are part of the state of the ladder, so the limit bounds its size.
pub const TIERS_MOST: usize = 20;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TierLadder {
    tiers: BTreeMap<TierId, Tier>,
}

/// A tier that customers reach by spending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub name: Title,
    /// Spending from which a customer has the tier.
    pub threshold: Price,
    /// Factor of the points for purchases, in percent: 150 for one and a half times the points.
    pub multiplier_percent: Multiplier,
    pub perks: BTreeSet<Perk>,
    /// Reward that a customer gets on reaching the tier for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_reward: Option<RewardId>,
}

/// Advantage of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Perk {
    EarlyAccess,
    FreeShipping,
    PrioritySupport,
}

/// Place of a customer on the ladder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Tier of the customer; none below the lowest threshold.
    pub tier: Option<TierId>,
    /// Name of the tier.
    pub name: Option<Title>,
    pub perks: BTreeSet<Perk>,
    /// Threshold of the tier in minor units; 0 without a tier.
    pub threshold_minor: i64,
    /// Threshold of the next tier in minor units; none on the highest.
    pub next_minor: Option<i64>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TierLadderEvent {
    /// A tier was added.
    #[serde(rename = "tier.added")]
    Added { tier: TierId, terms: Tier },
    /// The terms of a tier were replaced.
    #[serde(rename = "tier.revised")]
    Revised { tier: TierId, terms: Tier },
    /// A tier was removed.
    #[serde(rename = "tier.removed")]
    Removed { tier: TierId },
}

/// Rejections of a tier ladder.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TierLadderRejection {
    #[error("there is no such tier")]
    TierUnknown { tier: TierId },
    #[error("this tier exists already, with other terms")]
    TierExists { tier: TierId },
    #[error("another tier has this threshold")]
    ThresholdTaken { tier: TierId },
    #[error("another tier has this name")]
    TierNameTaken { tier: TierId },
    #[error("a ladder has at most {most} tiers")]
    TooManyTiers { most: usize },
}

impl Rejection for TierLadderRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::TierExists { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl TierLadder {
    /// Adds a tier. A repeat with the same terms changes nothing.
    pub fn add(&self, tier: TierId, terms: Tier) -> Decision<Self> {
        match self.tiers.get(&tier) {
            Some(known) if *known == terms => return Ok(vec![]),
            Some(_) => return Err(TierLadderRejection::TierExists { tier }),
            None if self.tiers.len() >= TIERS_MOST => {
                return Err(TierLadderRejection::TooManyTiers { most: TIERS_MOST });
            }
            None => self.require_distinct(tier, &terms)?,
        }
        Ok(vec![TierLadderEvent::Added { tier, terms }])
    }

    /// Replaces the terms of a tier.
    pub fn revise(&self, tier: TierId, terms: Tier) -> Decision<Self> {
        if *self.tier(tier)? == terms {
            return Ok(vec![]);
        }
        self.require_distinct(tier, &terms)?;
        Ok(vec![TierLadderEvent::Revised { tier, terms }])
    }

    /// Removes a tier. Its customers keep it until they spend or are evaluated again.
    pub fn remove(&self, tier: TierId) -> Decision<Self> {
        match self.tiers.contains_key(&tier) {
            true => Ok(vec![TierLadderEvent::Removed { tier }]),
            false => Ok(vec![]),
        }
    }

    /// Terms of a tier.
    pub fn tier(&self, tier: TierId) -> Result<&Tier, TierLadderRejection> {
        self.tiers.get(&tier).ok_or(TierLadderRejection::TierUnknown { tier })
    }

    /// Factor of the points of a customer with this tier.
    pub fn multiplier(&self, tier: Option<TierId>) -> Multiplier {
        let tier = tier.and_then(|tier| self.tiers.get(&tier));
        tier.map_or(Multiplier::ONE, |tier| tier.multiplier_percent)
    }

    /// Place of a customer who spent this much, at least on the tier that was set by hand.
    pub fn standing(&self, spent_minor: i64, by_hand: Option<TierId>) -> Standing {
        let threshold = |tier: &Tier| tier.threshold.minor();
        let earned = self.tiers.iter().filter(|(_, tier)| threshold(tier) <= spent_minor);
        let set = by_hand.and_then(|tier| self.tiers.get_key_value(&tier));
        let Some((tier, terms)) = earned.chain(set).max_by_key(|(_, tier)| threshold(tier)) else {
            return Standing { next_minor: self.tiers.values().map(threshold).min(), ..Standing::default() };
        };
        Standing {
            tier: Some(*tier),
            name: Some(terms.name.clone()),
            perks: terms.perks.clone(),
            threshold_minor: threshold(terms),
            next_minor: self.tiers.values().map(threshold).filter(|next| *next > threshold(terms)).min(),
        }
    }

    fn require_distinct(&self, tier: TierId, terms: &Tier) -> Result<(), TierLadderRejection> {
        let others = || self.tiers.iter().filter(|(other, _)| **other != tier);
        if let Some((taken, _)) = others().find(|(_, other)| other.threshold == terms.threshold) {
            return Err(TierLadderRejection::ThresholdTaken { tier: *taken });
        }
        match others().find(|(_, other)| other.name == terms.name) {
            Some((taken, _)) => Err(TierLadderRejection::TierNameTaken { tier: *taken }),
            None => Ok(()),
        }
    }
}

impl Aggregate for TierLadder {
    const TYPE: &'static str = "TierLadder";
    type Id = TenantId;
    type Event = TierLadderEvent;
    type Rejection = TierLadderRejection;

    fn apply(&mut self, event: &TierLadderEvent) {
        match event.clone() {
            TierLadderEvent::Added { tier, terms } | TierLadderEvent::Revised { tier, terms } => {
                self.tiers.insert(tier, terms);
            }
            TierLadderEvent::Removed { tier } => {
                self.tiers.remove(&tier);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::values::{id, parsed, price};
    use crate::testing::{Given, given};

    pub(crate) const SILVER: TierId = TierId::new(id(21));
    pub(crate) const GOLD: TierId = TierId::new(id(22));

    pub(crate) fn tier(name: &str, threshold: i64, percent: i64) -> Tier {
        let multiplier_percent = Multiplier::try_from(percent).expect("a multiplier");
        let (name, threshold, perks) = (parsed(name), price(threshold), [Perk::EarlyAccess].into());
        Tier { name, threshold, multiplier_percent, perks, entry_reward: None }
    }

    pub(crate) fn ladder() -> Given<TierLadder> {
        given([])
            .when(|ladder: &TierLadder| ladder.add(SILVER, tier("Silver", 10_000, 100)))
            .then_once([TierLadderEvent::Added { tier: SILVER, terms: tier("Silver", 10_000, 100) }])
            .when(|ladder| ladder.add(GOLD, tier("Gold", 50_000, 150)))
            .then_once([TierLadderEvent::Added { tier: GOLD, terms: tier("Gold", 50_000, 150) }])
    }

    #[test]
    fn thresholds_and_names_differ() {
        let other = TierId::new(id(23));
        ladder()
            .when(|ladder| ladder.add(other, tier("Bronze", 50_000, 100)))
            .then_rejected(TierLadderRejection::ThresholdTaken { tier: GOLD });
        ladder()
            .when(|ladder| ladder.revise(SILVER, tier("Silver", 50_000, 100)))
            .then_rejected(TierLadderRejection::ThresholdTaken { tier: GOLD });
        ladder()
            .when(|ladder| ladder.add(other, tier("Gold", 90_000, 100)))
            .then_rejected(TierLadderRejection::TierNameTaken { tier: GOLD });
        ladder()
            .when(|ladder| ladder.add(GOLD, tier("Gold", 60_000, 150)))
            .then_rejected(TierLadderRejection::TierExists { tier: GOLD });
    }

    #[test]
    fn standing_is_the_highest_threshold_that_was_reached() {
        ladder().holds(|ladder| {
            let below = ladder.standing(9_999, None);
            let silver = ladder.standing(30_000, None);
            let gold = ladder.standing(50_000, None);
            (below.tier, below.next_minor) == (None, Some(10_000))
                && (silver.tier, silver.threshold_minor, silver.next_minor) == (Some(SILVER), 10_000, Some(50_000))
                && (gold.tier, gold.next_minor) == (Some(GOLD), None)
        });
    }

    #[test]
    fn tier_set_by_hand_is_the_least_that_a_customer_has() {
        ladder().holds(|ladder| {
            ladder.standing(0, Some(GOLD)).tier == Some(GOLD)
                && ladder.standing(50_000, Some(SILVER)).tier == Some(GOLD)
        });
    }

    #[test]
    fn removed_tier_is_no_longer_reached() {
        ladder()
            .when(|ladder| ladder.remove(GOLD))
            .then_once([TierLadderEvent::Removed { tier: GOLD }])
            .holds(|ladder| ladder.standing(50_000, Some(GOLD)).tier == Some(SILVER));
        ladder()
            .when(|ladder| ladder.revise(TierId::new(id(9)), tier("Iron", 1, 100)))
            .then_rejected(TierLadderRejection::TierUnknown { tier: TierId::new(id(9)) });
    }

    #[test]
    fn number_of_tiers_is_limited() {
        let number = |number: u128| i64::try_from(number).expect("small");
        let tiers = (1..=TIERS_MOST as u128).map(|n| (TierId::new(id(n)), tier(&format!("Tier {n}"), number(n), 100)));
        given(tiers.map(|(tier, terms)| TierLadderEvent::Added { tier, terms }))
            .when(|ladder: &TierLadder| ladder.add(TierId::new(id(99)), tier("One more", 9_999, 100)))
            .then_rejected(TierLadderRejection::TooManyTiers { most: TIERS_MOST });
    }
}
