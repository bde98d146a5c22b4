//! Activity log of the team: points, referrals and tiers (ANA-10, VIP-08).

use domain::kernel::{Actor, Recorded};
use domain::loyalty::{LoyaltyAccount, LoyaltyAccountEvent, Membership, MembershipEvent};
use domain::referrals::{Advocate, AdvocateEvent, Referral, ReferralEvent};
use domain::shared::{CustomerId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::points_balance::change;
use crate::kernel::{Folded, Key, ReadModel, Sources};
use crate::key;

/// One event in the activity log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Stream of the event.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub stream: Uuid,
    /// Number of the event within its stream.
    pub sequence: i64,
    /// Customer whom it is about.
    pub customer: CustomerId,
    /// Kind of the activity.
    pub kind: ActivityKind,
    /// Details, such as the number of points or the name of the new tier.
    pub detail: String,
    /// Party that caused it: a kind such as `member`, and an id or the name of a rule.
    pub actor: String,
    /// Time of the event.
    pub at: Timestamp,
}

/// Kind of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    PointsEarned,
    PointsReversed,
    PointsRedeemed,
    PointsReturned,
    PointsAdjusted,
    ReferralCodeIssued,
    ReferralStarted,
    ReferralQualified,
    ReferralCompleted,
    ReferralRefused,
    TierChanged,
    TierSet,
}

impl ReadModel for Activity {
    const NEEDS: Permission = Permission::ManagePoints;
    const KEY: &'static [&'static str] = &["stream", "sequence"];
    const INDEXED: &'static [&'static str] = &["customer", "kind", "at"];
    const APPENDS: bool = true;

    fn sources(from: &mut Sources<Self>) {
        from.stream::<LoyaltyAccount>(|event| Some(place(event)), |_, event| Ok(Some(Self::of_points(event))));
        from.stream::<Advocate>(
            |event| matches!(event.event, AdvocateEvent::CodeIssued { .. }).then(|| place(event)),
            |_, event| Ok(Self::of_advocate(event)),
        );
        from.stream::<Referral>(|event| Some(place(event)), |_, event| Ok(Some(Self::of_referral(event))));
        from.stream::<Membership>(
            |event| (!matches!(event.event, MembershipEvent::Spent { .. })).then(|| place(event)),
            Self::on_membership,
        );
    }
}

/// Key of the entry of an event.
fn place<E>(event: &Recorded<E>) -> Key {
    key![event.stream, event.sequence]
}

impl Activity {
    fn of_points(event: &Recorded<LoyaltyAccountEvent>) -> Self {
        let (customer, points) = change(&event.event);
        let (kind, why) = match &event.event {
            LoyaltyAccountEvent::Earned { kind, source, .. } => {
                (ActivityKind::PointsEarned, format!("{kind} {source}"))
            }
            LoyaltyAccountEvent::Reversed { kind, source, .. } => {
                (ActivityKind::PointsReversed, format!("{kind} {source}"))
            }
            LoyaltyAccountEvent::Redeemed { redemption, .. } => {
                (ActivityKind::PointsRedeemed, format!("redemption {redemption}"))
            }
            LoyaltyAccountEvent::Returned { redemption, .. } => {
                (ActivityKind::PointsReturned, format!("redemption {redemption}"))
            }
            LoyaltyAccountEvent::Adjusted { reason, .. } => (ActivityKind::PointsAdjusted, reason.to_string()),
        };
        Self::new(event, customer, kind, format!("{points:+} points: {why}"))
    }

    /// A completed friend has an entry of the referral.
    fn of_advocate(event: &Recorded<AdvocateEvent>) -> Option<Self> {
        match &event.event {
            AdvocateEvent::CodeIssued { customer, code } => {
                Some(Self::new(event, *customer, ActivityKind::ReferralCodeIssued, format!("code {code}")))
            }
            AdvocateEvent::FriendCompleted { .. } => None,
        }
    }

    fn of_referral(event: &Recorded<ReferralEvent>) -> Self {
        let (kind, advocate, friend) = match event.event {
            ReferralEvent::Started { advocate, friend } => (ActivityKind::ReferralStarted, advocate, friend),
            ReferralEvent::Qualified { advocate, friend, .. } => (ActivityKind::ReferralQualified, advocate, friend),
            ReferralEvent::Completed { advocate, friend } => (ActivityKind::ReferralCompleted, advocate, friend),
            ReferralEvent::Refused { advocate, friend, .. } => (ActivityKind::ReferralRefused, advocate, friend),
        };
        Self::new(event, advocate, kind, format!("friend {friend}"))
    }

