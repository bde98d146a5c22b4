//! A customer's points (LOY-01, LOY-06, LOY-10, LOY-11, LOY-13, LOY-17, LOY-18, LOY-23).
//!
//! Invariants: earned − redeemed + returned − reversed + adjusted = balance; nobody redeems or loses to a correction
//! more than there is. Only taking back what was not deserved may leave a debt, which blocks redeeming.
//! That a reason counts once is kept by [`Earning`](super::Earning).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EntryKind, Reward};
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{
    CustomerId, Date, LoyaltyAccountId, Points, PositivePoints, Price, Reason, RedemptionId, RewardId, Text, Title,
};

/// So many redemptions of one customer may wait to be used at a time.
pub const OPEN_REDEMPTIONS_MOST: usize = 500;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoyaltyAccount {
    customer: Option<CustomerId>,
    totals: Totals,
    /// What the redemptions cost that wait to be used.
    redemptions: BTreeMap<RedemptionId, PositivePoints>,
}

/// All that ever happened to the points, in five sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub earned: i64,
    pub redeemed: i64,
    pub returned: i64,
    pub reversed: i64,
    pub adjusted: i64,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LoyaltyAccountEvent {
    /// The customer has more points; `source` is what the reason is called where it comes from.
    #[serde(rename = "points.earned")]
    Earned {
        customer: CustomerId,
        points: PositivePoints,
        kind: EntryKind,
        source: Text<100>,
        rule_version: u32,
        on: Date,
    },
    /// Points were taken back, because their reason fell away.
    #[serde(rename = "points.reversed")]
    Reversed { customer: CustomerId, points: PositivePoints, kind: EntryKind, source: Text<100>, on: Date },
    /// Points bought a reward; it waits to be used.
    #[serde(rename = "points.redeemed")]
    Redeemed {
        customer: CustomerId,
        redemption: RedemptionId,
        reward: RewardId,
        name: Title,
        cost: PositivePoints,
        value: Price,
        on: Date,
    },
    /// A bought reward was used.
    #[serde(rename = "points.redemption_applied")]
    RedemptionApplied { customer: CustomerId, redemption: RedemptionId, points: PositivePoints, on: Date },
    /// A bought reward was given up; its points are back.
    #[serde(rename = "points.redemption_cancelled")]
    RedemptionCancelled { customer: CustomerId, redemption: RedemptionId, points: PositivePoints, on: Date },
    /// A bought reward was not used in time; its points stay spent.
    #[serde(rename = "points.redemption_expired")]
    RedemptionExpired { customer: CustomerId, redemption: RedemptionId, points: PositivePoints, on: Date },
    /// The balance was corrected by hand.
    #[serde(rename = "points.adjusted")]
    Adjusted { customer: CustomerId, change: Points, reason: Reason, on: Date },
}

/// Why points could not be spent or changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoyaltyAccountRejection {
    #[error("this takes {cost} points; the balance is {balance}")]
    InsufficientPoints { balance: i64, cost: i64 },
    #[error("the redemption has ended or was never made")]
    RedemptionGone { redemption: RedemptionId },
    #[error("the redemption cost {held} points, not {wanted}")]
    RedemptionDiffers { held: i64, wanted: i64 },
    #[error("at most {most} redemptions can wait to be used")]
    TooManyRedemptions { most: usize },
}

impl Rejection for LoyaltyAccountRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::RedemptionDiffers { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl LoyaltyAccount {
    /// The stream of a customer's points: one per customer, found without a look-up.
    pub fn id(customer: CustomerId) -> LoyaltyAccountId {
        LoyaltyAccountId::derived(customer.uuid(), "points")
    }

    /// Gives points for a reason that has not counted before.
    pub fn credit(
        &self,
        customer: CustomerId,
        points: PositivePoints,
        kind: EntryKind,
        source: Text<100>,
        rule_version: u32,
        on: Date,
    ) -> Decision<Self> {
        Ok(vec![LoyaltyAccountEvent::Earned { customer, points, kind, source, rule_version, on }])
    }

    /// Takes points back whose reason fell away, even if they are spent already.
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

    /// Corrects the balance, not below zero.
    pub fn adjust(&self, customer: CustomerId, change: Points, reason: Reason, on: Date) -> Decision<Self> {
        match change.get() {
            0 => return Ok(vec![]),
            1.. => {}
            taken => {
                self.spender(taken.saturating_neg())?;
            }
        }
        Ok(vec![LoyaltyAccountEvent::Adjusted { customer, change, reason, on }])
    }

    /// Buys a reward. Asking again for the same redemption changes nothing.
    pub fn redeem(&self, redemption: RedemptionId, reward: RewardId, terms: &Reward, on: Date) -> Decision<Self> {
        let Reward { name, cost, value } = terms.clone();
        if let Some(held) = self.redemptions.get(&redemption) {
            let (held, wanted) = (held.get(), cost.get());
            return match held == wanted {
                true => Ok(vec![]),
                false => Err(LoyaltyAccountRejection::RedemptionDiffers { held, wanted }),
            };
        }
        let customer = self.spender(cost.get())?;
        if self.redemptions.len() >= OPEN_REDEMPTIONS_MOST {
            return Err(LoyaltyAccountRejection::TooManyRedemptions { most: OPEN_REDEMPTIONS_MOST });
        }
        Ok(vec![LoyaltyAccountEvent::Redeemed { customer, redemption, reward, name, cost, value, on }])
    }

