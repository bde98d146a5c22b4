//! Loyalty account: the points of a customer (LOY-01, LOY-06, LOY-10, LOY-11, LOY-13, LOY-17, LOY-18, LOY-23).
//!
//! Invariants: earned − redeemed + returned − reversed + adjusted = balance; a redemption or an adjustment never makes
//! the balance negative. Only a reversal may leave a debt, which blocks redemptions.
//! [`Earning`](super::Earning) ensures that a reason gives points once, [`Redemption`](super::Redemption) that one
//! redemption is paid and returned once. A command that changes one of them and the account changes both or neither.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EntryKind;
use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::{CustomerId, Date, LoyaltyAccountId, Points, PositivePoints, Reason, RedemptionId, RewardId, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoyaltyAccount {
    customer: Option<CustomerId>,
    totals: Totals,
}

/// Sum of points per event variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub earned: i64,
    pub redeemed: i64,
    pub returned: i64,
    pub reversed: i64,
    pub adjusted: i64,
}

/// Points that are earned, with their reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Earned {
    pub points: PositivePoints,
    pub kind: EntryKind,
    pub source: Text<100>,
    pub rule_version: u32,
    /// Points before the multiplier of the customer's tier, if it raised them.
    pub base: Option<PositivePoints>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LoyaltyAccountEvent {
    /// Points were earned; `source` identifies the reason in its system of origin.
    #[serde(rename = "points.earned")]
    Earned {
        customer: CustomerId,
        points: PositivePoints,
        kind: EntryKind,
        source: Text<100>,
        rule_version: u32,
        on: Date,
        /// Points before the multiplier of the customer's tier, if it raised them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<PositivePoints>,
    },
    /// Points were taken back because their reason no longer applies.
    #[serde(rename = "points.reversed")]
    Reversed { customer: CustomerId, points: PositivePoints, kind: EntryKind, source: Text<100>, on: Date },
    /// Points were spent on a reward.
    #[serde(rename = "points.redeemed")]
    Redeemed { customer: CustomerId, redemption: RedemptionId, reward: RewardId, cost: PositivePoints, on: Date },
    /// A reward was given back, and its points were returned.
    #[serde(rename = "points.returned")]
    Returned { customer: CustomerId, redemption: RedemptionId, points: PositivePoints, on: Date },
    /// The balance was adjusted by hand.
    #[serde(rename = "points.adjusted")]
    Adjusted { customer: CustomerId, change: Points, reason: Reason, on: Date },
}

/// Rejections of a loyalty account.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoyaltyAccountRejection {
    #[error("this takes {cost} points; the balance is {balance}")]
    InsufficientPoints { balance: i64, cost: i64 },
}

impl Rejection for LoyaltyAccountRejection {}

impl LoyaltyAccount {
    /// Stream id of a customer's points, derived from the customer.
    pub fn id(customer: CustomerId) -> LoyaltyAccountId {
        LoyaltyAccountId::derived(customer.uuid(), "points")
    }

    /// Credits points. The caller ensures with [`Earning`](super::Earning) that the reason is new.
    pub fn credit(&self, customer: CustomerId, earned: Earned, on: Date) -> Decision<Self> {
        let Earned { points, kind, source, rule_version, base } = earned;
        Ok(vec![LoyaltyAccountEvent::Earned { customer, points, kind, source, rule_version, on, base }])
    }

    /// Takes back points whose reason no longer applies, even if they are spent.
    pub fn take_back(
        &self,
        customer: CustomerId,
        points: PositivePoints,
        kind: EntryKind,
        source: Text<100>,
        on: Date,
    ) -> Decision<Self> {
        Ok(vec![LoyaltyAccountEvent::Reversed { customer, points, kind, source, on }])
    }

    /// Adjusts the balance by hand. Rejects a decrease that would make it negative.
    pub fn adjust(&self, customer: CustomerId, change: Points, reason: Reason, on: Date) -> Decision<Self> {
        match change.get() {
            0 => return Ok(vec![]),
            1.. => {}
            taken => {
                self.customer_with_balance(taken.saturating_neg())?;
            }
        }
        Ok(vec![LoyaltyAccountEvent::Adjusted { customer, change, reason, on }])
    }

