//! Relation of a customer to something: a like or a vote (SOC-03, REV-03, REV-07).
//!
//! Invariant: a customer has one relation of a kind to a thing, or none. Every relation is a stream of its own, so that
//! the state of the thing does not grow with its fans.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::{CustomerId, RelationId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Relation {
    established: bool,
}

/// Kind of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// Likes a post.
    Like,
    /// Finds a review helpful.
    ReviewVote,
    /// Finds an answer helpful.
    AnswerVote,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RelationEvent {
    /// A customer established a relation.
    #[serde(rename = "relation.established")]
    Established {
        kind: RelationKind,
        customer: CustomerId,
        #[schemars(with = "String", extend("format" = "uuid"))]
        to: Uuid,
    },
    /// A customer ended a relation.
    #[serde(rename = "relation.dissolved")]
    Dissolved {
        kind: RelationKind,
        customer: CustomerId,
        #[schemars(with = "String", extend("format" = "uuid"))]
        to: Uuid,
    },
}

impl Relation {
    /// Stream id of the relation of a customer to a thing.
    pub fn id(kind: RelationKind, customer: CustomerId, to: Uuid) -> RelationId {
        RelationId::derived(customer.uuid(), &format!("{kind}:{to}"))
    }

    /// Establishes the relation. A repeat changes nothing.
    pub fn establish(&self, kind: RelationKind, customer: CustomerId, to: Uuid) -> Decision<Self> {
        match self.established {
            true => Ok(vec![]),
            false => Ok(vec![RelationEvent::Established { kind, customer, to }]),
        }
    }

    /// Ends the relation. Does nothing if there is none.
    pub fn dissolve(&self, kind: RelationKind, customer: CustomerId, to: Uuid) -> Decision<Self> {
        match self.established {
            true => Ok(vec![RelationEvent::Dissolved { kind, customer, to }]),
            false => Ok(vec![]),
        }
    }
}

impl Aggregate for Relation {
    const TYPE: &'static str = "Relation";
    type Id = RelationId;
    type Event = RelationEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, event: &RelationEvent) {
        self.established = matches!(event, RelationEvent::Established { .. });
    }
}

/// Same text as in JSON.
impl fmt::Display for RelationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, BEN, id};

    #[test]
    fn relation_is_established_and_ended_once() {
        let (kind, customer, to) = (RelationKind::Like, ADA, id(9));
        given([])
            .when(|relation: &Relation| relation.dissolve(kind, customer, to))
            .then([])
            .when(|relation| relation.establish(kind, customer, to))
            .then_once([RelationEvent::Established { kind, customer, to }])
            .when(|relation| relation.dissolve(kind, customer, to))
            .then_once([RelationEvent::Dissolved { kind, customer, to }]);
    }

    #[test]
    fn id_depends_on_kind_customer_and_thing() {
        let like = Relation::id(RelationKind::Like, ADA, id(9));
        assert_eq!(like, Relation::id(RelationKind::Like, ADA, id(9)));
        assert_ne!(like, Relation::id(RelationKind::ReviewVote, ADA, id(9)));
        assert_ne!(like, Relation::id(RelationKind::Like, BEN, id(9)));
        assert_ne!(like, Relation::id(RelationKind::Like, ADA, id(8)));
    }
}