    /// Uses a bought reward up.
    pub fn mark_applied(&self, redemption: RedemptionId, on: Date) -> Decision<Self> {
        let (customer, points) = self.open(redemption)?;
        Ok(vec![LoyaltyAccountEvent::RedemptionApplied { customer, redemption, points, on }])
    }

    /// Gives a bought reward up for its points.
    pub fn cancel_redemption(&self, redemption: RedemptionId, on: Date) -> Decision<Self> {
        let (customer, points) = self.open(redemption)?;
        Ok(vec![LoyaltyAccountEvent::RedemptionCancelled { customer, redemption, points, on }])
    }

    /// Writes down that a bought reward was not used in time. What has ended otherwise stays as it is.
    pub fn expire_redemption(&self, redemption: RedemptionId, on: Date) -> Decision<Self> {
        let Ok((customer, points)) = self.open(redemption) else { return Ok(vec![]) };
        Ok(vec![LoyaltyAccountEvent::RedemptionExpired { customer, redemption, points, on }])
    }

    pub fn balance(&self) -> i64 {
        self.totals.balance()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn open(&self, redemption: RedemptionId) -> Result<(CustomerId, PositivePoints), LoyaltyAccountRejection> {
        self.customer
            .zip(self.redemptions.get(&redemption).copied())
            .ok_or(LoyaltyAccountRejection::RedemptionGone { redemption })
    }

    /// The customer, if there is enough to spend.
    fn spender(&self, cost: i64) -> Result<CustomerId, LoyaltyAccountRejection> {
        let balance = self.balance();
        self.customer.filter(|_| cost <= balance).ok_or(LoyaltyAccountRejection::InsufficientPoints { balance, cost })
    }
}

impl Totals {
    /// What there is to spend; a debt, where it is negative.
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
            LoyaltyAccountEvent::Redeemed { redemption, cost, .. } => {
                self.redemptions.insert(redemption, cost);
                add(&mut self.totals.redeemed, cost.get());
            }
            LoyaltyAccountEvent::RedemptionCancelled { redemption, points, .. } => {
                self.redemptions.remove(&redemption);
                add(&mut self.totals.returned, points.get());
            }
            LoyaltyAccountEvent::RedemptionApplied { redemption, .. }
            | LoyaltyAccountEvent::RedemptionExpired { redemption, .. } => {
                self.redemptions.remove(&redemption);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::shared::Money;
    use crate::testing::{Given, given};

    const ADA: CustomerId = CustomerId::new(Uuid::from_u128(1));

    fn points(number: i64) -> PositivePoints {
        PositivePoints::try_from(number).expect("points")
    }

    fn today() -> Date {
        "2026-11-20".parse().expect("a day")
    }

    fn source() -> Text<100> {
        "order 1".parse().expect("a source")
    }

    fn redemption(number: u128) -> RedemptionId {
        RedemptionId::new(Uuid::from_u128(number))
    }

    fn reward() -> RewardId {
        RewardId::new(Uuid::from_u128(9))
    }

    fn five_off() -> Reward {
        let value = Money { minor: 500, currency: "USD".parse().expect("a currency") };
        Reward {
            name: "5 off".parse().expect("a name"),
            cost: points(500),
            value: Price::try_from(value).expect("a price"),
        }
    }

    fn redeemed(number: u128) -> LoyaltyAccountEvent {
        let (redemption, reward, Reward { name, cost, value }) = (redemption(number), reward(), five_off());
        LoyaltyAccountEvent::Redeemed { customer: ADA, redemption, reward, name, cost, value, on: today() }
    }

    fn credited(number: i64) -> Given<LoyaltyAccount> {
        let (points, kind, rule_version, on) = (points(number), EntryKind::Purchase, 1, today());
        given([])
            .when(|account: &LoyaltyAccount| account.credit(ADA, points, kind, source(), rule_version, on))
            .then([LoyaltyAccountEvent::Earned { customer: ADA, points, kind, source: source(), rule_version, on }])
    }

    fn redeeming() -> Given<LoyaltyAccount> {
        credited(600)
            .when(|account| account.redeem(redemption(1), reward(), &five_off(), today()))
            .then_once([redeemed(1)])
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
    fn points_add_up() {
        credited(57).holds(|account| account.balance() == 57 && account.totals().earned == 57);
    }

    #[test]
    fn a_reward_is_bought_once_for_each_redemption() {
        let mut dearer = five_off();
        dearer.cost = points(501);
        redeeming().holds(|account| account.balance() == 100 && account.totals().redeemed == 500);
        redeeming()
            .when(|account| account.redeem(redemption(1), reward(), &dearer, today()))
            .then_rejected(LoyaltyAccountRejection::RedemptionDiffers { held: 500, wanted: 501 });
    }

    #[test]
    fn all_points_can_be_spent_and_not_one_more() {
        credited(500).when(|account| account.redeem(redemption(1), reward(), &five_off(), today())).then([redeemed(1)]);
        credited(499)
            .when(|account| account.redeem(redemption(1), reward(), &five_off(), today()))
            .then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: 499, cost: 500 });
        given([])
            .when(|account: &LoyaltyAccount| account.redeem(redemption(1), reward(), &five_off(), today()))
            .then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: 0, cost: 500 });
    }

