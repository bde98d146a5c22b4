//! Loyalty programme of a tenant (LOY-14, LOY-15, LOY-16).

use domain::kernel::Recorded;
use domain::loyalty::LoyaltyProgramEvent;
use domain::shared::{Permission, TenantId, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Loyalty programme of a tenant: how points are earned and what they are called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoyaltyProgram {
    /// Id of the programme, which is the id of its tenant.
    pub program: TenantId,
    /// True while points can be earned.
    pub enabled: bool,
    /// Points that a purchase earns for every `per_minor` minor units; null before the first rules.
    pub points: Option<i64>,
    /// Minor units of a purchase for which `points` are earned; null before the first rules.
    pub per_minor: Option<u32>,
    /// Points for signing up, if any.
    pub signup_points: Option<i64>,
    /// Points for a review, if any.
    pub review_points: Option<i64>,
    /// Version of the rules, from 1; 0 before the first rules.
    pub rule_version: u32,
    /// Name of one point, such as Star; null if points have no name of their own.
    pub singular: Option<Text<50>>,
    /// Name of several points, such as Stars.
    pub plural: Option<Text<50>>,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for LoyaltyProgram {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["program"];
    const PUBLIC: &'static [&'static str] = &[
        "program",
        "enabled",
        "points",
        "per_minor",
        "signup_points",
        "review_points",
        "rule_version",
        "singular",
        "plural",
    ];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<domain::loyalty::LoyaltyProgram>(
            |event| match event.event {
                LoyaltyProgramEvent::RewardAdded { .. }
                | LoyaltyProgramEvent::RewardRevised { .. }
                | LoyaltyProgramEvent::RewardRetired { .. } => None,
                _ => Some(key![event.stream]),
            },
            Self::on_program,
        );
    }
}

impl LoyaltyProgram {
    fn on_program(row: Option<Self>, event: &Recorded<LoyaltyProgramEvent>) -> Folded<Self> {
        let mut row = row.unwrap_or_else(|| Self::unset(event));
        match event.event.clone() {
            LoyaltyProgramEvent::EarningRulesSet { version, rules, .. } => {
                row.points = Some(rules.purchase.points.get());
                row.per_minor = Some(rules.purchase.per_minor.get());
                row.signup_points = rules.signup.map(|points| points.get());
                row.review_points = rules.review.map(|points| points.get());
                row.rule_version = version;
            }
            LoyaltyProgramEvent::Enabled {} => row.enabled = true,
            LoyaltyProgramEvent::Disabled {} => row.enabled = false,
            LoyaltyProgramEvent::CurrencyNamed { singular, plural } => {
                (row.singular, row.plural) = (Some(singular), Some(plural));
            }
            LoyaltyProgramEvent::RewardAdded { .. }
            | LoyaltyProgramEvent::RewardRevised { .. }
            | LoyaltyProgramEvent::RewardRetired { .. } => {}
        }
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn unset(event: &Recorded<LoyaltyProgramEvent>) -> Self {
        Self {
            program: TenantId::new(event.stream),
            enabled: false,
            points: None,
            per_minor: None,
            signup_points: None,
            review_points: None,
            rule_version: 0,
            singular: None,
            plural: None,
            changed_at: event.occurred_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use domain::loyalty::{EarningRules, Rate};
    use domain::shared::PositivePoints;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn then(story: Story, event: LoyaltyProgramEvent) -> Story {
        story.then::<domain::loyalty::LoyaltyProgram>(TenantId::new(Uuid::from_u128(7)), event)
    }

    #[test]
    fn programme_has_its_rules_its_name_and_its_state() {
        let points = |number: i64| PositivePoints::try_from(number).expect("points");
        let purchase = Rate { points: points(1), per_minor: NonZeroU32::new(100).expect("a number") };
        let rules = EarningRules { purchase, signup: Some(points(200)), review: Some(points(100)) };
        let (singular, plural) = ("Star".parse().expect("a name"), "Stars".parse().expect("a name"));
        let named = then(Story::new(), LoyaltyProgramEvent::CurrencyNamed { singular, plural });
        let row: LoyaltyProgram = named.row();
        assert_eq!((row.enabled, row.points, row.rule_version), (false, None, 0));

        let set = then(named, LoyaltyProgramEvent::EarningRulesSet { version: 1, rules, since: None });
        let enabled = then(set, LoyaltyProgramEvent::Enabled {});
        let row: LoyaltyProgram = enabled.row();
        assert_eq!((row.enabled, row.points, row.per_minor, row.signup_points), (true, Some(1), Some(100), Some(200)));
        assert_eq!((row.review_points, row.rule_version, row.changed_at), (Some(100), 1, Story::at(3)));
        assert_eq!(row.plural.map(|plural| plural.to_string()).as_deref(), Some("Stars"));

        let row: LoyaltyProgram = then(enabled, LoyaltyProgramEvent::Disabled {}).row();
        assert_eq!((row.enabled, row.points), (false, Some(1)));
    }
}
