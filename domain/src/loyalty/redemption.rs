//! Redemption: the purchase of a reward with points (LOY-10, LOY-13).
//!
//! Invariants: a redemption is opened once, for one customer and one reward, and ends once. Every redemption is a
//! stream of its own, so that the state of the account does not grow with ended redemptions. Its code works once; a
//! name claim makes the code unique.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reward;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{
    Code, CustomerId, Date, Fingerprint, PositivePoints, Price, RedemptionId, RewardId, Text, Timestamp, Title,
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Redemption {
    #[serde(rename = "made")]
    terms: Option<Terms>,
    status: RedemptionStatus,
    /// Digest of the reference under which its code was used; recognises a repeat.
    #[serde(default)]
    applied_as: Option<Fingerprint>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Terms {
    customer: CustomerId,
    reward: RewardId,
    cost: PositivePoints,
    /// True if no points were paid.
    #[serde(default)]
    granted: bool,
}

/// Reference of the use of a code: an order, or a receipt of a till.
pub type UseReference = Text<100>;

/// Status of a redemption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionStatus {
    /// Bought and not used yet.
    #[default]
    #[serde(alias = "open")]
    Issued,
    Applied,
    Cancelled,
    Expired,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RedemptionEvent {
    /// A reward was bought with points and can be used.
    #[serde(rename = "redemption.opened")]
    Opened {
        customer: CustomerId,
        reward: RewardId,
        name: Title,
        cost: PositivePoints,
        value: Price,
        on: Date,
        /// Code with which the reward is used. Absent in events of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// Time at which the redemption expires if it is not used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// A reward was given to a customer who reached a tier; no points were paid. `cost` is its price at that time.
    #[serde(rename = "redemption.granted")]
    Granted {
        customer: CustomerId,
        reward: RewardId,
        name: Title,
        cost: PositivePoints,
        value: Price,
        on: Date,
        code: Code,
        expires_at: Option<Timestamp>,
    },
    /// The reward was used.
    #[serde(rename = "redemption.applied")]
    Applied {
        customer: CustomerId,
        reward: RewardId,
        cost: PositivePoints,
        on: Date,
        /// Reference of the use, if the code was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<UseReference>,
    },
    /// The reward was given back; its points are returned.
    #[serde(rename = "redemption.cancelled")]
    Cancelled { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
    /// The reward was not used in time; its points are not returned.
    #[serde(rename = "redemption.expired")]
    Expired { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
}

/// Rejections of a redemption.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedemptionRejection {
    #[error("this customer has no such redemption")]
    RedemptionUnknown {},
    #[error("this redemption was made already, by another customer or for another reward")]
    RedemptionDiffers {},
    #[error("this redemption is {status} already")]
    RedemptionGone { status: RedemptionStatus },
    #[error("there is no such reward code")]
    RewardCodeUnknown {},
}

impl Rejection for RedemptionRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::RedemptionUnknown {} | Self::RewardCodeUnknown {} => Retry::NewId,
            Self::RedemptionDiffers {} | Self::RedemptionGone { .. } => Retry::Never,
        }
    }
}

impl Redemption {
    /// Buys a reward. A repeat changes nothing, even if the redemption has ended or the terms of the reward changed.
    pub fn open(
        &self,
        customer: CustomerId,
        reward: RewardId,
        terms: &Reward,
        code: Code,
        now: Timestamp,
        on: Date,
    ) -> Decision<Self> {
        if self.is_opened(customer, reward)? {
            return Ok(vec![]);
        }
        let (code, expires_at) = (Some(code), terms.expiry(now));
        let Reward { name, cost, value, .. } = terms.clone();
        Ok(vec![RedemptionEvent::Opened { customer, reward, name, cost, value, on, code, expires_at }])
    }

    /// Gives a reward without points. A repeat changes nothing.
    pub fn grant(
        &self,
        customer: CustomerId,
        reward: RewardId,
        terms: &Reward,
        code: Code,
        now: Timestamp,
        on: Date,
    ) -> Decision<Self> {
        if self.terms.is_some() {
            return Ok(vec![]);
        }
        let expires_at = terms.expiry(now);
        let Reward { name, cost, value, .. } = terms.clone();
        Ok(vec![RedemptionEvent::Granted { customer, reward, name, cost, value, on, code, expires_at }])
    }

