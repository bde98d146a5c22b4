//! Advocate: a customer who brings friends (REF-01, REF-05). Invariant: an advocate has one code for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::{AdvocateId, Code, CustomerId, PositivePoints};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Advocate {
    issued: bool,
    /// Number of completed referrals.
    completed: u32,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum AdvocateEvent {
    /// A customer got a code for friends.
    #[serde(rename = "referral.created")]
    CodeIssued { customer: CustomerId, code: Code },
    /// A friend fulfilled the condition; `completed` is the number of such friends, `goal` that of the rules.
    #[serde(rename = "advocate.friend_completed")]
    FriendCompleted {
        customer: CustomerId,
        friend: CustomerId,
        completed: u32,
        goal: u16,
        advocate_points: Option<PositivePoints>,
        friend_points: Option<PositivePoints>,
    },
}

impl Advocate {
    /// Stream id of a customer as an advocate.
    pub fn id(customer: CustomerId) -> AdvocateId {
        AdvocateId::derived(customer.uuid(), "advocate")
    }

    /// Code of a customer. A name claim makes it unique.
    pub fn code(customer: CustomerId) -> Code {
        Code::derived(customer.uuid(), "referral")
    }

    /// Issues the code. A repeat changes nothing.
    pub fn issue_code(&self, customer: CustomerId) -> Decision<Self> {
        match self.issued {
            true => Ok(vec![]),
            false => Ok(vec![AdvocateEvent::CodeIssued { customer, code: Self::code(customer) }]),
        }
    }

    /// Counts a completed referral. The caller ensures with [`Referral`](super::Referral) that it is new.
    pub fn count_friend(
        &self,
        customer: CustomerId,
        friend: CustomerId,
        goal: u16,
        advocate_points: Option<PositivePoints>,
        friend_points: Option<PositivePoints>,
    ) -> Decision<Self> {
        let completed = self.completed.saturating_add(1);
        Ok(vec![AdvocateEvent::FriendCompleted { customer, friend, completed, goal, advocate_points, friend_points }])
    }
}

impl Aggregate for Advocate {
    const TYPE: &'static str = "Advocate";
    type Id = AdvocateId;
    type Event = AdvocateEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, event: &AdvocateEvent) {
        match *event {
            AdvocateEvent::CodeIssued { .. } => self.issued = true,
            AdvocateEvent::FriendCompleted { completed, .. } => self.completed = completed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, BEN, points};

    #[test]
    fn code_is_issued_once_and_friends_are_counted() {
        let counted = AdvocateEvent::FriendCompleted {
            customer: ADA,
            friend: BEN,
            completed: 1,
            goal: 3,
            advocate_points: Some(points(100)),
            friend_points: None,
        };
        given([])
            .when(|advocate: &Advocate| advocate.issue_code(ADA))
            .then_once([AdvocateEvent::CodeIssued { customer: ADA, code: Advocate::code(ADA) }])
            .when(|advocate| advocate.count_friend(ADA, BEN, 3, Some(points(100)), None))
            .then([counted]);
        assert_ne!(Advocate::code(ADA), Advocate::code(BEN));
    }
}