    #[test]
    fn a_cancelled_redemption_gives_its_points_back_once() {
        let gone = LoyaltyAccountRejection::RedemptionGone { redemption: redemption(1) };
        let (customer, redemption, points, on) = (ADA, redemption(1), points(500), today());
        redeeming()
            .when(|account| account.cancel_redemption(redemption, on))
            .then([LoyaltyAccountEvent::RedemptionCancelled { customer, redemption, points, on }])
            .when(|account| account.cancel_redemption(redemption, on))
            .then_rejected(gone);
    }

    #[test]
    fn a_used_redemption_cannot_be_used_or_cancelled_again() {
        let gone = LoyaltyAccountRejection::RedemptionGone { redemption: redemption(1) };
        let (customer, redemption, points, on) = (ADA, redemption(1), points(500), today());
        let used = || {
            redeeming()
                .when(|account| account.mark_applied(redemption, on))
                .then([LoyaltyAccountEvent::RedemptionApplied { customer, redemption, points, on }])
        };
        used().when(|account| account.mark_applied(redemption, on)).then_rejected(gone.clone());
        used().when(|account| account.cancel_redemption(redemption, on)).then_rejected(gone);
        used().when(|account| account.expire_redemption(redemption, on)).then_nothing();
    }

    #[test]
    fn an_expired_redemption_keeps_its_points() {
        let (customer, redemption, points, on) = (ADA, redemption(1), points(500), today());
        redeeming()
            .when(|account| account.expire_redemption(redemption, on))
            .then_once([LoyaltyAccountEvent::RedemptionExpired { customer, redemption, points, on }])
            .holds(|account| account.balance() == 100);
    }

    #[test]
    fn points_that_are_spent_can_be_taken_back_and_the_debt_blocks_redeeming() {
        let free = Reward { cost: points(1), ..five_off() };
        after_take_back(redeeming(), 600)
            .when(|account| account.redeem(redemption(2), reward(), &free, today()))
            .then_rejected(LoyaltyAccountRejection::InsufficientPoints { balance: -500, cost: 1 });
    }

    #[test]
    fn a_correction_cannot_take_more_than_there_is() {
        let reason: Reason = "typed wrong".parse().expect("a reason");
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
    fn the_sums_always_make_the_balance() {
        let mut account = after_take_back(redeeming(), 50).into_state();
        let mut balance = account.balance();
        let reason: Reason = "gift".parse().expect("a reason");
        for number in 2..2_000_u128 {
            let size = i64::try_from(number % 7).expect("small") * 100;
            let change = Points::try_from(size).expect("points");
            let decisions = [
                account.adjust(ADA, change, reason.clone(), today()),
                account.redeem(redemption(number), reward(), &five_off(), today()),
                account.cancel_redemption(redemption(number.saturating_sub(3)), today()),
                account.mark_applied(redemption(number.saturating_sub(5)), today()),
            ];
            for event in decisions.into_iter().flatten().flatten() {
                balance += match &event {
                    LoyaltyAccountEvent::Redeemed { cost, .. } => -cost.get(),
                    LoyaltyAccountEvent::RedemptionCancelled { points, .. } => points.get(),
                    LoyaltyAccountEvent::Adjusted { change, .. } => change.get(),
                    _ => 0,
                };
                account.apply(&event);
            }
            let Totals { earned, redeemed, returned, reversed, adjusted } = account.totals();
            assert_eq!(account.balance(), balance);
            assert_eq!(earned - redeemed + returned - reversed + adjusted, balance);
            assert!(balance >= 0);
        }
    }

    #[test]
    fn finished_redemptions_leave_nothing_behind_and_open_ones_are_limited() {
        let mut account = credited(1_000_000_000).into_state();
        let (customer, points, on) = (ADA, points(500), today());
        for number in 1..=100_000 {
            account.apply(&redeemed(number));
            account.apply(&LoyaltyAccountEvent::RedemptionApplied {
                customer,
                redemption: redemption(number),
                points,
                on,
            });
        }
        assert!(serde_json::to_string(&account).expect("JSON").len() < 64 * 1024);
        for number in 1..=500 {
            account.apply(&redeemed(number));
        }
        assert_eq!(
            account.redeem(redemption(501), reward(), &five_off(), on),
            Err(LoyaltyAccountRejection::TooManyRedemptions { most: OPEN_REDEMPTIONS_MOST })
        );
    }
}
