//! Badges of a tenant (GAM-01), with the number of customers who have each (GAM-04).

use domain::kernel::Recorded;
use domain::loyalty::{BadgeAction, BadgeAward, BadgeAwardEvent, BadgeBook, BadgeBookEvent};
use domain::shared::{BadgeId, Permission, Timestamp, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable, add};
use crate::key;

/// Badge that customers earn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Badge {
    /// Id of the badge.
    pub badge: BadgeId,
    /// Name shown to customers.
    pub name: Title,
    /// Action that earns it.
    pub action: BadgeAction,
    /// Number of actions that earn it.
    pub count: i64,
    /// Number of customers who have it.
    pub holders: i64,
    /// Time at which it could no longer be earned.
    pub retired_at: Option<Timestamp>,
}

impl ReadModel for Badge {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["badge"];
    const INDEXED: &'static [&'static str] = &["action", "holders"];
    const PUBLIC: &'static [&'static str] = &["badge", "name", "action", "count"];

    fn sources(from: &mut Sources<Self>) {
        let key = |event: &Recorded<BadgeBookEvent>| match event.event {
            BadgeBookEvent::Defined { badge, .. } | BadgeBookEvent::Retired { badge } => Some(key![badge]),
        };
        from.stream::<BadgeBook>(key, Self::on_book);
        from.stream::<BadgeAward>(
            |event| {
                let BadgeAwardEvent::Awarded { badge, .. } = event.event;
                Some(key![badge])
            },
            Self::on_award,
        );
    }
}

impl Badge {
    fn on_book(row: Option<Self>, event: &Recorded<BadgeBookEvent>) -> Folded<Self> {
        let holders = row.as_ref().map_or(0, |row| row.holders);
        match event.event.clone() {
            BadgeBookEvent::Defined { badge, terms } => Ok(Some(Self {
                badge,
                name: terms.name,
                action: terms.action,
                count: terms.count.into(),
                holders,
                retired_at: None,
            })),
            BadgeBookEvent::Retired { .. } => {
                let row = row.ok_or_else(Unfoldable::no_row)?;
                Ok(Some(Self { retired_at: Some(event.occurred_at), ..row }))
            }
        }
    }

    fn on_award(row: Option<Self>, _: &Recorded<BadgeAwardEvent>) -> Folded<Self> {
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        add(&mut row.holders, 1, "holders")?;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{CustomerId, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn badge_counts_its_holders() {
        let badge = BadgeId::new(Uuid::from_u128(4));
        let name: Title = "Loyal Customer".parse().expect("a name");
        let terms = domain::loyalty::Badge { name: name.clone(), action: BadgeAction::Purchase, count: 3 };
        let tenant = TenantId::new(Uuid::from_u128(7));
        let story = Story::new().then::<BadgeBook>(tenant, BadgeBookEvent::Defined { badge, terms });
        let award = |story: Story, number| {
            let customer = CustomerId::new(Uuid::from_u128(number));
            let event = BadgeAwardEvent::Awarded { customer, badge, name: name.clone() };
            story.then::<BadgeAward>(BadgeAward::id(customer, badge), event)
        };
        let story = award(award(story, 1), 2).then::<BadgeBook>(tenant, BadgeBookEvent::Retired { badge });
        let row: Badge = story.row();
        assert_eq!((row.count, row.holders, row.retired_at), (3, 2, Some(Story::at(4))));
    }
}
