//! Badges of a customer (GAM-01).

use domain::kernel::Recorded;
use domain::loyalty::BadgeAwardEvent;
use domain::shared::{BadgeAwardId, BadgeId, CustomerId, Permission, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};

/// Badge that a customer has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BadgeAward {
    /// Id of the award.
    pub award: BadgeAwardId,
    /// Customer who has the badge.
    pub customer: CustomerId,
    /// Badge.
    pub badge: BadgeId,
    /// Name of the badge when it was awarded.
    pub name: Title,
    /// Time of the award.
    pub awarded_at: Timestamp,
}

impl ReadModel for BadgeAward {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["award"];
    const INDEXED: &'static [&'static str] = &["customer", "badge", "awarded_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::loyalty::BadgeAward>(Self::on_award);
    }
}

impl BadgeAward {
    fn on_award(_: Option<Self>, event: &Recorded<BadgeAwardEvent>) -> Folded<Self> {
        let BadgeAwardEvent::Awarded { customer, badge, name } = event.event.clone();
        let (award, awarded_at) = (BadgeAwardId::new(event.stream), event.occurred_at);
        Ok(Some(Self { award, customer, badge, name, awarded_at }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn award_names_customer_and_badge() {
        let (customer, badge) = (CustomerId::new(Uuid::from_u128(5)), BadgeId::new(Uuid::from_u128(4)));
        let name = "Loyal Customer".parse().expect("a name");
        let id = domain::loyalty::BadgeAward::id(customer, badge);
        let event = BadgeAwardEvent::Awarded { customer, badge, name };
        let row: BadgeAward = Story::new().then::<domain::loyalty::BadgeAward>(id, event).row();
        assert_eq!((row.award, row.customer, row.badge, row.awarded_at), (id, customer, badge, Story::at(1)));
    }
}