    /// Spends points on a new redemption.
    pub fn redeem(&self, redemption: RedemptionId, reward: RewardId, cost: PositivePoints, on: Date) -> Decision<Self> {
        let customer = self.customer_with_balance(cost.get())?;
        Ok(vec![LoyaltyAccountEvent::Redeemed { customer, redemption, reward, cost, on }])
    }

    /// Returns the points of a redemption that is cancelled.
    pub fn give_back(
        &self,
        customer: CustomerId,
        redemption: RedemptionId,
        points: PositivePoints,
        on: Date,
    ) -> Decision<Self> {
        Ok(vec![LoyaltyAccountEvent::Returned { customer, redemption, points, on }])
    }

    pub fn balance(&self) -> i64 {
        self.totals.balance()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The customer of the account; a rejection if the balance does not cover the cost.
    fn customer_with_balance(&self, cost: i64) -> Result<CustomerId, LoyaltyAccountRejection> {
        let balance = self.balance();
        self.customer.filter(|_| cost <= balance).ok_or(LoyaltyAccountRejection::InsufficientPoints { balance, cost })
    }
}

impl Totals {
    /// Points to spend; negative for a debt.
    pub fn balance(&self) -> i64 {
        self.earned
            .saturating_sub(self.redeemed)
            .saturating_add(self.returned)
            .saturating_sub(self.reversed)
            .saturating_add(self.adjusted)
    }
}

impl Aggregate for LoyaltyAccount {
    const TYPE: &'static str = "LoyaltyAccount";
    type Id = LoyaltyAccountId;
    type Event = LoyaltyAccountEvent;
    type Rejection = LoyaltyAccountRejection;

