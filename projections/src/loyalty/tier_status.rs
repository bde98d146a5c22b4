//! Tier of a customer, and the way to the next one (VIP-02).

use domain::kernel::Recorded;
use domain::loyalty::{Membership, MembershipEvent, Perk, Standing};
use domain::shared::{Currency, CustomerId, Permission, TierId, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Tier of a customer, as of the last payment, refund or evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierStatus {
    /// Customer.
    pub customer: CustomerId,
    /// Tier of the customer; null below the lowest threshold.
    pub tier: Option<TierId>,
    /// Name of the tier.
    pub name: Option<Title>,
    /// Advantages of the tier.
    pub perks: Vec<Perk>,
    /// Money that was paid and not refunded, in minor units of the tenant's currency.
    pub spent_minor: i64,
    /// Currency of the amounts; null after an event of an earlier release.
    pub currency: Option<Currency>,
    /// Number of paid orders.
    pub orders: i64,
    /// Threshold of the next tier in minor units; null on the highest.
    pub next_minor: Option<i64>,
    /// Way from the threshold of the tier to the next one, from 0 to 100.
    pub progress_percent: i64,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for TierStatus {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["customer"];
    const INDEXED: &'static [&'static str] = &["tier", "spent_minor"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Membership>(
            |event| match event.event {
                MembershipEvent::Spent { customer, .. } | MembershipEvent::TierChanged { customer, .. } => {
                    Some(key![customer])
                }
                MembershipEvent::TierSet { .. } => None,
            },
            Self::on_membership,
        );
    }
}

impl TierStatus {
    fn on_membership(row: Option<Self>, event: &Recorded<MembershipEvent>) -> Folded<Self> {
        let before = row.map_or(0, |row| row.orders);
        Ok(match event.event.clone() {
            MembershipEvent::Spent { customer, spent_minor, orders, standing, currency, .. } => {
                let row = Self::new(customer, spent_minor, standing, event.occurred_at);
                Some(Self { orders: orders.into(), currency, ..row })
            }
            MembershipEvent::TierChanged { customer, spent_minor, standing, currency, .. } => {
                let row = Self::new(customer, spent_minor, standing, event.occurred_at);
                Some(Self { orders: before, currency, ..row })
            }
            MembershipEvent::TierSet { .. } => None,
        })
    }

    fn new(customer: CustomerId, spent_minor: i64, standing: Standing, changed_at: Timestamp) -> Self {
        let Standing { tier, name, perks, threshold_minor, next_minor } = standing;
        let way = |next: i64| next.saturating_sub(threshold_minor).max(1);
        let gone = spent_minor.saturating_sub(threshold_minor).saturating_mul(100);
        let progress_percent = next_minor.map_or(100, |next| (gone / way(next)).clamp(0, 100));
        let perks = perks.into_iter().collect();
        let (orders, currency) = (0, None);
        Self { customer, tier, name, perks, spent_minor, currency, orders, next_minor, progress_percent, changed_at }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    pub(crate) const ADA: CustomerId = CustomerId::new(Uuid::from_u128(5));
    pub(crate) const SILVER: TierId = TierId::new(Uuid::from_u128(21));

    pub(crate) fn standing(tier: Option<TierId>, threshold_minor: i64, next_minor: Option<i64>) -> Standing {
        let name = tier.map(|_| "Silver".parse().expect("a name"));
        Standing { tier, name, threshold_minor, next_minor, ..Standing::default() }
    }

    pub(crate) fn then(story: Story, event: MembershipEvent) -> Story {
        story.then::<Membership>(Membership::id(ADA), event)
    }

    fn spent(spent_minor: i64, standing: Standing) -> TierStatus {
        let currency = Some("USD".parse().expect("a currency"));
        let event =
            MembershipEvent::Spent { customer: ADA, change_minor: 1, spent_minor, orders: 1, standing, currency };
        then(Story::new(), event).row()
    }

    #[test]
    fn progress_is_the_way_between_two_thresholds() {
        let row = spent(30_000, standing(Some(SILVER), 10_000, Some(50_000)));
        assert_eq!((row.tier, row.progress_percent), (Some(SILVER), 50));
        assert_eq!(row.currency.map(|currency| currency.to_string()).as_deref(), Some("USD"));
        assert_eq!(spent(4_999, standing(None, 0, Some(10_000))).progress_percent, 49);
        assert_eq!(spent(60_000, standing(Some(SILVER), 10_000, None)).progress_percent, 100);
        assert_eq!(spent(-5, standing(None, 0, Some(10_000))).progress_percent, 0);
    }

    #[test]
    fn tier_set_by_hand_keeps_the_number_of_orders() {
        let none = standing(None, 0, Some(10_000));
        let first = MembershipEvent::Spent {
            customer: ADA,
            change_minor: 5,
            spent_minor: 5,
            orders: 3,
            standing: none,
            currency: None,
        };
        let reason = "a friend of the house".parse().expect("a reason");
        let set = MembershipEvent::TierSet { customer: ADA, tier: Some(SILVER), reason };
        let standing = standing(Some(SILVER), 10_000, None);
        let changed =
            MembershipEvent::TierChanged { customer: ADA, from: None, spent_minor: 5, standing, currency: None };
        let row: TierStatus = then(then(then(Story::new(), first), set), changed).row();
        assert_eq!((row.tier, row.orders, row.spent_minor), (Some(SILVER), 3, 5));
    }
}
