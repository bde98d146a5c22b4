//! A name that only one may have (ES-15): an e-mail address, a SKU, a subdomain.
//!
//! Invariant: one owner at a time. Every name is a stream of its own, so that no list of names grows anywhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::ClaimId;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NameClaim {
    owner: Option<Uuid>,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum NameClaimEvent {
    /// A name belongs to somebody from now on.
    #[serde(rename = "name.claimed")]
    Claimed {
        #[schemars(with = "String", extend("format" = "uuid"))]
        by: Uuid,
    },
    /// A name is free again.
    #[serde(rename = "name.released")]
    Released {
        #[schemars(with = "String", extend("format" = "uuid"))]
        by: Uuid,
    },
}

/// Why a name could not be had.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NameClaimRejection {
    #[error("this {kind} is taken")]
    NameTaken { kind: &'static str },
}

impl Rejection for NameClaimRejection {}

impl NameClaim {
    /// The stream of a name within a scope, whatever its case. `kind` is a plain word such as `sku`.
    ///
    /// For something personal, `value` must be its blind index: an id is no place for what may have to be forgotten.
    pub fn id(kind: &str, scope: Uuid, value: &str) -> ClaimId {
        ClaimId::derived(scope, &format!("{kind}:{}", value.to_lowercase()))
    }

    /// Takes the name for an owner. Taking one's own name again changes nothing. `kind` only says what is refused.
    pub fn claim(&self, kind: &'static str, by: Uuid) -> Decision<Self> {
        match self.owner {
            Some(owner) if owner == by => Ok(vec![]),
            Some(_) => Err(NameClaimRejection::NameTaken { kind }),
            None => Ok(vec![NameClaimEvent::Claimed { by }]),
        }
    }

    /// Gives the name up. A name that belongs to nobody or to another stays as it is.
    pub fn release(&self, by: Uuid) -> Decision<Self> {
        match self.owner {
            Some(owner) if owner == by => Ok(vec![NameClaimEvent::Released { by }]),
            _ => Ok(vec![]),
        }
    }

    pub fn owner(&self) -> Option<Uuid> {
        self.owner
    }
}

impl Aggregate for NameClaim {
    const TYPE: &'static str = "NameClaim";
    type Id = ClaimId;
    type Event = NameClaimEvent;
    type Rejection = NameClaimRejection;

    fn apply(&mut self, event: &NameClaimEvent) {
        self.owner = match *event {
            NameClaimEvent::Claimed { by } => Some(by),
            NameClaimEvent::Released { .. } => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::id;
    use crate::testing::{Given, given};

    const ADA: Uuid = id(1);
    const BEN: Uuid = id(2);

    fn of_ada() -> Given<NameClaim> {
        given([]).when(|name: &NameClaim| name.claim("sku", ADA)).then_once([NameClaimEvent::Claimed { by: ADA }])
    }

    #[test]
    fn a_name_has_one_owner_at_a_time() {
        of_ada().when(|name| name.claim("sku", BEN)).then_rejected(NameClaimRejection::NameTaken { kind: "sku" });
    }

    #[test]
    fn a_released_name_can_be_taken_by_another() {
        of_ada()
            .when(|name| name.release(ADA))
            .then_once([NameClaimEvent::Released { by: ADA }])
            .when(|name| name.claim("sku", BEN))
            .then_once([NameClaimEvent::Claimed { by: BEN }]);
    }

    #[test]
    fn nobody_gives_up_the_name_of_another() {
        of_ada().when(|name| name.release(BEN)).then_nothing();
    }

    #[test]
    fn names_that_differ_only_in_case_are_one_name_within_kind_and_scope() {
        assert_eq!(NameClaim::id("sku", ADA, "Mug-1"), NameClaim::id("sku", ADA, "MUG-1"));
        assert_ne!(NameClaim::id("sku", ADA, "mug"), NameClaim::id("slug", ADA, "mug"));
        assert_ne!(NameClaim::id("sku", ADA, "mug"), NameClaim::id("sku", BEN, "mug"));
    }
}