    /// Records that the reward was used.
    pub fn mark_applied(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Applied)?;
        let reference = None;
        let event =
            |Terms { customer, reward, cost, .. }| RedemptionEvent::Applied { customer, reward, cost, on, reference };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Uses the code once. A repeat under the same reference changes nothing.
    pub fn apply_code(&self, reference: UseReference, on: Date) -> Decision<Self> {
        if self.applied_as == Some(Fingerprint::of(&reference)) {
            return Ok(vec![]);
        }
        let Terms { customer, reward, cost, .. } = self.terms.ok_or(RedemptionRejection::RewardCodeUnknown {})?;
        match self.status {
            RedemptionStatus::Issued => {
                Ok(vec![RedemptionEvent::Applied { customer, reward, cost, on, reference: Some(reference) }])
            }
            status => Err(RedemptionRejection::RedemptionGone { status }),
        }
    }

    /// Gives the reward back for its points.
    pub fn cancel(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Cancelled)?;
        let event = |Terms { customer, reward, cost, .. }| RedemptionEvent::Cancelled { customer, reward, cost, on };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Records that the reward was not used in time. Does nothing if the redemption has ended otherwise.
    pub fn expire(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        match self.ending(customer, RedemptionStatus::Expired) {
            Ok(Some(Terms { customer, reward, cost, .. })) => {
                Ok(vec![RedemptionEvent::Expired { customer, reward, cost, on }])
            }
            Ok(None) | Err(RedemptionRejection::RedemptionGone { .. }) => Ok(vec![]),
            Err(rejection) => Err(rejection),
        }
    }

    /// True if the redemption was opened, even if it has ended. Rejects another customer or reward.
    pub fn is_opened(&self, customer: CustomerId, reward: RewardId) -> Result<bool, RedemptionRejection> {
        match self.terms {
            None => Ok(false),
            Some(terms) if (terms.customer, terms.reward) == (customer, reward) => Ok(true),
            Some(_) => Err(RedemptionRejection::RedemptionDiffers {}),
        }
    }

    /// Code of a redemption.
    pub fn code(redemption: RedemptionId) -> Code {
        Code::derived(redemption.uuid(), "reward")
    }

    /// Points that a cancellation returns; `None` if the redemption has ended.
    pub fn returnable(&self) -> Option<PositivePoints> {
        let paid = self.terms.filter(|terms| self.status == RedemptionStatus::Issued && !terms.granted);
        paid.map(|terms| terms.cost)
    }

    /// Terms of a redemption that may end with this status; `None` if it has ended with it already. Rejects a
    /// redemption of another customer, and one that has ended otherwise.
    fn ending(&self, customer: CustomerId, end: RedemptionStatus) -> Result<Option<Terms>, RedemptionRejection> {
        let terms = self.terms.filter(|terms| terms.customer == customer);
        let terms = terms.ok_or(RedemptionRejection::RedemptionUnknown {})?;
        match self.status {
            RedemptionStatus::Issued => Ok(Some(terms)),
            status if status == end => Ok(None),
            status => Err(RedemptionRejection::RedemptionGone { status }),
        }
    }
}

impl Aggregate for Redemption {
    const TYPE: &'static str = "Redemption";
    type Id = RedemptionId;
    type Event = RedemptionEvent;
    type Rejection = RedemptionRejection;

    fn apply(&mut self, event: &RedemptionEvent) {
        match *event {
            RedemptionEvent::Opened { customer, reward, cost, .. } => {
                self.terms = Some(Terms { customer, reward, cost, granted: false })
            }
            RedemptionEvent::Granted { customer, reward, cost, .. } => {
                self.terms = Some(Terms { customer, reward, cost, granted: true })
            }
            RedemptionEvent::Applied { ref reference, .. } => {
                self.status = RedemptionStatus::Applied;
                self.applied_as = reference.as_ref().map(Fingerprint::of);
            }
            RedemptionEvent::Cancelled { .. } => self.status = RedemptionStatus::Cancelled,
            RedemptionEvent::Expired { .. } => self.status = RedemptionStatus::Expired,
        }
    }
}