    fn on_membership(_: Option<Self>, event: &Recorded<MembershipEvent>) -> Folded<Self> {
        Ok(match &event.event {
            MembershipEvent::Spent { .. } => None,
            MembershipEvent::TierChanged { customer, standing, .. } => {
                let name = standing.name.as_ref().map_or_else(|| "no tier".to_owned(), ToString::to_string);
                Some(Self::new(event, *customer, ActivityKind::TierChanged, name))
            }
            MembershipEvent::TierSet { customer, reason, .. } => {
                Some(Self::new(event, *customer, ActivityKind::TierSet, reason.to_string()))
            }
        })
    }

    fn new<E>(event: &Recorded<E>, customer: CustomerId, kind: ActivityKind, detail: String) -> Self {
        let actor = match &event.actor {
            Actor::Engine(rule) => format!("engine {rule}"),
            Actor::Member(member) => format!("member {member}"),
            Actor::Customer(customer) => format!("customer {customer}"),
            Actor::Operator(operator) => format!("operator {operator}"),
        };
        let (stream, sequence, at) = (event.stream, event.sequence, event.occurred_at);
        Self { stream, sequence, customer, kind, detail, actor, at }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::OrderId;

    use super::super::points_balance::tests::{customer, story};
    use super::super::tier_status::tests::{SILVER, standing, then};
    use super::*;
    use crate::testing::Story;

    /// An advocate gets a code and brings three friends: one who buys, one who registers, and one whose order is
    /// cancelled.
    fn referred(story: Story) -> Story {
        let (advocate, order, completes_at) = (customer(), OrderId::new(Uuid::from_u128(8)), Story::at(99));
        let [buys, registers, cancels] = [6, 7, 8].map(|number| CustomerId::new(Uuid::from_u128(number)));
        let completed = AdvocateEvent::FriendCompleted {
            customer: advocate,
            friend: buys,
            completed: 1,
            goal: 3,
            advocate_points: None,
            friend_points: None,
        };
        let issued = AdvocateEvent::CodeIssued { customer: advocate, code: Advocate::code(advocate) };
        let story = [issued, completed]
            .into_iter()
            .fold(story, |story, event| story.then::<Advocate>(Advocate::id(advocate), event));
        [
            (buys, ReferralEvent::Started { advocate, friend: buys }),
            (buys, ReferralEvent::Qualified { advocate, friend: buys, order, completes_at }),
            (registers, ReferralEvent::Completed { advocate, friend: registers }),
            (cancels, ReferralEvent::Refused { advocate, friend: cancels, order }),
        ]
        .into_iter()
        .fold(story, |story, (friend, event)| story.then::<Referral>(Referral::id(friend), event))
    }

    #[test]
    fn every_event_has_an_entry_with_its_actor() {
        let standing = standing(Some(SILVER), 10_000, None);
        let reason = "a friend of the house".parse().expect("a reason");
        let changed = MembershipEvent::TierChanged {
            customer: customer(),
            from: None,
            spent_minor: 10_000,
            standing,
            currency: None,
        };
        let set = MembershipEvent::TierSet { customer: customer(), tier: Some(SILVER), reason };
        let spent = MembershipEvent::Spent {
            customer: customer(),
            change_minor: 5,
            spent_minor: 10_000,
            orders: 1,
            standing: Default::default(),
            currency: None,
        };
        let story = [changed, set, spent].into_iter().fold(referred(story()), then);
        let mut rows: Vec<Activity> = story.rows();
        rows.sort_by_key(|row| row.at);
        let kinds: Vec<_> = rows.iter().map(|row| row.kind).collect();
        assert_eq!(
            kinds,
            [
                ActivityKind::PointsEarned,
                ActivityKind::PointsRedeemed,
                ActivityKind::PointsReturned,
                ActivityKind::PointsReversed,
                ActivityKind::PointsAdjusted,
                ActivityKind::ReferralCodeIssued,
                ActivityKind::ReferralStarted,
                ActivityKind::ReferralQualified,
                ActivityKind::ReferralCompleted,
                ActivityKind::ReferralRefused,
                ActivityKind::TierChanged,
                ActivityKind::TierSet,
            ]
        );
        assert!(rows.iter().all(|row| row.customer == customer() && row.actor == "engine story"));
        assert_eq!(rows[0].detail, "+500 points: purchase order 1");
        assert_eq!(rows[5].detail, format!("code {}", Advocate::code(customer())));
        assert_eq!(rows[10].detail, "Silver");
        proofs::proven("ANA-10 each kind of event of points, referrals and tiers has an entry with the actor");
    }
}
