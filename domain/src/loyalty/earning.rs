//! Earning: one reason for points of one customer, such as an order, a sign-up or a review (LOY-01, LOY-18).
//!
//! Invariants: a reason gives points once; no more points are taken back than it gave. Every reason is a stream of its
//! own, so that the state of the account does not grow with its history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EntryKind;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, CustomerId, EarningId, Money, PositivePoints, Price};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Earning {
    earned: i64,
    reversed: i64,
    /// Money that counts towards the tier of the customer, in minor units.
    #[serde(default)]
    counted: i64,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum EarningEvent {
    /// Points were given for this reason.
    #[serde(rename = "earning.recorded")]
    Recorded { points: PositivePoints },
    /// The reason no longer applies, in part or as a whole; these points were taken back.
    #[serde(rename = "earning.reversed")]
    Reversed { points: PositivePoints },
    /// This much of the paid money counts towards the tier of the customer, after payments and refunds.
    #[serde(rename = "earning.counted")]
    Counted {
        net_minor: i64,
        /// Currency of the money. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<Currency>,
    },
}

/// Rejections of an earning.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EarningRejection {
    #[error("refunds of {refunded} exceed the payment of {paid}")]
    MoreBackThanPaid { refunded: Price, paid: Price },
    #[error("this source earned {recorded} points, not {wanted}")]
    EarningDiffers { recorded: i64, wanted: i64 },
}

impl Rejection for EarningRejection {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Earning {
    /// Stream id of a reason. `source` identifies the reason in its system of origin.
    pub fn id(customer: CustomerId, kind: EntryKind, source: &str) -> EarningId {
        EarningId::derived(customer.uuid(), &format!("{kind}:{source}"))
    }

    /// Records the points of the reason. A repeat changes nothing; rejects another number of points.
    pub fn record(&self, points: PositivePoints) -> Decision<Self> {
        match self.earned {
            0 => Ok(vec![EarningEvent::Recorded { points }]),
            recorded if recorded == points.get() => Ok(vec![]),
            recorded => Err(EarningRejection::EarningDiffers { recorded, wanted: points.get() }),
        }
    }

    /// Takes back the points that belong to the refunded part of a payment, less those taken back before. `refunded` is
    /// the sum of all refunds of the payment.
    pub fn reverse_for(&self, refunded: Price, paid: Price) -> Decision<Self> {
        paid.minus(refunded).ok_or(EarningRejection::MoreBackThanPaid { refunded, paid })?;
        Ok(self.reversal_due(refunded, paid).map(|points| EarningEvent::Reversed { points }).into_iter().collect())
    }

    /// Points that [`reverse_for`](Self::reverse_for) takes back now: earned × refunded ÷ paid (all points
    /// if `paid` is zero), rounded down in the customer's favour, less the points taken back before.
    pub fn reversal_due(&self, refunded: Price, paid: Price) -> Option<PositivePoints> {
        let lost = i128::from(self.earned)
            .checked_mul(refunded.minor().into())
            .and_then(|product| product.checked_div(paid.minor().into()))
            .map_or(self.earned, |lost| i64::try_from(lost).unwrap_or(i64::MAX));
        let due = lost.saturating_sub(self.reversed).min(self.left());
        PositivePoints::try_from(due).ok()
    }

    /// Sets the money that counts towards the tier of the customer.
    pub fn count(&self, net: Money) -> Decision<Self> {
        match self.counted == net.minor {
            true => Ok(vec![]),
            false => Ok(vec![EarningEvent::Counted { net_minor: net.minor, currency: Some(net.currency) }]),
        }
    }

    /// Money that counts towards the tier of the customer, in minor units.
    pub fn counted(&self) -> i64 {
        self.counted
    }

    /// Takes back all points that are left.
    pub fn reverse_all(&self) -> Decision<Self> {
        Ok(self.reversal_of_all().map(|points| EarningEvent::Reversed { points }).into_iter().collect())
    }

    /// Points that [`reverse_all`](Self::reverse_all) takes back now.
    pub fn reversal_of_all(&self) -> Option<PositivePoints> {
        PositivePoints::try_from(self.left()).ok()
    }

    /// True if points were given for the reason.
    pub fn is_recorded(&self) -> bool {
        self.earned > 0
    }

    /// Points that were given and not taken back.
    pub fn left(&self) -> i64 {
        self.earned.saturating_sub(self.reversed)
    }
}

impl Aggregate for Earning {
    const TYPE: &'static str = "Earning";
    // An earning is a means to count a cause once; `points.earned` and `points.reversed` say the rest.
    const PUBLISHED: bool = false;
    type Id = EarningId;
    type Event = EarningEvent;
    type Rejection = EarningRejection;

    fn apply(&mut self, event: &EarningEvent) {
        match event {
            EarningEvent::Recorded { points } => self.earned = points.get(),
            EarningEvent::Counted { net_minor, .. } => self.counted = *net_minor,
            EarningEvent::Reversed { points } => self.reversed = self.reversed.saturating_add(points.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, points, price, usd};
    use crate::testing::{Given, given};

    fn earned(number: i64) -> Given<Earning> {
        given([])
            .when(|earning: &Earning| earning.record(points(number)))
            .then_once([EarningEvent::Recorded { points: points(number) }])
    }

    #[test]
    fn reason_gives_points_once() {
        earned(57)
            .when(|earning| earning.record(points(99)))
            .then_rejected(EarningRejection::EarningDiffers { recorded: 57, wanted: 99 });
    }

    #[test]
    fn no_more_points_are_taken_back_than_were_given() {
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
    fn partial_refund_takes_back_its_part_and_the_last_one_takes_back_the_rest() {
        earned(10).holds(|earning| earning.reversal_due(price(1), price(1000)).is_none());
        earned(10).holds(|earning| earning.reversal_due(price(350), price(1000)) == Some(points(3)));
        earned(10)
            .when(|earning| earning.reverse_for(price(350), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(3) }])
            .when(|earning| earning.reverse_for(price(1000), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(7) }]);
    }

    #[test]
    fn reason_that_no_longer_applies_loses_all_points_once() {
        earned(57)
            .when(Earning::reverse_all)
            .then_once([EarningEvent::Reversed { points: points(57) }])
            .holds(|earning| earning.left() == 0 && earning.is_recorded());
        given([]).when(Earning::reverse_all).then_nothing();
    }

    #[test]
    fn money_is_counted_once() {
        let counted = |net_minor| EarningEvent::Counted { net_minor, currency: Some(usd()) };
        given([])
            .when(|earning: &Earning| earning.count(price(5700).money()))
            .then_once([counted(5700)])
            .when(|earning| earning.count(price(5000).money()))
            .then_once([counted(5000)])
            .holds(|earning| earning.counted() == 5000 && !earning.is_recorded());
    }

    #[test]
    fn lower_refund_total_takes_back_nothing_more() {
        earned(10)
            .when(|earning| earning.reverse_for(price(500), price(1000)))
            .then_once([EarningEvent::Reversed { points: points(5) }])
            .when(|earning| earning.reverse_for(price(200), price(1000)))
            .then_nothing();
    }

    #[test]
    fn id_depends_on_kind_and_customer() {
        assert_eq!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(ADA, EntryKind::Purchase, "1"));
        assert_ne!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(ADA, EntryKind::Review, "1"));
        assert_ne!(Earning::id(ADA, EntryKind::Purchase, "1"), Earning::id(BEN, EntryKind::Purchase, "1"));
    }
}
