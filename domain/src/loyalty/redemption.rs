//! One purchase of a reward with points (LOY-10, LOY-13).
//!
//! Invariants: a redemption is made once, for one customer and one reward, and ends once. Every redemption is a stream
//! of its own, so that what has ended stays ended and the account need not remember it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reward;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Date, PositivePoints, Price, RedemptionId, RewardId, Title};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Redemption {
    made: Option<Made>,
    status: RedemptionStatus,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Made {
    customer: CustomerId,
    reward: RewardId,
    cost: PositivePoints,
}

/// What has become of a redemption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionStatus {
    /// It waits to be used.
    #[default]
    Open,
    Applied,
    Cancelled,
    Expired,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RedemptionEvent {
    /// Points bought a reward; it waits to be used.
    #[serde(rename = "redemption.opened")]
    Opened { customer: CustomerId, reward: RewardId, name: Title, cost: PositivePoints, value: Price, on: Date },
    /// The reward was used.
    #[serde(rename = "redemption.applied")]
    Applied { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
    /// The reward was given up; its points go back.
    #[serde(rename = "redemption.cancelled")]
    Cancelled { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
    /// The reward was not used in time; its points stay spent.
    #[serde(rename = "redemption.expired")]
    Expired { customer: CustomerId, reward: RewardId, cost: PositivePoints, on: Date },
}

/// Why a redemption could not be made or ended.
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
    /// Buys a reward. Asking again changes nothing, whatever has become of it and of the reward since.
    pub fn open(&self, customer: CustomerId, reward: RewardId, terms: &Reward, on: Date) -> Decision<Self> {
        if self.is_made(customer, reward)? {
            return Ok(vec![]);
        }
        let Reward { name, cost, value } = terms.clone();
        Ok(vec![RedemptionEvent::Opened { customer, reward, name, cost, value, on }])
    }

    /// Uses the reward up.
    pub fn mark_applied(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Applied)?;
        let event = |Made { customer, reward, cost }| RedemptionEvent::Applied { customer, reward, cost, on };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Gives the reward up for its points.
    pub fn cancel(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        let ending = self.ending(customer, RedemptionStatus::Cancelled)?;
        let event = |Made { customer, reward, cost }| RedemptionEvent::Cancelled { customer, reward, cost, on };
        Ok(ending.map(event).into_iter().collect())
    }

    /// Writes down that the reward was not used in time. What has ended otherwise stays as it is.
    pub fn expire(&self, customer: CustomerId, on: Date) -> Decision<Self> {
        match self.ending(customer, RedemptionStatus::Expired) {
            Ok(Some(Made { customer, reward, cost })) => {
                Ok(vec![RedemptionEvent::Expired { customer, reward, cost, on }])
            }
            Ok(None) | Err(RedemptionRejection::RedemptionGone { .. }) => Ok(vec![]),
            Err(rejection) => Err(rejection),
        }
    }

    /// Whether it was made, open or not; a no where it is another's or of another reward.
    pub fn is_made(&self, customer: CustomerId, reward: RewardId) -> Result<bool, RedemptionRejection> {
        match self.made {
            None => Ok(false),
            Some(made) if (made.customer, made.reward) == (customer, reward) => Ok(true),
            Some(_) => Err(RedemptionRejection::RedemptionDiffers {}),
        }
    }

    /// What goes back when it is given up; nothing once it has ended.
    pub fn returnable(&self) -> Option<PositivePoints> {
        self.made.filter(|_| self.status == RedemptionStatus::Open).map(|made| made.cost)
    }

    /// What ends like this; nothing, if it has ended like this already.
    fn ending(&self, customer: CustomerId, end: RedemptionStatus) -> Result<Option<Made>, RedemptionRejection> {
        let made = self.made.filter(|made| made.customer == customer);
        let made = made.ok_or(RedemptionRejection::RedemptionUnknown {})?;
        match self.status {
            RedemptionStatus::Open => Ok(Some(made)),
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
            RedemptionEvent::Opened { customer, reward, cost, .. } => self.made = Some(Made { customer, reward, cost }),
            RedemptionEvent::Applied { .. } => self.status = RedemptionStatus::Applied,
            RedemptionEvent::Cancelled { .. } => self.status = RedemptionStatus::Cancelled,
            RedemptionEvent::Expired { .. } => self.status = RedemptionStatus::Expired,
        }
    }
}

/// Shown as it is stored.
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

    /// Every way to end, with the event it ends by.
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
    fn a_redemption_is_made_once_for_one_customer_and_one_reward() {
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
    fn a_redemption_ends_once_and_ending_it_alike_again_changes_nothing() {
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
    fn an_ended_redemption_is_not_made_again() {
        for (_, end, event) in endings() {
            open()
                .when(|redemption| end(redemption, ADA, today()))
                .then([event])
                .when(|redemption| redemption.open(ADA, REWARD, &five_off(), today()))
                .then_nothing();
        }
    }

    #[test]
    fn nobody_ends_the_redemption_of_another_or_one_that_was_never_made() {
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
    fn only_an_open_redemption_has_points_to_return() {
        given([]).holds(|redemption: &Redemption| redemption.returnable().is_none());
        open().holds(|redemption| redemption.returnable() == Some(cost()));
    }
}
