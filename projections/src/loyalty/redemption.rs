//! Redemptions of a customer (LOY-10, LOY-13).

use domain::kernel::Recorded;
use domain::loyalty::{RedemptionEvent, RedemptionStatus, UseReference};
use domain::shared::{Code, Currency, CustomerId, Date, Permission, RedemptionId, RewardId, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Reward that a customer bought with points, with its terms at that time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Redemption {
    /// Id of the redemption, chosen by the caller.
    pub redemption: RedemptionId,
    /// Customer who bought the reward.
    pub customer: CustomerId,
    /// Reward that was bought.
    pub reward: RewardId,
    /// Name of the reward.
    pub name: Title,
    /// Points that were paid; 0 for a reward that was granted on reaching a tier.
    pub cost: i64,
    /// Discount on the price of an order, in minor units.
    pub value_minor: i64,
    /// Currency of the discount.
    pub currency: Currency,
    /// Code with which the reward is used, once; null for redemptions of earlier releases.
    pub code: Option<Code>,
    /// Current status.
    pub status: RedemptionStatus,
    /// Order or receipt on which the code was used.
    pub reference: Option<UseReference>,
    /// Time at which it expires if it is not used; null if it never does.
    pub expires_at: Option<Timestamp>,
    /// Business day on which the reward was bought.
    pub on: Date,
    /// Time at which the reward was bought.
    pub opened_at: Timestamp,
    /// Time at which the redemption was applied or cancelled or expired.
    pub ended_at: Option<Timestamp>,
}

impl ReadModel for Redemption {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["redemption"];
    const INDEXED: &'static [&'static str] = &["customer", "reward", "status", "on", "opened_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::loyalty::Redemption>(Self::on_redemption);
    }
}

impl Redemption {
    fn on_redemption(row: Option<Self>, event: &Recorded<RedemptionEvent>) -> Folded<Self> {
        if let Some(issued) = Self::issued(event) {
            return Ok(Some(issued));
        }
        let mut used = None;
        let status = match event.event.clone() {
            RedemptionEvent::Applied { reference, .. } => {
                used = reference;
                RedemptionStatus::Applied
            }
            RedemptionEvent::Cancelled { .. } => RedemptionStatus::Cancelled,
            RedemptionEvent::Expired { .. } => RedemptionStatus::Expired,
            RedemptionEvent::Opened { .. } | RedemptionEvent::Granted { .. } => RedemptionStatus::Issued,
        };
        let row = row.ok_or_else(Unfoldable::no_row)?;
        Ok(Some(Self { status, reference: used, ended_at: Some(event.occurred_at), ..row }))
    }

    /// Row of a redemption that was bought or granted; `None` for its later events.
    fn issued(event: &Recorded<RedemptionEvent>) -> Option<Self> {
        let (customer, reward, name, cost, value, on, code, expires_at) = match event.event.clone() {
            RedemptionEvent::Opened { customer, reward, name, cost, value, on, code, expires_at } => {
                (customer, reward, name, cost.get(), value, on, code, expires_at)
            }
            RedemptionEvent::Granted { customer, reward, name, value, on, code, expires_at, .. } => {
                (customer, reward, name, 0, value, on, Some(code), expires_at)
            }
            _ => return None,
        };
        Some(Self {
            redemption: RedemptionId::new(event.stream),
            customer,
            reward,
            name,
            cost,
            value_minor: value.minor(),
            currency: value.currency(),
            code,
            status: RedemptionStatus::Issued,
            reference: None,
            expires_at,
            on,
            opened_at: event.occurred_at,
            ended_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Money, PositivePoints, Price};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn then(story: Story, event: RedemptionEvent) -> Story {
        story.then::<domain::loyalty::Redemption>(RedemptionId::new(Uuid::from_u128(9)), event)
    }

    #[test]
    fn redemption_is_issued_until_it_is_applied_cancelled_or_expired() {
        let (customer, reward) = (CustomerId::new(Uuid::from_u128(5)), RewardId::new(Uuid::from_u128(3)));
        let on: Date = "2026-11-20".parse().expect("a day");
        let cost = PositivePoints::try_from(500).expect("points");
        let value = Money { minor: 500, currency: "USD".parse().expect("a currency") };
        let value = Price::try_from(value).expect("a price");
        let name = "5 dollars off".parse().expect("a name");
        let opened = then(
            Story::new(),
            RedemptionEvent::Opened {
                customer,
                reward,
                name,
                cost,
                value,
                on,
                code: Some("7K2MPQ9XRT".parse().expect("a code")),
                expires_at: None,
            },
        );
        let row: Redemption = opened.row();
        assert_eq!((row.cost, row.value_minor, row.status, row.ended_at), (500, 500, RedemptionStatus::Issued, None));
        for (event, status) in [
            (RedemptionEvent::Applied { customer, reward, cost, on, reference: None }, RedemptionStatus::Applied),
            (RedemptionEvent::Cancelled { customer, reward, cost, on }, RedemptionStatus::Cancelled),
            (RedemptionEvent::Expired { customer, reward, cost, on }, RedemptionStatus::Expired),
        ] {
            let row: Redemption = then(opened.clone(), event).row();
            assert_eq!((row.status, row.ended_at), (status, Some(Story::at(2))));
        }
    }
}
