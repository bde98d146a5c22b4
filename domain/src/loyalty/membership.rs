//! Membership: what a customer spent, and the tier that it earned or that was set by hand (VIP-02, VIP-03).
//!
//! Invariant: the tier is the one that the ladder gave for the spending at the last change, and at least the one that
//! was set by hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Standing, TierLadder};
use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::{Currency, CustomerId, MembershipId, Money, Reason, TierId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Membership {
    spent_minor: i64,
    /// Number of paid orders.
    orders: u32,
    tier: Option<TierId>,
    /// Tier that was set by hand.
    by_hand: Option<TierId>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum MembershipEvent {
    /// A customer paid an order or got money back; `spent_minor` and `orders` are the new sums.
    #[serde(rename = "membership.spent")]
    Spent {
        customer: CustomerId,
        change_minor: i64,
        spent_minor: i64,
        orders: u32,
        standing: Standing,
        /// Currency of all amounts. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<Currency>,
    },
    /// The customer has another tier.
    #[serde(rename = "membership.tier_changed")]
    TierChanged {
        customer: CustomerId,
        from: Option<TierId>,
        spent_minor: i64,
        standing: Standing,
        /// Currency of all amounts. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<Currency>,
    },
    /// A member of the team set the least tier of the customer, or removed it.
    #[serde(rename = "membership.tier_set")]
    TierSet { customer: CustomerId, tier: Option<TierId>, reason: Reason },
}

impl Membership {
    /// Stream id of a customer's membership.
    pub fn id(customer: CustomerId) -> MembershipId {
        MembershipId::derived(customer.uuid(), "membership")
    }

    /// Adds a payment, or subtracts a refund, and evaluates the tier. Adds on every call. All money is in the tenant's
    /// own currency.
    pub fn spend(&self, customer: CustomerId, change: Money, ladder: &TierLadder) -> Decision<Self> {
        let Money { minor: change_minor, currency } = change;
        let spent_minor = self.spent_minor.saturating_add(change_minor);
        let orders = self.orders.saturating_add(u32::from(change_minor > 0));
        let standing = ladder.standing(spent_minor, self.by_hand);
        let changed = self.changed(customer, Money { minor: spent_minor, currency }, &standing);
        let currency = Some(currency);
        let spent = MembershipEvent::Spent { customer, change_minor, spent_minor, orders, standing, currency };
        Ok(std::iter::once(spent).chain(changed).collect())
    }

    /// Evaluates the tier after a change of the ladder.
    pub fn evaluate(&self, customer: CustomerId, ladder: &TierLadder, currency: Currency) -> Decision<Self> {
        let standing = ladder.standing(self.spent_minor, self.by_hand);
        let spent = Money { minor: self.spent_minor, currency };
        Ok(self.changed(customer, spent, &standing).into_iter().collect())
    }

    /// Sets the least tier of the customer, whatever was spent; removes it without a tier.
    pub fn set_tier(
        &self,
        customer: CustomerId,
        tier: Option<TierId>,
        reason: Reason,
        ladder: &TierLadder,
        currency: Currency,
    ) -> Decision<Self> {
        if tier == self.by_hand {
            return Ok(vec![]);
        }
        let standing = ladder.standing(self.spent_minor, tier);
        let changed = self.changed(customer, Money { minor: self.spent_minor, currency }, &standing);
        let set = MembershipEvent::TierSet { customer, tier, reason };
        Ok(std::iter::once(set).chain(changed).collect())
    }

    pub fn tier(&self) -> Option<TierId> {
        self.tier
    }

    fn changed(&self, customer: CustomerId, spent: Money, standing: &Standing) -> Option<MembershipEvent> {
        let (from, standing) = (self.tier, standing.clone());
        let (spent_minor, currency) = (spent.minor, Some(spent.currency));
        let is_other = from != standing.tier;
        is_other.then_some(MembershipEvent::TierChanged { customer, from, spent_minor, standing, currency })
    }
}

impl Aggregate for Membership {
    const TYPE: &'static str = "Membership";
    type Id = MembershipId;
    type Event = MembershipEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, event: &MembershipEvent) {
        match *event {
            MembershipEvent::Spent { spent_minor, orders, .. } => {
                (self.spent_minor, self.orders) = (spent_minor, orders);
            }
            MembershipEvent::TierChanged { ref standing, .. } => self.tier = standing.tier,
            MembershipEvent::TierSet { tier, .. } => self.by_hand = tier,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tier_ladder::tests::{GOLD, SILVER, ladder};
    use super::*;
    use crate::testing::values::{ADA, money, parsed, usd};
    use crate::testing::{Given, given};

    fn spent(change_minor: i64, spent_minor: i64, orders: u32) -> MembershipEvent {
        let standing = ladder().into_state().standing(spent_minor, None);
        MembershipEvent::Spent { customer: ADA, change_minor, spent_minor, orders, standing, currency: Some(usd()) }
    }

    fn changed(from: Option<TierId>, spent_minor: i64, by_hand: Option<TierId>) -> MembershipEvent {
        let standing = ladder().into_state().standing(spent_minor, by_hand);
        MembershipEvent::TierChanged { customer: ADA, from, spent_minor, standing, currency: Some(usd()) }
    }

    fn silver() -> Given<Membership> {
        given([])
            .when(|membership: &Membership| membership.spend(ADA, money(30_000), &ladder().into_state()))
            .then([spent(30_000, 30_000, 1), changed(None, 30_000, None)])
            .when(|membership| membership.spend(ADA, money(10_000), &ladder().into_state()))
            .then([spent(10_000, 40_000, 2)])
    }

    #[test]
    fn tier_follows_spending_up_and_down() {
        silver()
            .when(|membership| membership.spend(ADA, money(10_000), &ladder().into_state()))
            .then([spent(10_000, 50_000, 3), changed(Some(SILVER), 50_000, None)])
            .when(|membership| membership.spend(ADA, money(-45_000), &ladder().into_state()))
            .then([spent(-45_000, 5_000, 3), changed(Some(GOLD), 5_000, None)])
            .holds(|membership| membership.tier().is_none());
    }

    #[test]
    fn tier_set_by_hand_stays_until_it_is_removed() {
        let reason: Reason = parsed("a friend of the house");
        let set = |tier| MembershipEvent::TierSet { customer: ADA, tier, reason: reason.clone() };
        silver()
            .when(|membership| membership.set_tier(ADA, Some(GOLD), reason.clone(), &ladder().into_state(), usd()))
            .then_once([set(Some(GOLD)), changed(Some(SILVER), 40_000, Some(GOLD))])
            .when(|membership| membership.set_tier(ADA, None, reason.clone(), &ladder().into_state(), usd()))
            .then_once([set(None), changed(Some(GOLD), 40_000, None)]);
    }

    #[test]
    fn evaluation_follows_the_ladder() {
        let without_silver = || {
            let given = ladder().when(|ladder| ladder.remove(SILVER));
            given.then([super::super::TierLadderEvent::Removed { tier: SILVER }]).into_state()
        };
        silver().when(|membership| membership.evaluate(ADA, &ladder().into_state(), usd())).then_nothing();
        let standing = without_silver().standing(40_000, None);
        let (from, spent_minor, currency) = (Some(SILVER), 40_000, Some(usd()));
        let event = MembershipEvent::TierChanged { customer: ADA, from, spent_minor, standing, currency };
        silver().when(|membership| membership.evaluate(ADA, &without_silver(), usd())).then_once([event]);
    }
}
