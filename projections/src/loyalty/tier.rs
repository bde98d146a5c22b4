//! Tiers of a loyalty programme (VIP-01).

use domain::kernel::Recorded;
use domain::loyalty::{Perk, TierLadder, TierLadderEvent};
use domain::shared::{Currency, Permission, RewardId, TierId, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Tier that customers reach by spending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tier {
    /// Id of the tier.
    pub tier: TierId,
    /// Name shown to customers.
    pub name: Title,
    /// Spending from which a customer has the tier, in minor units.
    pub threshold_minor: i64,
    /// Currency of the threshold.
    pub currency: Currency,
    /// Factor of the points for purchases, in percent.
    pub multiplier_percent: i64,
    /// Advantages of the tier.
    pub perks: Vec<Perk>,
    /// Reward that a customer gets on reaching the tier for the first time.
    pub entry_reward: Option<RewardId>,
}

impl ReadModel for Tier {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["tier"];
    const INDEXED: &'static [&'static str] = &["threshold_minor"];
    const PUBLIC: &'static [&'static str] =
        &["tier", "name", "threshold_minor", "currency", "multiplier_percent", "perks", "entry_reward"];

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<TierLadderEvent>| match event.event {
            TierLadderEvent::Added { tier, .. }
            | TierLadderEvent::Revised { tier, .. }
            | TierLadderEvent::Removed { tier } => Some(key![tier]),
        };
        from.stream::<TierLadder>(key, Self::on_ladder);
    }
}

impl Tier {
    fn on_ladder(_: Option<Self>, event: &Recorded<TierLadderEvent>) -> Folded<Self> {
        Ok(match event.event.clone() {
            TierLadderEvent::Added { tier, terms } | TierLadderEvent::Revised { tier, terms } => Some(Self {
                tier,
                name: terms.name,
                threshold_minor: terms.threshold.minor(),
                currency: terms.threshold.currency(),
                multiplier_percent: terms.multiplier_percent.into(),
                perks: terms.perks.into_iter().collect(),
                entry_reward: terms.entry_reward,
            }),
            TierLadderEvent::Removed { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::loyalty::Multiplier;
    use domain::shared::{Money, Price, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn tier_has_its_last_terms_until_it_is_removed() {
        let tier = TierId::new(Uuid::from_u128(4));
        let then = |story: Story, event| story.then::<TierLadder>(TenantId::new(Uuid::from_u128(7)), event);
        let terms = |minor| domain::loyalty::Tier {
            name: "Silver".parse().expect("a name"),
            threshold: Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price"),
            multiplier_percent: Multiplier::try_from(150).expect("a multiplier"),
            perks: [Perk::EarlyAccess].into(),
            entry_reward: None,
        };
        let added = then(Story::new(), TierLadderEvent::Added { tier, terms: terms(10_000) });
        let revised = then(added, TierLadderEvent::Revised { tier, terms: terms(20_000) });
        let row: Tier = revised.row();
        assert_eq!((row.threshold_minor, row.multiplier_percent, row.perks.len()), (20_000, 150, 1));
        let rows: Vec<Tier> = then(revised, TierLadderEvent::Removed { tier }).rows();
        assert_eq!(rows, []);
    }
}
