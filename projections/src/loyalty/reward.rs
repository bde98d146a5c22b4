//! Rewards of a loyalty programme (LOY-09).

use domain::kernel::Recorded;
use domain::loyalty::{LoyaltyProgram, LoyaltyProgramEvent, RewardKind};
use domain::shared::{Currency, Permission, RewardId, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};
use crate::key;

/// Reward that customers can buy with points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reward {
    /// Id of the reward.
    pub reward: RewardId,
    /// Name shown to customers.
    pub name: Title,
    /// Cost in points.
    pub cost: i64,
    /// Kind of the reward.
    pub kind: RewardKind,
    /// Discount on the price of an order, or the worth of another kind of reward, in minor units.
    pub value_minor: i64,
    /// Currency of the value.
    pub currency: Currency,
    /// Days after which an unused redemption expires; null if it never does.
    pub valid_days: Option<i64>,
    /// Status of the offer.
    pub status: RewardStatus,
    /// Time at which it was put on offer.
    pub added_at: Timestamp,
    /// Time at which it was taken off offer.
    pub retired_at: Option<Timestamp>,
}

/// Status of a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardStatus {
    /// Can be redeemed.
    OnOffer,
    /// Can no longer be redeemed; redemptions that were bought stay valid.
    Retired,
}

impl ReadModel for Reward {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["reward"];
    const INDEXED: &'static [&'static str] = &["cost", "kind", "status"];
    const PUBLIC: &'static [&'static str] =
        &["reward", "name", "cost", "kind", "value_minor", "currency", "valid_days", "status"];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "on_offer"));

    fn sources(from: &mut Sources<Self>) {
        from.stream::<LoyaltyProgram>(
            |event| match event.event {
                LoyaltyProgramEvent::RewardAdded { reward, .. }
                | LoyaltyProgramEvent::RewardRevised { reward, .. }
                | LoyaltyProgramEvent::RewardRetired { reward } => Some(key![reward]),
                _ => None,
            },
            Self::on_program,
        );
    }
}

impl Reward {
    fn on_program(row: Option<Self>, event: &Recorded<LoyaltyProgramEvent>) -> Folded<Self> {
        match event.event.clone() {
            // A retired reward can be offered again, with other terms.
            LoyaltyProgramEvent::RewardAdded { reward, name, cost, value, kind, valid_days } => Ok(Some(Self {
                reward,
                name,
                cost: cost.get(),
                kind,
                value_minor: value.minor(),
                currency: value.currency(),
                valid_days: valid_days.map(i64::from),
                status: RewardStatus::OnOffer,
                added_at: event.occurred_at,
                retired_at: None,
            })),
            LoyaltyProgramEvent::RewardRevised { terms, .. } => Ok(Some(Self {
                name: terms.name,
                cost: terms.cost.get(),
                kind: terms.kind,
                value_minor: terms.value.minor(),
                currency: terms.value.currency(),
                valid_days: terms.valid_days.map(i64::from),
                ..row.ok_or_else(Unfoldable::no_row)?
            })),
            LoyaltyProgramEvent::RewardRetired { .. } => {
                let row = row.ok_or_else(Unfoldable::no_row)?;
                Ok(Some(Self { status: RewardStatus::Retired, retired_at: Some(event.occurred_at), ..row }))
            }
            _ => Ok(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Money, PositivePoints, Price, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    const REWARD: RewardId = RewardId::new(Uuid::from_u128(3));

    fn then(story: Story, event: LoyaltyProgramEvent) -> Story {
        story.then::<LoyaltyProgram>(TenantId::new(Uuid::from_u128(7)), event)
    }

    fn added(story: Story, cost: i64) -> Story {
        let name = "5 dollars off".parse().expect("a name");
        let value = Money { minor: 500, currency: "USD".parse().expect("a currency") };
        let (cost, value) = (PositivePoints::try_from(cost).expect("points"), Price::try_from(value).expect("a price"));
        then(
            story,
            LoyaltyProgramEvent::RewardAdded {
                reward: REWARD,
                name,
                cost,
                value,
                kind: RewardKind::FreeShipping,
                valid_days: Some(30),
            },
        )
    }

    #[test]
    fn reward_is_on_offer_until_it_is_retired_and_can_be_offered_again() {
        let offered = added(then(Story::new(), LoyaltyProgramEvent::Enabled {}), 500);
        let row: Reward = offered.row();
        assert_eq!((row.cost, row.value_minor, row.status), (500, 500, RewardStatus::OnOffer));
        assert_eq!((row.kind, row.valid_days), (RewardKind::FreeShipping, Some(30)));
        let retired = then(offered, LoyaltyProgramEvent::RewardRetired { reward: REWARD });
        let row: Reward = retired.row();
        assert_eq!((row.status, row.retired_at), (RewardStatus::Retired, Some(Story::at(3))));
        let row: Reward = added(retired, 400).row();
        assert_eq!((row.cost, row.status, row.retired_at), (400, RewardStatus::OnOffer, None));
    }
}
