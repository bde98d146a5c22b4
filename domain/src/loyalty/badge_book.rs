//! Badges of a tenant, and the actions that earn them (GAM-01).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{BadgeId, TenantId, Title};

/// Largest number of badges. They are part of the state of the book, so the limit bounds its size.
pub const BADGES_MOST: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BadgeBook {
    badges: BTreeMap<BadgeId, Badge>,
}

/// A badge that customers earn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Badge {
    pub name: Title,
    pub action: BadgeAction,
    /// Number of actions that earn the badge.
    pub count: u32,
}

/// Action that earns badges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadgeAction {
    /// A paid order.
    Purchase,
    /// A completed referral.
    Referral,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum BadgeBookEvent {
    /// A badge was defined.
    #[serde(rename = "badge.defined")]
    Defined { badge: BadgeId, terms: Badge },
    /// A badge can no longer be earned; it stays with its holders.
    #[serde(rename = "badge.retired")]
    Retired { badge: BadgeId },
}

/// Rejections of a badge book.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BadgeBookRejection {
    #[error("this badge cannot be earned")]
    BadgeUnknown { badge: BadgeId },
    #[error("this badge is defined already, with other terms")]
    BadgeExists { badge: BadgeId },
    #[error("at most {most} badges can be earned")]
    TooManyBadges { most: usize },
}

impl Rejection for BadgeBookRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::BadgeExists { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl BadgeBook {
    /// Defines a badge. A repeat with the same terms changes nothing.
    pub fn define(&self, badge: BadgeId, terms: Badge) -> Decision<Self> {
        match self.badges.get(&badge) {
            Some(known) if *known == terms => Ok(vec![]),
            Some(_) => Err(BadgeBookRejection::BadgeExists { badge }),
            None if self.badges.len() >= BADGES_MOST => Err(BadgeBookRejection::TooManyBadges { most: BADGES_MOST }),
            None => Ok(vec![BadgeBookEvent::Defined { badge, terms }]),
        }
    }

    /// Retires a badge. Does nothing if it cannot be earned anyway.
    pub fn retire(&self, badge: BadgeId) -> Decision<Self> {
        match self.badges.contains_key(&badge) {
            true => Ok(vec![BadgeBookEvent::Retired { badge }]),
            false => Ok(vec![]),
        }
    }

    /// Terms of a badge that can be earned.
    pub fn badge(&self, badge: BadgeId) -> Result<&Badge, BadgeBookRejection> {
        self.badges.get(&badge).ok_or(BadgeBookRejection::BadgeUnknown { badge })
    }

    /// Badges that this number of actions earns.
    pub fn earned(&self, action: BadgeAction, count: u32) -> Vec<BadgeId> {
        let earned = |badge: &Badge| badge.action == action && badge.count <= count;
        self.badges.iter().filter(|(_, badge)| earned(badge)).map(|(id, _)| *id).collect()
    }
}

impl Aggregate for BadgeBook {
    const TYPE: &'static str = "BadgeBook";
    type Id = TenantId;
    type Event = BadgeBookEvent;
    type Rejection = BadgeBookRejection;

    fn apply(&mut self, event: &BadgeBookEvent) {
        match event.clone() {
            BadgeBookEvent::Defined { badge, terms } => {
                self.badges.insert(badge, terms);
            }
            BadgeBookEvent::Retired { badge } => {
                self.badges.remove(&badge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{id, parsed};
    use crate::testing::{Given, given};

    const LOYAL: BadgeId = BadgeId::new(id(31));

    fn loyal(count: u32) -> Badge {
        Badge { name: parsed("Loyal Customer"), action: BadgeAction::Purchase, count }
    }

    fn book() -> Given<BadgeBook> {
        given([])
            .when(|book: &BadgeBook| book.define(LOYAL, loyal(3)))
            .then_once([BadgeBookEvent::Defined { badge: LOYAL, terms: loyal(3) }])
    }

    #[test]
    fn badge_is_earned_from_its_number_of_actions_on() {
        book().holds(|book| {
            book.earned(BadgeAction::Purchase, 2).is_empty()
                && book.earned(BadgeAction::Purchase, 4) == [LOYAL]
                && book.earned(BadgeAction::Referral, 4).is_empty()
        });
    }

    #[test]
    fn defined_badge_has_one_set_of_terms_and_is_retired_once() {
        book()
            .when(|book| book.define(LOYAL, loyal(5)))
            .then_rejected(BadgeBookRejection::BadgeExists { badge: LOYAL });
        book()
            .when(|book| book.retire(LOYAL))
            .then_once([BadgeBookEvent::Retired { badge: LOYAL }])
            .holds(|book| book.badge(LOYAL) == Err(BadgeBookRejection::BadgeUnknown { badge: LOYAL }));
    }

    #[test]
    fn number_of_badges_is_limited() {
        let badges = (1..=BADGES_MOST as u128).map(|number| BadgeId::new(id(100 + number)));
        given(badges.map(|badge| BadgeBookEvent::Defined { badge, terms: loyal(1) }))
            .when(|book: &BadgeBook| book.define(LOYAL, loyal(1)))
            .then_rejected(BadgeBookRejection::TooManyBadges { most: BADGES_MOST });
    }
}
