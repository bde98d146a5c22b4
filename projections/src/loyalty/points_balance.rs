//! Points balances (LOY-11). Invariant: earned − redeemed + returned − reversed + adjusted = balance.

use domain::kernel::Recorded;
use domain::loyalty::{LoyaltyAccount, LoyaltyAccountEvent};
use domain::shared::{CustomerId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Points balance of one customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointsBalance {
    /// Customer who owns the points.
    pub customer: CustomerId,
    /// Current balance; negative if more points were reversed than were left.
    pub balance: i64,
    /// Total of points earned.
    pub earned: i64,
    /// Total of points spent on rewards.
    pub redeemed: i64,
    /// Total of points returned from cancelled redemptions.
    pub returned: i64,
    /// Total of points taken back after refunds and cancellations.
    pub reversed: i64,
    /// Sum of all manual corrections.
    pub adjusted: i64,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for PointsBalance {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["customer"];
    const INDEXED: &'static [&'static str] = &["balance"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<LoyaltyAccount>(|event| Some(key![change(&event.event).0]), Self::on_account);
    }
}

impl PointsBalance {
    fn on_account(row: Option<Self>, event: &Recorded<LoyaltyAccountEvent>) -> Folded<Self> {
        let (customer, change) = change(&event.event);
        let mut row = row.unwrap_or_else(|| Self::empty(customer, event.occurred_at));
        let (sum, field) = match event.event {
            LoyaltyAccountEvent::Earned { .. } => (&mut row.earned, "earned"),
            LoyaltyAccountEvent::Redeemed { .. } => (&mut row.redeemed, "redeemed"),
            LoyaltyAccountEvent::Returned { .. } => (&mut row.returned, "returned"),
            LoyaltyAccountEvent::Reversed { .. } => (&mut row.reversed, "reversed"),
            _ => (&mut row.adjusted, "adjusted"),
        };
        // Only corrections are signed; the other totals only grow.
        let part = if field == "adjusted" { change } else { change.saturating_abs() };
        add(sum, part, field)?;
        add(&mut row.balance, change, "balance")?;
        row.changed_at = event.occurred_at;
        Ok(Some(row))
    }

    fn empty(customer: CustomerId, changed_at: Timestamp) -> Self {
        Self { customer, balance: 0, earned: 0, redeemed: 0, returned: 0, reversed: 0, adjusted: 0, changed_at }
    }
}

/// Customer whose balance an event changes, and the change in points.
pub(super) fn change(event: &LoyaltyAccountEvent) -> (CustomerId, i64) {
    match *event {
        LoyaltyAccountEvent::Earned { customer, points, .. }
        | LoyaltyAccountEvent::Returned { customer, points, .. } => (customer, points.get()),
        LoyaltyAccountEvent::Redeemed { customer, cost: points, .. }
        | LoyaltyAccountEvent::Reversed { customer, points, .. } => (customer, points.get().saturating_neg()),
        LoyaltyAccountEvent::Adjusted { customer, change, .. } => (customer, change.get()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use domain::loyalty::EntryKind;
    use domain::shared::{Date, Points, PositivePoints, RedemptionId, RewardId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    pub(crate) fn customer() -> CustomerId {
        CustomerId::new(Uuid::from_u128(5))
    }

    fn points(number: i64) -> PositivePoints {
        PositivePoints::try_from(number).expect("points")
    }

    fn on() -> Date {
        "2026-11-20".parse().expect("a day")
    }

    /// 500 earned, 300 redeemed, 300 returned, 100 reversed, 5 removed by a correction.
    pub(crate) fn story() -> Story {
        let (customer, on) = (customer(), on());
        let (kind, redemption) = (EntryKind::Purchase, RedemptionId::new(Uuid::from_u128(9)));
        let source = || "order 1".parse().expect("a source");
        let reward = RewardId::new(Uuid::from_u128(3));
        let reason = "a mistake".parse().expect("a reason");
        [
            LoyaltyAccountEvent::Earned {
                customer,
                points: points(500),
                kind,
                source: source(),
                rule_version: 1,
                on,
                base: None,
            },
            LoyaltyAccountEvent::Redeemed { customer, redemption, reward, cost: points(300), on },
            LoyaltyAccountEvent::Returned { customer, redemption, points: points(300), on },
            LoyaltyAccountEvent::Reversed { customer, points: points(100), kind, source: source(), on },
            LoyaltyAccountEvent::Adjusted { customer, change: Points::try_from(-5).expect("points"), reason, on },
        ]
        .into_iter()
        .fold(Story::new(), |story, event| story.then::<LoyaltyAccount>(LoyaltyAccount::id(customer), event))
    }

    #[test]
    fn balance_is_the_sum_of_its_totals() {
        let row: PointsBalance = story().row();
        let parts = (row.earned, row.redeemed, row.returned, row.reversed, row.adjusted);
        assert_eq!((parts, row.balance), ((500, 300, 300, 100, -5), 395));
    }
}