    fn apply(&mut self, event: &LoyaltyAccountEvent) {
        let add = |sum: &mut i64, points: i64| *sum = sum.saturating_add(points);
        match *event {
            LoyaltyAccountEvent::Earned { customer, points, .. } => {
                self.customer = Some(customer);
                add(&mut self.totals.earned, points.get());
            }
            LoyaltyAccountEvent::Reversed { customer, points, .. } => {
                self.customer = Some(customer);
                add(&mut self.totals.reversed, points.get());
            }
            LoyaltyAccountEvent::Adjusted { customer, change, .. } => {
                self.customer = Some(customer);
                add(&mut self.totals.adjusted, change.get());
            }
            LoyaltyAccountEvent::Redeemed { cost, .. } => add(&mut self.totals.redeemed, cost.get()),
            LoyaltyAccountEvent::Returned { points, .. } => add(&mut self.totals.returned, points.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, id, parsed, points, today};
    use crate::testing::{Given, given};

    fn source() -> Text<100> {
        parsed("order 1")
    }

    fn redemption(number: u128) -> RedemptionId {
        RedemptionId::new(id(number))
    }

    fn reward() -> RewardId {
        RewardId::new(id(9))
    }

    fn redeemed(number: u128, cost: i64) -> LoyaltyAccountEvent {
        let (redemption, reward, cost) = (redemption(number), reward(), points(cost));
        LoyaltyAccountEvent::Redeemed { customer: ADA, redemption, reward, cost, on: today() }
    }

    fn credited(number: i64) -> Given<LoyaltyAccount> {
        let (customer, points, kind, on) = (ADA, points(number), EntryKind::Purchase, today());
        let (rule_version, base) = (1, None);
        let earned = || Earned { points, kind, source: source(), rule_version, base };
        let source = source();
        given([])
            .when(|account: &LoyaltyAccount| account.credit(ADA, earned(), on))
            .then([LoyaltyAccountEvent::Earned { customer, points, kind, source, rule_version, on, base }])
    }

    fn redeeming() -> Given<LoyaltyAccount> {
        credited(600)
            .when(|account| account.redeem(redemption(1), reward(), points(500), today()))
            .then([redeemed(1, 500)])
    }

    fn after_take_back(given: Given<LoyaltyAccount>, number: i64) -> Given<LoyaltyAccount> {
        let (points, kind, on) = (points(number), EntryKind::Purchase, today());
        given.when(|account| account.take_back(ADA, points, kind, source(), on)).then([LoyaltyAccountEvent::Reversed {
            customer: ADA,
            points,
            kind,
            source: source(),
            on,
        }])
    }

    #[test]
    fn credited_points_are_the_balance() {
        credited(57).holds(|account| account.balance() == 57 && account.totals().earned == 57);
    }

    #[test]
    fn all_points_can_be_spent_and_not_one_more() {
        let buy = |account: &LoyaltyAccount| account.redeem(redemption(1), reward(), points(500), today());
        credited(500).when(buy).then([redeemed(1, 500)]).holds(|account| account.balance() == 0);
        credited(499).when(buy).then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: 499, cost: 500 });
        given([]).when(buy).then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: 0, cost: 500 });
    }

    #[test]
    fn returned_points_can_be_spent_again() {
        let (customer, redemption, points, on) = (ADA, redemption(1), points(500), today());
        redeeming()
            .when(|account| account.give_back(customer, redemption, points, on))
            .then([LoyaltyAccountEvent::Returned { customer, redemption, points, on }])
            .holds(|account| account.balance() == 600 && account.totals().returned == 500);
    }

    #[test]
    fn spent_points_can_be_taken_back_and_the_debt_blocks_redemptions() {
        after_take_back(redeeming(), 600)
            .when(|account| account.redeem(redemption(2), reward(), points(1), today()))
            .then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: -500, cost: 1 });
    }

    #[test]
    fn adjustment_cannot_make_the_balance_negative() {
        let reason: Reason = parsed("typed wrong");
        let change = |number| Points::try_from(number).expect("points");
        let adjusted = |number| LoyaltyAccountEvent::Adjusted {
            customer: ADA,
            change: change(number),
            reason: reason.clone(),
            on: today(),
        };
        credited(57)
            .when(|account| account.adjust(ADA, change(-57), reason.clone(), today()))
            .then([adjusted(-57)])
            .when(|account| account.adjust(ADA, change(-1), reason.clone(), today()))
            .then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: 0, cost: 1 });
        given([])
            .when(|account: &LoyaltyAccount| account.adjust(ADA, change(5), reason.clone(), today()))
            .then([adjusted(5)]);
        credited(57).when(|account| account.adjust(ADA, change(0), reason.clone(), today())).then_nothing();
    }

    #[test]
    fn sums_always_equal_the_balance() {
        let mut account = after_take_back(redeeming(), 50).into_state();
        let mut balance = account.balance();
        let reason: Reason = parsed("gift");
        for number in 2..2_000_u128 {
            let size = i64::try_from(number % 7).expect("small") * 100;
            let change = Points::try_from(size).expect("points");
            let decisions = [
                account.adjust(ADA, change, reason.clone(), today()),
                account.redeem(redemption(number), reward(), points(500), today()),
                account.give_back(ADA, redemption(number), points(size.max(1)), today()),
                account.take_back(ADA, points(1), EntryKind::Purchase, source(), today()),
            ];
            for event in decisions.into_iter().flatten().flatten() {
                balance += match &event {
                    LoyaltyAccountEvent::Redeemed { cost, .. } => -cost.get(),
                    LoyaltyAccountEvent::Earned { points, .. } | LoyaltyAccountEvent::Returned { points, .. } => {
                        points.get()
                    }
                    LoyaltyAccountEvent::Reversed { points, .. } => -points.get(),
                    LoyaltyAccountEvent::Adjusted { change, .. } => change.get(),
                };
                account.apply(&event);
            }
            let Totals { earned, redeemed, returned, reversed, adjusted } = account.totals();
            assert_eq!(account.balance(), balance);
            assert_eq!(earned - redeemed + returned - reversed + adjusted, balance);
        }
    }

    #[test]
    fn redemptions_do_not_grow_the_state_of_the_account() {
        let mut account = credited(1_000_000_000).into_state();
        let (customer, points, on) = (ADA, points(500), today());
        for number in 1..=100_000 {
            account.apply(&redeemed(number, 500));
            account.apply(&LoyaltyAccountEvent::Returned { customer, redemption: redemption(number), points, on });
        }
        assert!(serde_json::to_string(&account).expect("JSON").len() < 1024);
    }
}