/// Same text as in JSON.
impl fmt::Display for RedemptionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RewardKind;
    use super::*;
    use crate::testing::values::{ADA, BEN, at, id, parsed, points, price, today};
    use crate::testing::{Given, given};

    const REWARD: RewardId = RewardId::new(id(9));

    type Verb = fn(&Redemption, CustomerId, Date) -> Decision<Redemption>;

    fn cost() -> PositivePoints {
        points(500)
    }

    fn five_off() -> Reward {
        let kind = RewardKind::Discount;
        Reward { name: parsed("5 off"), cost: cost(), value: price(500), kind, valid_days: Some(1) }
    }

    fn code() -> Code {
        Redemption::code(RedemptionId::new(id(7)))
    }

    fn buy(redemption: &Redemption, customer: CustomerId, reward: RewardId, terms: &Reward) -> Decision<Redemption> {
        redemption.open(customer, reward, terms, code(), at(0), today())
    }

    fn open() -> Given<Redemption> {
        let Reward { name, cost, value, .. } = five_off();
        let (customer, reward, on) = (ADA, REWARD, today());
        let (code, expires_at) = (Some(code()), Some(at(24 * 60 * 60)));
        given([])
            .when(|redemption: &Redemption| buy(redemption, ADA, REWARD, &five_off()))
            .then_once([RedemptionEvent::Opened { customer, reward, name, cost, value, on, code, expires_at }])
    }

    /// Every final status, with its verb and its event.
    fn endings() -> [(RedemptionStatus, Verb, RedemptionEvent); 3] {
        let (customer, reward, cost, on) = (ADA, REWARD, cost(), today());
        [
            (
                RedemptionStatus::Applied,
                Redemption::mark_applied,
                RedemptionEvent::Applied { customer, reward, cost, on, reference: None },
            ),
            (
                RedemptionStatus::Cancelled,
                Redemption::cancel,
                RedemptionEvent::Cancelled { customer, reward, cost, on },
            ),
            (RedemptionStatus::Expired, Redemption::expire, RedemptionEvent::Expired { customer, reward, cost, on }),
        ]
    }

    #[test]
    fn redemption_is_opened_once_for_one_customer_and_one_reward() {
        let other = RewardId::new(id(8));
        let dearer = Reward { cost: PositivePoints::MOST, ..five_off() };
        open().when(|redemption| buy(redemption, ADA, REWARD, &dearer)).then_nothing();
        for (customer, reward) in [(BEN, REWARD), (ADA, other)] {
            open()
                .when(|redemption| buy(redemption, customer, reward, &five_off()))
                .then_rejected(RedemptionRejection::RedemptionDiffers {});
        }
    }

    #[test]
    fn redemption_ends_once_and_repeating_the_verb_changes_nothing() {
        for (status, end, event) in endings() {
            let ended = || open().when(|redemption| end(redemption, ADA, today())).then_once([event.clone()]);
            ended().holds(|redemption| redemption.returnable().is_none());
            for (other, verb, _) in endings().into_iter().filter(|(other, ..)| *other != status) {
                let when = ended().when(|redemption| verb(redemption, ADA, today()));
                match other {
                    RedemptionStatus::Expired => when.then_nothing(),
                    _ => when.then_rejected(RedemptionRejection::RedemptionGone { status }),
                }
            }
        }
    }

    #[test]
    fn ended_redemption_is_not_opened_again() {
        for (_, end, event) in endings() {
            open()
                .when(|redemption| end(redemption, ADA, today()))
                .then([event])
                .when(|redemption| buy(redemption, ADA, REWARD, &five_off()))
                .then_nothing();
        }
    }

    #[test]
    fn redemption_of_another_customer_or_an_unknown_one_cannot_be_ended() {
        for (_, end, _) in endings() {
            open()
                .when(|redemption| end(redemption, BEN, today()))
                .then_rejected(RedemptionRejection::RedemptionUnknown {});
            given([])
                .when(|redemption: &Redemption| end(redemption, ADA, today()))
                .then_rejected(RedemptionRejection::RedemptionUnknown {});
        }
    }

    #[test]
    fn code_works_once() {
        let (customer, reward, cost, on) = (ADA, REWARD, cost(), today());
        let till: UseReference = parsed("till 4, receipt 17");
        open()
            .when(|redemption| redemption.apply_code(till.clone(), on))
            .then_once([RedemptionEvent::Applied { customer, reward, cost, on, reference: Some(till.clone()) }])
            .when(|redemption| redemption.apply_code(parsed("till 5"), on))
            .then_rejected(RedemptionRejection::RedemptionGone { status: RedemptionStatus::Applied });
        given([])
            .when(|redemption: &Redemption| redemption.apply_code(till.clone(), on))
            .then_rejected(RedemptionRejection::RewardCodeUnknown {});
    }

    #[test]
    fn granted_reward_returns_no_points() {
        let Reward { name, cost, value, .. } = five_off();
        let (customer, reward, on) = (ADA, REWARD, today());
        let event = RedemptionEvent::Granted {
            customer,
            reward,
            name,
            cost,
            value,
            on,
            code: code(),
            expires_at: Some(at(24 * 60 * 60)),
        };
        given([])
            .when(|redemption: &Redemption| redemption.grant(ADA, REWARD, &five_off(), code(), at(0), today()))
            .then_once([event])
            .holds(|redemption| redemption.returnable().is_none());
    }

    #[test]
    fn only_an_issued_redemption_has_returnable_points() {
        given([]).holds(|redemption: &Redemption| redemption.returnable().is_none());
        open().holds(|redemption| redemption.returnable() == Some(cost()));
    }
}
