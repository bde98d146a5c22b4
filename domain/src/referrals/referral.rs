//! Referral of one friend (REF-03, REF-04, REF-09).
//!
//! Invariants: a friend is referred once, by one advocate and not by themselves; a referral ends once, completed or
//! refused; a cancelled first order refuses it while the window is open.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, OrderId, ReferralId, Timestamp};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Referral {
    parties: Option<Parties>,
    status: ReferralStatus,
    /// First order of the friend, once it is paid.
    order: Option<OrderId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Parties {
    advocate: CustomerId,
    friend: CustomerId,
}

/// Status of a referral.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferralStatus {
    /// The condition is not fulfilled yet, or its window is open.
    #[default]
    Pending,
    /// The condition is fulfilled.
    Completed,
    /// The first order was cancelled.
    Refused,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReferralEvent {
    /// A friend came with the code of an advocate.
    #[serde(rename = "referral.started")]
    Started { advocate: CustomerId, friend: CustomerId },
    /// The friend paid a first order; the referral is completed at this time, unless the order is cancelled before.
    #[serde(rename = "referral.qualified")]
    Qualified { advocate: CustomerId, friend: CustomerId, order: OrderId, completes_at: Timestamp },
    /// The friend fulfilled the condition.
    #[serde(rename = "referral.completed")]
    Completed { advocate: CustomerId, friend: CustomerId },
    /// The first order was cancelled while the window was open.
    #[serde(rename = "referral.refused")]
    Refused { advocate: CustomerId, friend: CustomerId, order: OrderId },
}

/// Rejections of a referral.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReferralRejection {
    #[error("there is no such referral code")]
    CodeUnknown {},
    #[error("customers cannot refer themselves")]
    SelfReferral {},
    #[error("this friend is a customer already")]
    FriendIsCustomer {},
    #[error("this friend was referred by another customer")]
    FriendReferred {},
    #[error("this referral is {status} already")]
    ReferralEnded { status: ReferralStatus },
}

impl Rejection for ReferralRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::CodeUnknown {} => Retry::NewId,
            _ => Retry::Never,
        }
    }
}

impl Referral {
    /// Stream id of the referral of a friend.
    pub fn id(friend: CustomerId) -> ReferralId {
        ReferralId::derived(friend.uuid(), "referral")
    }

    /// Begins the referral of a friend who is no customer yet. A repeat changes nothing.
    pub fn start(&self, advocate: CustomerId, friend: CustomerId, is_customer: bool) -> Decision<Self> {
        match self.parties {
            Some(known) if known.advocate == advocate => Ok(vec![]),
            Some(_) => Err(ReferralRejection::FriendReferred {}),
            None if advocate == friend => Err(ReferralRejection::SelfReferral {}),
            None if is_customer => Err(ReferralRejection::FriendIsCustomer {}),
            None => Ok(vec![ReferralEvent::Started { advocate, friend }]),
        }
    }

    /// Records the first paid order. Later orders, and those of a friend who was not referred, change nothing.
    pub fn qualify(&self, order: OrderId, completes_at: Timestamp) -> Decision<Self> {
        let event = |Parties { advocate, friend }| ReferralEvent::Qualified { advocate, friend, order, completes_at };
        Ok(self.pending().filter(|_| self.order.is_none()).map(event).into_iter().collect())
    }

    /// Completes the referral. Does nothing if it is completed already; rejects a refused one.
    pub fn complete(&self) -> Decision<Self> {
        match self.status {
            ReferralStatus::Refused => Err(ReferralRejection::ReferralEnded { status: self.status }),
            _ => {
                let event = |Parties { advocate, friend }| ReferralEvent::Completed { advocate, friend };
                Ok(self.pending().map(event).into_iter().collect())
            }
        }
    }

    /// Refuses the referral because this order was cancelled. Does nothing for another order or an ended referral.
    pub fn refuse(&self, order: OrderId) -> Decision<Self> {
        let event = |Parties { advocate, friend }| ReferralEvent::Refused { advocate, friend, order };
        Ok(self.pending().filter(|_| self.order == Some(order)).map(event).into_iter().collect())
    }

    /// Advocate of a pending referral.
    pub fn pending_advocate(&self) -> Option<CustomerId> {
        self.pending().map(|parties| parties.advocate)
    }

    pub fn status(&self) -> ReferralStatus {
        self.status
    }

    fn pending(&self) -> Option<Parties> {
        self.parties.filter(|_| self.status == ReferralStatus::Pending)
    }
}

impl Aggregate for Referral {
    const TYPE: &'static str = "Referral";
    type Id = ReferralId;
    type Event = ReferralEvent;
    type Rejection = ReferralRejection;

    fn apply(&mut self, event: &ReferralEvent) {
        match *event {
            ReferralEvent::Started { advocate, friend } => self.parties = Some(Parties { advocate, friend }),
            ReferralEvent::Qualified { order, .. } => self.order = Some(order),
            ReferralEvent::Completed { .. } => self.status = ReferralStatus::Completed,
            ReferralEvent::Refused { .. } => self.status = ReferralStatus::Refused,
        }
    }
}

/// Same text as in JSON.
impl fmt::Display for ReferralStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, at, id};
    use crate::testing::{Given, given};

    const ORDER: OrderId = OrderId::new(id(7));
    const OTHER: OrderId = OrderId::new(id(8));

    fn started() -> Given<Referral> {
        given([])
            .when(|referral: &Referral| referral.start(ADA, BEN, false))
            .then_once([ReferralEvent::Started { advocate: ADA, friend: BEN }])
    }

    fn qualified() -> Given<Referral> {
        let event = ReferralEvent::Qualified { advocate: ADA, friend: BEN, order: ORDER, completes_at: at(9) };
        started().when(|referral| referral.qualify(ORDER, at(9))).then_once([event])
    }

    #[test]
    fn friend_is_referred_once_before_becoming_a_customer() {
        let begin = |advocate, is_customer| move |referral: &Referral| referral.start(advocate, BEN, is_customer);
        given([]).when(begin(BEN, false)).then_rejected(ReferralRejection::SelfReferral {});
        given([]).when(begin(ADA, true)).then_rejected(ReferralRejection::FriendIsCustomer {});
        started().when(begin(CustomerId::new(id(3)), false)).then_rejected(ReferralRejection::FriendReferred {});
        started().when(begin(ADA, true)).then_nothing();
    }

    #[test]
    fn first_order_counts_and_its_cancellation_refuses_the_referral() {
        qualified().when(|referral| referral.qualify(OTHER, at(10))).then_nothing();
        qualified().when(|referral| referral.refuse(OTHER)).then_nothing();
        qualified()
            .when(|referral| referral.refuse(ORDER))
            .then_once([ReferralEvent::Refused { advocate: ADA, friend: BEN, order: ORDER }])
            .when(Referral::complete)
            .then_rejected(ReferralRejection::ReferralEnded { status: ReferralStatus::Refused });
    }

    #[test]
    fn completed_referral_stays_completed() {
        qualified()
            .when(Referral::complete)
            .then_once([ReferralEvent::Completed { advocate: ADA, friend: BEN }])
            .when(|referral| referral.refuse(ORDER))
            .then_nothing();
        given([]).when(Referral::complete).then_nothing();
        given([]).when(|referral: &Referral| referral.qualify(ORDER, at(9))).then_nothing();
    }
}
