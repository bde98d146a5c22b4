//! Name claim: makes a name unique within its scope (ES-15), such as an e-mail address, a SKU, a subdomain or the id of
//! a thing in another system.
//!
//! Invariant: a name has at most one owner at a time. Every name is a stream of its own, so that no state contains a
//! growing list of names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::ClaimId;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NameClaim {
    owner: Option<Uuid>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum NameClaimEvent {
    /// The name now belongs to `by`.
    #[serde(rename = "name.claimed")]
    Claimed {
        #[schemars(with = "String", extend("format" = "uuid"))]
        by: Uuid,
    },
    /// The name is free again.
    #[serde(rename = "name.released")]
    Released {
        #[schemars(with = "String", extend("format" = "uuid"))]
        by: Uuid,
    },
}

/// Rejections of a name claim.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NameClaimRejection {
    #[error("this {kind} is taken")]
    NameTaken { kind: &'static str },
}

impl Rejection for NameClaimRejection {}

impl NameClaim {
    /// Stream id of a name within a scope; case and normal form are ignored. `kind` is a word such as `sku`.
    ///
    /// For personal data, `value` must be the blind index: an id cannot be erased.
    pub fn id(kind: &str, scope: Uuid, value: &str) -> ClaimId {
        ClaimId::derived(scope, &format!("{kind}:{}", value.to_lowercase()))
    }

    /// Stream id of the id of a thing in another system; case counts. `kind` is a word such as `order`.
    pub fn source_id(kind: &str, scope: Uuid, source: &str) -> ClaimId {
        ClaimId::derived(scope, &format!("source of {kind}:{source}"))
    }

    /// Claims the name for an owner. A repeat by the owner changes nothing. `kind` is used in the rejection only.
    pub fn claim(&self, kind: &'static str, by: Uuid) -> Decision<Self> {
        match self.owner {
            Some(owner) if owner == by => Ok(vec![]),
            Some(_) => Err(NameClaimRejection::NameTaken { kind }),
            None => Ok(vec![NameClaimEvent::Claimed { by }]),
        }
    }

    /// Releases the name. Does nothing if the name is free or belongs to another owner.
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
    // A claim is a means to make names unique; its stream is derived from a name that may be personal.
    const PUBLISHED: bool = false;
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

    fn claimed_by_ada() -> Given<NameClaim> {
        given([]).when(|name: &NameClaim| name.claim("sku", ADA)).then_once([NameClaimEvent::Claimed { by: ADA }])
    }

    #[test]
    fn claimed_name_is_rejected_for_another_owner() {
        claimed_by_ada()
            .when(|name| name.claim("sku", BEN))
            .then_rejected(NameClaimRejection::NameTaken { kind: "sku" });
    }

    #[test]
    fn released_name_can_be_claimed_by_another_owner() {
        claimed_by_ada()
            .when(|name| name.release(ADA))
            .then_once([NameClaimEvent::Released { by: ADA }])
            .when(|name| name.claim("sku", BEN))
            .then_once([NameClaimEvent::Claimed { by: BEN }]);
    }

    #[test]
    fn only_the_owner_can_release_a_name() {
        claimed_by_ada().when(|name| name.release(BEN)).then_nothing();
    }

    #[test]
    fn id_ignores_case_and_depends_on_kind_and_scope() {
        assert_eq!(NameClaim::id("sku", ADA, "Mug-1"), NameClaim::id("sku", ADA, "MUG-1"));
        assert_ne!(NameClaim::id("sku", ADA, "mug"), NameClaim::id("slug", ADA, "mug"));
        assert_ne!(NameClaim::id("sku", ADA, "mug"), NameClaim::id("sku", BEN, "mug"));
        assert_ne!(NameClaim::source_id("order", ADA, "a1"), NameClaim::source_id("order", ADA, "A1"));
        assert_ne!(NameClaim::source_id("order", ADA, "a1"), NameClaim::source_id("customer", ADA, "a1"));
    }
}
