//! Payout: money that the platform sends to a tenant (PAY-12, PAY-13).
//!
//! Invariant: a payout is requested once and ends once, sent or failed. A command that changes a payout and the
//! [`SettlementAccount`](super::SettlementAccount) changes both or neither.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Date, PayoutId, Price, Reason, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Payout {
    amount: Option<Price>,
    status: PayoutStatus,
}

/// Status of a payout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayoutStatus {
    /// Debited and on its way.
    #[default]
    Requested,
    Sent,
    /// Not sent; its amount is back in the balance.
    Failed,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PayoutEvent {
    /// A payout was requested.
    #[serde(rename = "payout.requested")]
    Requested { amount: Price, on: Date },
    /// The money was sent.
    #[serde(rename = "payout.sent")]
    Sent { reference: Text<200> },
    /// The money could not be sent.
    #[serde(rename = "payout.failed")]
    Failed { amount: Price, reason: Reason },
}

/// Rejections of a payout.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PayoutRejection {
    #[error("there is no such payout")]
    PayoutUnknown {},
    #[error("this payout was requested already, with another amount")]
    PayoutExists {},
    #[error("a payout is more than nothing")]
    EmptyPayout {},
    #[error("this payout is {status} already")]
    PayoutEnded { status: PayoutStatus },
}

impl Rejection for PayoutRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::PayoutUnknown {} => Retry::NewId,
            Self::PayoutExists {} | Self::EmptyPayout {} | Self::PayoutEnded { .. } => Retry::Never,
        }
    }
}

impl Payout {
    /// Requests the payout. A repeat with the same amount changes nothing.
    pub fn request(&self, amount: Price, on: Date) -> Decision<Self> {
        match self.amount {
            None if amount.minor() == 0 => Err(PayoutRejection::EmptyPayout {}),
            None => Ok(vec![PayoutEvent::Requested { amount, on }]),
            Some(known) if known == amount => Ok(vec![]),
            Some(_) => Err(PayoutRejection::PayoutExists {}),
        }
    }

    /// Records that the money was sent.
    pub fn confirm(&self, reference: Text<200>) -> Decision<Self> {
        Ok(self.ending(PayoutStatus::Sent)?.map(|_| PayoutEvent::Sent { reference }).into_iter().collect())
    }

    /// Records that the money could not be sent.
    pub fn fail(&self, reason: Reason) -> Decision<Self> {
        let ending = self.ending(PayoutStatus::Failed)?;
        Ok(ending.map(|amount| PayoutEvent::Failed { amount, reason }).into_iter().collect())
    }

    /// True if the payout was requested, even if it has ended.
    pub fn is_requested(&self) -> bool {
        self.amount.is_some()
    }

    /// Amount that a failure returns to the balance; `None` if the payout is not on its way.
    pub fn returnable(&self) -> Option<Price> {
        self.amount.filter(|_| self.status == PayoutStatus::Requested)
    }

    /// Amount of a payout that may end with this status; `None` if it has ended with it already.
    fn ending(&self, end: PayoutStatus) -> Result<Option<Price>, PayoutRejection> {
        let amount = self.amount.ok_or(PayoutRejection::PayoutUnknown {})?;
        match self.status {
            PayoutStatus::Requested => Ok(Some(amount)),
            status if status == end => Ok(None),
            status => Err(PayoutRejection::PayoutEnded { status }),
        }
    }
}

impl Aggregate for Payout {
    const TYPE: &'static str = "Payout";
    type Id = PayoutId;
    type Event = PayoutEvent;
    type Rejection = PayoutRejection;

    fn apply(&mut self, event: &PayoutEvent) {
        match *event {
            PayoutEvent::Requested { amount, .. } => self.amount = Some(amount),
            PayoutEvent::Sent { .. } => self.status = PayoutStatus::Sent,
            PayoutEvent::Failed { .. } => self.status = PayoutStatus::Failed,
        }
    }
}

/// Same text as in JSON.
impl fmt::Display for PayoutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{parsed, price, today};
    use crate::testing::{Given, given};

    fn requested() -> Given<Payout> {
        given([])
            .when(|payout: &Payout| payout.request(price(100), today()))
            .then_once([PayoutEvent::Requested { amount: price(100), on: today() }])
    }

    #[test]
    fn payout_ends_once() {
        let (reference, reason): (Text<200>, Reason) = (parsed("wire 7"), parsed("account closed"));
        requested()
            .when(|payout| payout.confirm(reference.clone()))
            .then_once([PayoutEvent::Sent { reference: reference.clone() }])
            .when(|payout| payout.fail(reason.clone()))
            .then_rejected(PayoutRejection::PayoutEnded { status: PayoutStatus::Sent });
        requested()
            .when(|payout| payout.fail(reason.clone()))
            .then_once([PayoutEvent::Failed { amount: price(100), reason: reason.clone() }])
            .holds(|payout| payout.returnable().is_none());
    }

    #[test]
    fn payout_is_requested_with_one_amount_above_zero() {
        given([])
            .when(|payout: &Payout| payout.request(price(0), today()))
            .then_rejected(PayoutRejection::EmptyPayout {});
        requested().when(|payout| payout.request(price(99), today())).then_rejected(PayoutRejection::PayoutExists {});
        given([])
            .when(|payout: &Payout| payout.confirm(parsed("wire 7")))
            .then_rejected(PayoutRejection::PayoutUnknown {});
    }
}
