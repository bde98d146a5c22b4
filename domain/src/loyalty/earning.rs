//! One reason for points of one customer: an order, a sign-up, a review (LOY-01, LOY-18).
//!
//! Invariants: a reason counts once; no more is taken back than it gave. Every reason is a stream of its own, so that
//! the account need not remember its past.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EntryKind;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, EarningId, PositivePoints, Price};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Earning {
    earned: i64,
    reversed: i64,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum EarningEvent {
    /// The reason counted.
    #[serde(rename = "earning.recorded")]
    Recorded { points: PositivePoints },
    /// The reason fell away, in part or whole.
    #[serde(rename = "earning.reversed")]
    Reversed { points: PositivePoints },
}

/// Why points could not be taken back.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EarningRejection {
    #[error("of {paid} that were paid, {refunded} cannot have gone back")]
    MoreBackThanPaid { refunded: Price, paid: Price },
}

impl Rejection for EarningRejection {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Earning {
    /// The stream of a reason: found without a look-up. `source` is what the reason is called where it comes from.
    pub fn id(customer: CustomerId, kind: EntryKind, source: &str) -> EarningId {
        EarningId::derived(customer.uuid(), &format!("{kind}:{source}"))
    }

    /// Lets the reason count. Once it did, it never does again, whatever the points.
    pub fn record(&self, points: PositivePoints) -> Decision<Self> {
        match self.earned {
            0 => Ok(vec![EarningEvent::Recorded { points }]),
            _ => Ok(vec![]),
        }
    }

    /// Takes back what is no longer deserved once `refunded` of `paid` went back, all refunds together: the part of it
    /// that was not taken back before.
    pub fn reverse_for(&self, refunded: Price, paid: Price) -> Decision<Self> {
        paid.minus(refunded).ok_or(EarningRejection::MoreBackThanPaid { refunded, paid })?;
        Ok(self.reversal_due(refunded, paid).map(|points| EarningEvent::Reversed { points }).into_iter().collect())
    }

    /// How many points [`reverse_for`](Self::reverse_for) takes back now: the share of what was earned that went back
    /// of what was paid, rounded in the customer's favour, less what was taken back before.
    pub fn reversal_due(&self, refunded: Price, paid: Price) -> Option<PositivePoints> {
        let share = i128::from(self.earned)
            .checked_mul(refunded.minor().into())
            .and_then(|product| product.checked_div(paid.minor().into()))
            .map_or(self.earned, |share| i64::try_from(share).unwrap_or(i64::MAX));
        let due = share.saturating_sub(self.reversed).min(self.left());
        PositivePoints::try_from(due).ok()
    }

    /// Whether the reason has counted.
    pub fn is_recorded(&self) -> bool {
        self.earned > 0
    }

    /// What it gave and was not taken back.
    pub fn left(&self) -> i64 {
        self.earned.saturating_sub(self.reversed)
    }
}

impl Aggregate for Earning {
    const TYPE: &'static str = "Earning";
    type Id = EarningId;
    type Event = EarningEvent;
    type Rejection = EarningRejection;

    fn apply(&mut self, event: &EarningEvent) {
        match event {
            EarningEvent::Recorded { points } => self.earned = points.get(),
            EarningEvent::Reversed { points } => self.reversed = self.reversed.saturating_add(points.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, points, price};
    use crate::testing::{Given, given};

    fn earned(number: i64) -> Given<Earning> {
        given([])
            .when(|earning: &Earning| earning.record(points(number)))
            .then_once([EarningEvent::Recorded { points: points(number) }])
    }

    #[test]
    fn a_reason_counts_once_whatever_the_points() {
        earned(57).when(|earning| earning.record(points(99))).then_nothing();
    }

    #[test]
    fn no_more_is_taken_back_than_was_given() {
        earned(57)
            .when(|earning| earning.reverse_for(price(1000), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(57) }])
            .holds(|earning| earning.left() == 0);
        earned(57)
            .when(|earning| earning.reverse_for(price(1001), price(1000)))
            .then_rejected(EarningRejection::MoreBackThanPaid { refunded: price(1001), paid: price(1000) });
        given([]).when(|earning: &Earning| earning.reverse_for(price(1000), price(1000))).then_nothing();
    }

    #[test]
    fn a_partial_refund_takes_its_share_back_and_the_last_one_takes_the_rest() {
        earned(10).holds(|earning| earning.reversal_due(price(1), price(1000)).is_none());
        earned(10).holds(|earning| earning.reversal_due(price(350), price(1000)) == Some(points(3)));
        earned(10)
            .when(|earning| earning.reverse_for(price(350), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(3) }])
            .when(|earning| earning.reverse_for(price(1000), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(7) }]);
    }

    #[test]
    fn what_was_taken_back_stays_taken_when_less_is_said_to_have_gone_back() {
        earned(10)
            .when(|earning| earning.reverse_for(price(500), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(5) }])
            .when(|earning| earning.reverse_for(price(200), price(1000)))
            .then_nothing();
    }

    #[test]
    fn reasons_of_different_kind_or_customer_are_different_streams() {
        assert_eq!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(ADA, EntryKind::Purchase, "1"));
        assert_ne!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(ADA, EntryKind::Review, "1"));
        assert_ne!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(BEN, EntryKind::Purchase, "1"));
    }
}
