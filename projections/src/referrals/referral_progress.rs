//! Referral code of a customer, and the progress towards the goal (REF-01, REF-05).

use domain::kernel::Recorded;
use domain::referrals::{Advocate, AdvocateEvent};
use domain::shared::{Code, CustomerId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Referrals of one customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReferralProgress {
    /// Customer who brings friends.
    pub customer: CustomerId,
    /// Code that friends use; null if the customer did not ask for it.
    pub code: Option<Code>,
    /// Number of friends who fulfilled the condition.
    pub completed: i64,
    /// Number of friends at which the goal is reached; null before the first one.
    pub goal: Option<i64>,
    /// Share of the goal that is reached, from 0 to 100, rounded down.
    pub percent: i64,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for ReferralProgress {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["customer"];
    const INDEXED: &'static [&'static str] = &["code", "completed"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Advocate>(
            |event| match event.event {
                AdvocateEvent::CodeIssued { customer, .. } | AdvocateEvent::FriendCompleted { customer, .. } => {
                    Some(key![customer])
                }
            },
            Self::on_advocate,
        );
    }
}

impl ReferralProgress {
    fn on_advocate(row: Option<Self>, event: &Recorded<AdvocateEvent>) -> Folded<Self> {
        let changed_at = event.occurred_at;
        let new = |customer| Self { customer, code: None, completed: 0, goal: None, percent: 0, changed_at };
        Ok(Some(match event.event.clone() {
            AdvocateEvent::CodeIssued { customer, code } => {
                Self { code: Some(code), changed_at, ..row.unwrap_or_else(|| new(customer)) }
            }
            AdvocateEvent::FriendCompleted { customer, completed, goal, .. } => {
                let (completed, goal) = (i64::from(completed), i64::from(goal));
                let percent = completed.saturating_mul(100).checked_div(goal).unwrap_or(100).min(100);
                let row = row.unwrap_or_else(|| new(customer));
                Self { completed, goal: Some(goal), percent, changed_at, ..row }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn two_of_three_friends_are_66_percent() {
        let (customer, friend) = (CustomerId::new(Uuid::from_u128(5)), CustomerId::new(Uuid::from_u128(6)));
        let then = |story: Story, event| story.then::<Advocate>(Advocate::id(customer), event);
        let code = Advocate::code(customer);
        let issued = then(Story::new(), AdvocateEvent::CodeIssued { customer, code: code.clone() });
        let row: ReferralProgress = issued.row();
        assert_eq!((row.code, row.completed, row.percent), (Some(code), 0, 0));
        let completed = |story, completed| {
            let (advocate_points, friend_points) = (None, None);
            let goal = 3;
            then(
                story,
                AdvocateEvent::FriendCompleted { customer, friend, completed, goal, advocate_points, friend_points },
            )
        };
        let row: ReferralProgress = completed(completed(issued.clone(), 1), 2).row();
        assert_eq!((row.completed, row.goal, row.percent), (2, Some(3), 66));
        let row: ReferralProgress = completed(issued, 4).row();
        assert_eq!(row.percent, 100);
    }
}
