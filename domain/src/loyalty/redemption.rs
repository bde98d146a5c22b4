//! Redemption: the purchase of a reward with points (LOY-10, LOY-13).
//!
//! Invariants: a redemption is opened once, for one customer and one reward, and ends once. Every redemption is a
//! stream of its own, so that the state of the account does not grow with ended redemptions.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reward;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Date, PositivePoints, Price, RedemptionId, RewardId, Title};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Redemption {
    #[serde(rename = "made")]
    terms: Option<Terms>,
    status: RedemptionStatus,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Terms {
    customer: CustomerId,
    reward: RewardId,
    cost: PositivePoints,
}

/// Status of a redemption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionStatus {
    /// Bought and not used yet.
    #[default]
    Open,
    Applied,
    Cancelled,
    Expired,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RedemptionEvent {
    /// A reward was bought with points and can be used.
    #[serde(rename = "redemption.opened")]
    Opened { customer: CustomerId, reward: RewardId, name: Title, cost: PositivePoints, value: Price, on: Date },
    /// The reward was used.
    #[serde(rename = "redemption.applied")]
    Applied { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
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
}

impl Rejection for RedemptionRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::RedemptionUnknown {} => Retry::NewId,
            Self::RedemptionDiffers {} | Self::RedemptionGone { .. } => Retry::Never,
        }
    }
}

impl Redemption {
    /// Buys a reward. A repeat changes nothing, even if the redemption has ended or the terms of the reward changed.
    pub fn open(&self, customer: CustomerId, reward: RewardId, terms: &Reward, on: Date) -> Decision<Self> {
        if self.is_opened(customer, reward)? {
            return Ok(vec![]);
        }
        let Reward { name, cost, value } = terms.clone();
        Ok(vec![RedemptionEvent::Opened { customer, reward, name, cost, value, on }])
    }

    /// Records that the reward was used.
    pub fn mark_applied(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Applied)?;
        let event = |Terms { customer, reward, cost }| RedemptionEvent::Applied { customer, reward, cost, on };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Gives the reward back for its points.
    pub fn cancel(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Cancelled)?;
        let event = |Terms { customer, reward, cost }| RedemptionEvent::Cancelled { customer, reward, cost, on };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Records that the reward was not used in time. Does nothing if the redemption has ended otherwise.
    pub fn expire(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        match self.ending(customer, RedemptionStatus::Expired) {
            Ok(Some(Terms { customer, reward, cost })) => {
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

    /// Points that a cancellation returns; `None` if the redemption is not open.
    pub fn returnable(&self) -> Option<PositivePoints> {
        self.terms.filter(|_| self.status == RedemptionStatus::Open).map(|terms| terms.cost)
    }

    /// Terms of a redemption that may end with this status; `None` if it has ended with it already. Rejects a
    /// redemption of another customer, and one that has ended otherwise.
    fn ending(&self, customer: CustomerId, end: RedemptionStatus) -> Result<Option<Terms>, RedemptionRejection> {
        let terms = self.terms.filter(|terms| terms.customer == customer);
        let terms = terms.ok_or(RedemptionRejection::RedemptionUnknown {})?;
        match self.status {
            RedemptionStatus::Open => Ok(Some(terms)),
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
                self.terms = Some(Terms { customer, reward, cost })
            }
            RedemptionEvent::Applied { .. } => self.status = RedemptionStatus::Applied,
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
    use super::*;
    use crate::testing::values::{ADA, BEN, id, parsed, points, price, today};
    use crate::testing::{Given, given};

    const REWARD: RewardId = RewardId::new(id(9));

    type Verb = fn(&Redemption, CustomerId, Date) -> Decision<Redemption>;

    fn cost() -> PositivePoints {
        points(500)
    }

    fn five_off() -> Reward {
        Reward { name: parsed("5 off"), cost: cost(), value: price(500) }
    }

    fn open() -> Given<Redemption> {
        let Reward { name, cost, value } = five_off();
        given([])
            .when(|redemption: &Redemption| redemption.open(ADA, REWARD, &five_off(), today()))
            .then_once([RedemptionEvent::Opened { customer: ADA, reward: REWARD, name, cost, value, on: today() }])
    }

    /// Every final status, with its verb and its event.
    fn endings() -> [(RedemptionStatus, Verb, RedemptionEvent); 3] {
        let (customer, reward, cost, on) = (ADA, REWARD, cost(), today());
        [
            (
                RedemptionStatus::Applied,
                Redemption::mark_applied,
                RedemptionEvent::Applied { customer, reward, cost, on },
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
        open().when(|redemption| redemption.open(ADA, REWARD, &dearer, today())).then_nothing();
        for (customer, reward) in [(BEN, REWARD), (ADA, other)] {
            open()
                .when(|redemption| redemption.open(customer, reward, &five_off(), today()))
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
                .when(|redemption| redemption.open(ADA, REWARD, &five_off(), today()))
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
    fn only_an_open_redemption_has_returnable_points() {
        given([]).holds(|redemption: &Redemption| redemption.returnable().is_none());
        open().holds(|redemption| redemption.returnable() == Some(cost()));
    }
}
