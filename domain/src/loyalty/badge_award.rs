//! Award of a badge to a customer (GAM-01). Invariant: a customer has a badge at most once. Every award is a stream of
//! its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::{BadgeAwardId, BadgeId, CustomerId, Title};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BadgeAward {
    awarded: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum BadgeAwardEvent {
    /// A customer got a badge.
    #[serde(rename = "badge.awarded")]
    Awarded { customer: CustomerId, badge: BadgeId, name: Title },
}

impl BadgeAward {
    /// Stream id of the award of a badge to a customer.
    pub fn id(customer: CustomerId, badge: BadgeId) -> BadgeAwardId {
        BadgeAwardId::derived(customer.uuid(), &format!("badge:{badge}"))
    }

    /// Awards the badge. A repeat changes nothing.
    pub fn award(&self, customer: CustomerId, badge: BadgeId, name: Title) -> Decision<Self> {
        match self.awarded {
            true => Ok(vec![]),
            false => Ok(vec![BadgeAwardEvent::Awarded { customer, badge, name }]),
        }
    }
}

impl Aggregate for BadgeAward {
    const TYPE: &'static str = "BadgeAward";
    type Id = BadgeAwardId;
    type Event = BadgeAwardEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, _: &BadgeAwardEvent) {
        self.awarded = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, id, parsed};

    #[test]
    fn badge_is_awarded_once() {
        let (badge, name) = (BadgeId::new(id(31)), parsed::<Title>("Loyal Customer"));
        given([])
            .when(|award: &BadgeAward| award.award(ADA, badge, name.clone()))
            .then_once([BadgeAwardEvent::Awarded { customer: ADA, badge, name: name.clone() }]);
    }
}
