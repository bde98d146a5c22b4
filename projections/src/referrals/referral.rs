//! Referrals of friends (REF-03, REF-04).

use domain::kernel::Recorded;
use domain::referrals::{ReferralEvent, ReferralStatus};
use domain::shared::{CustomerId, OrderId, Permission, ReferralId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Friend whom a customer brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Referral {
    /// Id of the referral.
    pub referral: ReferralId,
    /// Customer who brought the friend.
    pub advocate: CustomerId,
    /// Friend.
    pub friend: CustomerId,
    /// Current status.
    pub status: ReferralStatus,
    /// First paid order of the friend.
    pub order: Option<OrderId>,
    /// End of the time in which a cancellation of this order refuses the referral.
    pub completes_at: Option<Timestamp>,
    /// Time at which the friend came.
    pub started_at: Timestamp,
    /// Time at which the referral was completed or refused.
    pub ended_at: Option<Timestamp>,
}

impl ReadModel for Referral {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["referral"];
    const INDEXED: &'static [&'static str] = &["advocate", "friend", "status", "started_at"];
    const OWNER: Option<&'static str> = Some("advocate");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::referrals::Referral>(Self::on_referral);
    }
}

impl Referral {
    fn on_referral(row: Option<Self>, event: &Recorded<ReferralEvent>) -> Folded<Self> {
        if let ReferralEvent::Started { advocate, friend } = event.event {
            return Ok(Some(Self {
                referral: ReferralId::new(event.stream),
                advocate,
                friend,
                status: ReferralStatus::Pending,
                order: None,
                completes_at: None,
                started_at: event.occurred_at,
                ended_at: None,
            }));
        }
        let row = row.ok_or_else(Unfoldable::no_row)?;
        let ended_at = Some(event.occurred_at);
        Ok(Some(match event.event {
            ReferralEvent::Started { .. } => row,
            ReferralEvent::Qualified { order, completes_at, .. } => {
                Self { order: Some(order), completes_at: Some(completes_at), ..row }
            }
            ReferralEvent::Completed { .. } => Self { status: ReferralStatus::Completed, ended_at, ..row },
            ReferralEvent::Refused { .. } => Self { status: ReferralStatus::Refused, ended_at, ..row },
        }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn referral_is_pending_until_it_is_completed_or_refused() {
        let (advocate, friend) = (CustomerId::new(Uuid::from_u128(5)), CustomerId::new(Uuid::from_u128(6)));
        let order = OrderId::new(Uuid::from_u128(7));
        let id = domain::referrals::Referral::id(friend);
        let then = |story: Story, event| story.then::<domain::referrals::Referral>(id, event);
        let started = then(Story::new(), ReferralEvent::Started { advocate, friend });
        let completes_at = Story::at(9);
        let qualified = then(started, ReferralEvent::Qualified { advocate, friend, order, completes_at });
        let row: Referral = qualified.row();
        assert_eq!((row.status, row.order, row.ended_at), (ReferralStatus::Pending, Some(order), None));
        let row: Referral = then(qualified.clone(), ReferralEvent::Completed { advocate, friend }).row();
        assert_eq!((row.status, row.ended_at), (ReferralStatus::Completed, Some(Story::at(3))));
        let row: Referral = then(qualified, ReferralEvent::Refused { advocate, friend, order }).row();
        assert_eq!(row.status, ReferralStatus::Refused);
    }
}
